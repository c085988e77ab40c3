//! A cluster with an issuer of tokens, and the program in it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use heddle_apiserver::{ApiServer, Options, User};
use heddle_identity::{MeshTls, SpiffeId, TrustDomain, channel, tls::parse_pem_bundle};
use heddle_proto::identity::{IssueRequest, IssueResponse, identity_client::IdentityClient};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SanType};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Request, Status};

/// Nothing in these tests takes this long.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const SECRET: &str = "heddle-root";
pub(crate) const CONFIG_MAP: &str = "heddle-trust-bundle";
const SYSTEM: &str = "heddle-system";

pub(crate) struct Cluster {
    pub(crate) api: ApiServer,
    dir: tempfile::TempDir,
    key: KeyPair,
}

/// The running program; killed when the test ends.
pub(crate) struct Replica {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let options = Options {
            rbac: true,
            ..Options::default()
        };
        let api = ApiServer::start(options).await.unwrap();
        // With the permissions that an installation gives, and no others.
        for object in heddle_deploy::manifests(&heddle_deploy::Settings::default()) {
            let kind = object["kind"].as_str().unwrap();
            if kind == "Namespace" || kind.contains("Role") {
                api.put(object).await.unwrap();
            }
        }
        let key = KeyPair::generate().unwrap();
        let point = &key.der_bytes()[1..];
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
        }]});
        api.publish("/openid/v1/jwks", jwks);
        api.publish(
            "/.well-known/openid-configuration",
            json!({"issuer": ISSUER, "jwks_uri": "https://192.0.2.1/openid/v1/jwks"}),
        );
        let dir = tempfile::tempdir().unwrap();
        let token = api.account_token(SYSTEM, "heddle-identity");
        std::fs::write(dir.path().join("kubeconfig"), api.kubeconfig(&token, None)).unwrap();
        Self { api, dir, key }
    }

    /// A token as a kubelet projects it; the API server knows of it only when it is told.
    pub(crate) fn token(&self, namespace: &str, name: &str, audience: &str) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": [audience], "exp": now + 3600, "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name}},
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        encode(&header, &claims, &key).unwrap()
    }

    /// The same, which the API server knows.
    pub(crate) fn known_token(&self, namespace: &str, name: &str) -> String {
        let token = self.token(namespace, name, "heddle");
        let user = format!("system:serviceaccount:{namespace}:{name}");
        self.api.know(&token, User::new(&user, &["heddle"]));
        token
    }

    /// Starts the program, which need not become ready.
    pub(crate) async fn start(&self, name: &str, flags: &[&str]) -> Replica {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let log = self.dir.path().join(format!("{name}.log"));
        let data = self.dir.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_heddle-identity"))
            .env("KUBECONFIG", self.dir.path().join("kubeconfig"))
            .args(["--listen", &address.to_string()])
            .arg("--data-dir")
            .arg(&data)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Replica {
            child,
            address,
            data,
            log,
        }
    }

    /// The Secret's entries.
    pub(crate) fn secret(&self) -> Option<Value> {
        let secret = self.api.object("secrets", SYSTEM, SECRET)?;
        Some(secret["data"].clone())
    }

    /// The first root in the Secret.
    pub(crate) fn root(&self) -> Option<Vec<u8>> {
        let encoded = self.secret()?["root-cert.pem"].as_str()?.to_owned();
        Some(STANDARD.decode(encoded).unwrap())
    }

    pub(crate) fn bundle_in(&self, namespace: &str) -> Option<String> {
        let found = self.api.object("configmaps", namespace, CONFIG_MAP)?;
        found["data"]["root-cert.pem"].as_str().map(str::to_owned)
    }

    /// Waits for a state of the API server.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let mut changes = self.api.changes();
        let waiting = async {
            while !holds() {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LONG, waiting).await;
        assert!(waited.is_ok(), "{what} did not come about");
    }
}

impl Replica {
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks for a certificate as a sidecar does; tries again while nobody listens.
    pub(crate) async fn issue(
        &self,
        roots: &[u8],
        namespace: &str,
        name: &str,
        token: &str,
    ) -> Result<IssueResponse, Status> {
        let id = SpiffeId::for_service_account(&TrustDomain::default(), namespace, name).unwrap();
        let service =
            SpiffeId::for_service_account(&TrustDomain::default(), SYSTEM, "heddle-identity")
                .unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        let tls = MeshTls::new(id);
        tls.set_roots(parse_pem_bundle(roots).unwrap()).unwrap();
        let begun = tokio::time::Instant::now();
        let channel = loop {
            match channel::connect(&tls, &self.address.to_string(), &service).await {
                Ok(channel) => break channel,
                Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut request = Request::new(IssueRequest {
            csr,
            ttl_seconds: 0,
        });
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let answer = IdentityClient::new(channel).issue(request).await;
        answer.map(tonic::Response::into_inner)
    }
}
