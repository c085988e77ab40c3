//! The identity service of a test, the tokens that pods show it, and certificates without them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use heddle_authority::ca::{Authority, Policy};
use heddle_authority::server::{Args, Lifetime, Server};
use heddle_identity::{MeshTls, SpiffeId, TrustDomain};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::json;

use super::mesh::NODE;
use super::netns::Netns;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const IDENTITY_PORT: u16 = 15013;

pub(crate) struct Issuer {
    dir: PathBuf,
    key: KeyPair,
}

impl Issuer {
    /// Begins to serve in `node`.
    pub(crate) fn start(node: &Netns, dir: &Path) -> (Self, tokio::task::JoinHandle<()>) {
        let issuer = Self {
            dir: dir.to_owned(),
            key: KeyPair::generate().unwrap(),
        };
        let point = &issuer.key.der_bytes()[1..];
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
        }]});
        std::fs::write(dir.join("jwks.json"), jwks.to_string()).unwrap();
        let serving = issuer.serve(node);
        (issuer, serving)
    }

    pub(crate) fn serve(&self, node: &Netns) -> tokio::task::JoinHandle<()> {
        let args = Args {
            data_dir: self.dir.join("authority"),
            listen: (NODE, IDENTITY_PORT).into(),
            trust_domain: TrustDomain::default(),
            system_namespace: "heddle-system".into(),
            token_issuer: ISSUER.into(),
            ca_dir: None,
            token_jwks: Some(self.dir.join("jwks.json")),
            token_audience: "heddle".into(),
            default_ttl: Lifetime(Duration::from_secs(86_400)),
            max_ttl: Lifetime(Duration::from_secs(7 * 86_400)),
            root_spread: Lifetime(Duration::from_secs(300)),
            trust_bundle_out: Some(self.bundle()),
        };
        let server = node.run(async { Server::bind(args).await.unwrap() });
        node.spawn(async move { server.serve(std::future::pending()).await.unwrap() })
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("root-cert.pem")
    }

    /// A token as a kubelet projects it.
    pub(crate) fn token(&self, namespace: &str, account: &str) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": ["heddle"], "exp": now + 3600, "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}},
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        encode(&header, &claims, &key).unwrap()
    }

    /// The trust domain's TLS with a certificate that no token was shown for.
    pub(crate) fn tls(&self, id: &SpiffeId) -> MeshTls {
        tls_from(&self.dir.join("authority"), id)
    }

    /// The same from another authority that calls itself by the same trust domain.
    pub(crate) fn foreign_tls(&self, id: &SpiffeId) -> MeshTls {
        tls_from(&self.dir.join("foreign"), id)
    }
}

fn tls_from(dir: &Path, id: &SpiffeId) -> MeshTls {
    let authority = Authority::load_or_create(dir, Policy::default()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut request = CertificateParams::default();
    request.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
    let request = request.serialize_request(&key).unwrap();
    let certificate = authority.issue(request.der(), id, None).unwrap();
    let tls = MeshTls::new(id.clone());
    tls.suggest_roots(authority.roots()).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    tls.set_credential(certificate.chain, key.into()).unwrap();
    tls
}
