//! A cluster's token issuer, and the identity service on an address of this test's own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use heddle_authority::server::{Args, Lifetime, Server};
use heddle_identity::{SpiffeId, TrustDomain, workload::Settings};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Nothing in these tests takes this long.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A loopback address that no other test, in this process or another, uses.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = u16::try_from(std::process::id() & 0xffff)
        .unwrap()
        .to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::new(127, high, low, 1), 21_000 + next).into()
}

/// Listens there as soon as whoever did before has let go: that closes a moment after it ended.
pub(crate) async fn listen(address: SocketAddr) -> TcpListener {
    let begun = tokio::time::Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn id(namespace: &str, name: &str) -> SpiffeId {
    SpiffeId::for_service_account(&TrustDomain::default(), namespace, name).unwrap()
}

/// A directory with a token issuer's keys, and everything the service and a workload need.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    key: KeyPair,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            address: own_address(),
            key: KeyPair::generate().unwrap(),
        };
        let point = &cluster.key.der_bytes()[1..];
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
        }]});
        std::fs::write(cluster.path("jwks.json"), jwks.to_string()).unwrap();
        cluster
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.path("root-cert.pem")
    }

    /// A token as a kubelet projects it.
    pub(crate) fn token(&self, namespace: &str, name: &str) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local",
            "aud": ["heddle"],
            "exp": now + 3600,
            "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name}},
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        encode(
            &header,
            &claims,
            &EncodingKey::from_ec_der(self.key.serialized_der()),
        )
        .unwrap()
    }

    pub(crate) fn token_file(&self, namespace: &str, name: &str) -> PathBuf {
        let file = self.path(&format!("token-{namespace}-{name}"));
        std::fs::write(&file, self.token(namespace, name)).unwrap();
        file
    }

    pub(crate) fn args(&self) -> Args {
        Args {
            data_dir: self.path("data"),
            listen: self.address,
            trust_domain: TrustDomain::default(),
            system_namespace: "heddle-system".into(),
            token_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            ca_dir: None,
            token_jwks: Some(self.path("jwks.json")),
            token_audience: "heddle".into(),
            default_ttl: Lifetime(Duration::from_secs(86_400)),
            max_ttl: Lifetime(Duration::from_secs(7 * 86_400)),
            root_spread: Lifetime(Duration::from_secs(300)),
            trust_bundle_out: Some(self.bundle()),
        }
    }

    pub(crate) async fn serve(&self) -> Running {
        self.serve_with(self.args()).await
    }

    pub(crate) async fn serve_with(&self, args: Args) -> Running {
        drop(listen(self.address).await);
        let server = Server::bind(args).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server.serve(async { drop(stopped.await) }).await.unwrap();
        });
        Running { stop, serving }
    }

    pub(crate) fn settings(&self, namespace: &str, name: &str) -> Settings {
        Settings {
            identity_address: self.address.to_string(),
            identity_id: id("heddle-system", "heddle-identity"),
            own_id: id(namespace, name),
            token_file: self.token_file(namespace, name),
            trust_bundle_file: self.bundle(),
            state_dir: None,
            ttl: None,
            dns_names: Vec::new(),
        }
    }
}

/// The identity service while it runs in this process.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}

/// Waits for a condition, without caring how long it takes within reason.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
