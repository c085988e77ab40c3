//! Service-account tokens, as a kubelet projects them: signed, with an audience and an end.
//!
//! Each mesh has a P-256 key of its own; the public half is the key set that heddle-identity verifies
//! with. The private key stays in a directory that only root reads, and no token is ever logged.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{Layout, NodeError, atomic::write_atomically};

/// The kubelet's: a token is replaced when 80 % of its life is over.
const REFRESH_PERCENT: u32 = 80;
/// Kubernetes refuses shorter ones.
const SHORTEST: Duration = Duration::from_secs(600);
/// Kubernetes refuses longer ones; a time that far is still a time.
const LONGEST: Duration = Duration::from_secs(1 << 32);
/// Between attempts to write a token file that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// Name and uid of the pod it is bound to.
    pub pod: Option<(String, String)>,
}

/// A signed token.
#[derive(Clone)]
pub struct Token {
    /// The JWT.
    pub text: String,
    /// When it stops being valid.
    pub expires_at: SystemTime,
    /// When a new one should take its place.
    pub refresh_at: SystemTime,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Signs tokens with the mesh's key.
pub struct TokenMinter {
    issuer: String,
    key: EncodingKey,
    key_id: String,
}

impl std::fmt::Debug for TokenMinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMinter")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl TokenMinter {
    /// Takes the mesh's key, made at the first call, and writes its public half to
    /// [`Layout::jwks`].
    pub fn open(layout: &Layout, issuer: &str) -> Result<Self, NodeError> {
        let path = layout.keys_dir().join("token-key.pem");
        let pair = match fs::read_to_string(&path) {
            Ok(pem) => rcgen::KeyPair::from_pem(&pem).map_err(key_error("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pair = rcgen::KeyPair::generate().map_err(key_error("make", &path))?;
                write_private(&path, &pair.serialize_pem())?;
                pair
            }
            Err(error) => return Err(NodeError::file("read", path)(error)),
        };
        let point = pair.public_key_raw();
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(point));
        let jwks = layout.jwks();
        write_atomically(&jwks, jwk_set(point, &key_id).as_bytes(), 0o644, None)
            .map_err(NodeError::file("write", jwks))?;
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())
            .map_err(|error| NodeError::file("use the key", &path)(io::Error::other(error)))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            key,
            key_id,
        })
    }

    /// The issuer that tokens name; also the audience of those that name none, as in Kubernetes.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs a token. Lives of less than ten minutes are lengthened, those beyond 2^32 s shortened.
    pub fn mint(
        &self,
        subject: &Subject,
        audience: &str,
        life: Duration,
    ) -> Result<Token, NodeError> {
        let life = life.clamp(SHORTEST, LONGEST);
        self.mint_at(subject, audience, life, SystemTime::now())
    }

    fn mint_at(
        &self,
        subject: &Subject,
        audience: &str,
        life: Duration,
        now: SystemTime,
    ) -> Result<Token, NodeError> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Subject {
            namespace,
            service_account,
            pod,
        } = subject;
        let mut kubernetes = json!({
            "namespace": namespace,
            "serviceaccount": {
                "name": service_account,
                "uid": stable_uid(&format!("serviceaccount/{namespace}/{service_account}")),
            },
        });
        if let Some((name, uid)) = pod {
            kubernetes["pod"] = json!({"name": name, "uid": uid});
        }
        let claims = json!({
            "iss": self.issuer,
            "sub": format!("system:serviceaccount:{namespace}:{service_account}"),
            "aud": [audience],
            "iat": issued,
            "nbf": issued,
            "exp": issued + life.as_secs(),
            "jti": stable_uid(&format!("{:x}", rand::random::<u128>())),
            "kubernetes.io": kubernetes,
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        let text = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| {
            NodeError::system("cannot sign a service-account token")(io::Error::other(error))
        })?;
        Ok(Token {
            text,
            expires_at: now + life,
            refresh_at: now + life / 100 * REFRESH_PERCENT,
        })
    }

    /// Keeps a token file fresh until it is dropped: for system components, which have no volumes.
    pub async fn keep_file(
        &self,
        subject: &Subject,
        audience: &str,
        life: Duration,
        path: &Path,
    ) -> std::convert::Infallible {
        loop {
            let written = self.mint(subject, audience, life).and_then(|token| {
                write_atomically(path, token.text.as_bytes(), 0o600, None)
                    .map_err(NodeError::file("write the token", path))?;
                Ok(token.refresh_at)
            });
            let wait = match written {
                Ok(at) => at.duration_since(SystemTime::now()).unwrap_or_default(),
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "a token cannot be refreshed");
                    RETRY
                }
            };
            tokio::time::sleep(wait.max(RETRY)).await;
        }
    }
}

fn key_error(what: &'static str, path: &Path) -> impl FnOnce(rcgen::Error) -> NodeError {
    let path = path.to_owned();
    move |error| NodeError::file(what, path)(io::Error::other(error))
}

/// The uncompressed point is 0x04, x, y.
fn jwk_set(point: &[u8], key_id: &str) -> String {
    let half = |range: std::ops::Range<usize>| {
        URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default())
    };
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id,
        "x": half(1..33), "y": half(33..65),
    }]})
    .to_string()
}

/// A uid that is the same each time for the same thing, in the form Kubernetes gives uids.
pub(crate) fn stable_uid(of: &str) -> String {
    let digest = Sha256::digest(of.as_bytes());
    let hex: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|range| &hex[range])
        .join("-")
}

fn write_private(path: &Path, text: &str) -> Result<(), NodeError> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(NodeError::file("write", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_is_verified_by_the_published_key_and_says_what_kubernetes_says() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let set: JwkSet = serde_json::from_str(&jwk_set(pair.public_key_raw(), "k1")).unwrap();
        let minter = TokenMinter {
            issuer: "https://issuer".into(),
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            key_id: "k1".into(),
        };
        let subject = Subject {
            namespace: "shop".into(),
            service_account: "web".into(),
            pod: Some(("web-1".into(), "u-1".into())),
        };
        let token = minter
            .mint(&subject, "heddle", Duration::from_secs(43_200))
            .unwrap();
        let life = token.expires_at.duration_since(SystemTime::now()).unwrap();
        let fresh = token.refresh_at.duration_since(SystemTime::now()).unwrap();
        assert_eq!(life.as_secs().div_ceil(60), 720);
        assert_eq!(fresh.as_secs().div_ceil(60), 576);
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["heddle"]);
        validation.set_issuer(&["https://issuer"]);
        let key = DecodingKey::from_jwk(set.find("k1").unwrap()).unwrap();
        let claims = jsonwebtoken::decode::<Value>(&token.text, &key, &validation)
            .unwrap()
            .claims;
        assert_eq!(claims["sub"], "system:serviceaccount:shop:web");
        assert_eq!(claims["kubernetes.io"]["pod"]["uid"], "u-1");
        assert_eq!(claims["kubernetes.io"]["serviceaccount"]["name"], "web");
        assert!(!format!("{token:?}").contains(&token.text));
        for (asked, given) in [(0, SHORTEST), (u64::MAX, LONGEST)] {
            let token = minter.mint(&subject, "heddle", Duration::from_secs(asked));
            let life = token.unwrap().expires_at.duration_since(SystemTime::now());
            assert_eq!(
                life.unwrap().as_secs().div_ceil(60),
                given.as_secs().div_ceil(60)
            );
        }
    }
}
