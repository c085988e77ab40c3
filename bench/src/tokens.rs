//! Service-account tokens, as a kubelet projects them, and the key set that verifies them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::error::{Error, Result};

/// heddle-identity's defaults.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "heddle";
const KEY_ID: &str = "bench";
/// Longer than any comparison, seconds.
const LIFE: u64 = 24 * 3600;

/// Signs tokens.
pub(crate) struct Minter {
    key: EncodingKey,
    jwks: String,
}

impl Minter {
    pub(crate) fn new() -> Result<Self> {
        let pair = rcgen::KeyPair::generate().map_err(failed)?;
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).map_err(failed)?;
        // The uncompressed point is 0x04, x, y.
        let half = |range: std::ops::Range<usize>| {
            URL_SAFE_NO_PAD.encode(pair.public_key_raw().get(range).unwrap_or_default())
        };
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": half(1..33), "y": half(33..65),
        }]});
        Ok(Self {
            key,
            jwks: jwks.to_string(),
        })
    }

    /// The public half.
    pub(crate) fn jwks(&self) -> &str {
        &self.jwks
    }

    pub(crate) fn mint(&self, namespace: &str, account: &str) -> Result<String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "aud": [AUDIENCE],
            "iat": now,
            "nbf": now,
            "exp": now + LIFE,
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": format!("uid-of-{account}")},
            },
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::io("make a service-account token")(std::io::Error::other(error.to_string()))
}
