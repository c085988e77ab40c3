//! gRPC over mesh TLS: who the peer is, who is kept out, and that nobody delays the others.

use std::{net::SocketAddr, time::Duration};

use crate::support::{LONG, id, listen, own_address};
use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{
    MeshTls,
    channel::{self, explain},
    incoming::{self, Limits, Peer},
    tls::ALPN_H2,
};
use heddle_proto::identity::{
    IssueRequest, IssueResponse,
    identity_client::IdentityClient,
    identity_server::{Identity, IdentityServer},
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{Request, Response, Status, transport::Channel};

/// Tells the caller who it is.
struct WhoAmI;

#[tonic::async_trait]
impl Identity for WhoAmI {
    async fn issue(
        &self,
        request: Request<IssueRequest>,
    ) -> Result<Response<IssueResponse>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap();
        Err(Status::already_exists(peer.id.as_ref().unwrap().as_str()))
    }
}

struct Mesh {
    _dir: tempfile::TempDir,
    authority: Authority,
}

impl Mesh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path(), Policy::default()).unwrap();
        Self {
            _dir: dir,
            authority,
        }
    }

    fn workload(&self, name: &str) -> MeshTls {
        let own = id("shop", name);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(own.as_str().try_into().unwrap())];
        let csr = params.serialize_request(&key).unwrap();
        let issued = self.authority.issue(csr.der(), &own, None).unwrap();
        let tls = MeshTls::new(own);
        tls.set_roots(self.authority.roots()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        tls.set_credential(issued.chain, key.into()).unwrap();
        tls
    }

    /// A server named `server`, until the set is dropped.
    async fn serve(&self, address: SocketAddr, limits: Limits) -> JoinSet<()> {
        let listener = listen(address).await;
        let incoming = incoming::mutual(listener, self.workload("server"), ALPN_H2, limits);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(IdentityServer::new(WhoAmI))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        serving
    }

    fn channel(&self, name: &str, address: SocketAddr) -> Channel {
        channel::connect_lazy(
            &self.workload(name),
            &address.to_string(),
            &id("shop", "server"),
        )
        .unwrap()
    }
}

async fn who_am_i(channel: &Channel) -> Status {
    let asked = IdentityClient::new(channel.clone())
        .issue(IssueRequest::default())
        .await;
    asked.unwrap_err()
}

async fn assert_served(channel: &Channel, name: &str) {
    let status = timeout(LONG, who_am_i(channel)).await.unwrap();
    assert_eq!(status.message(), id("shop", name).as_str());
}

#[tokio::test]
async fn the_peers_identity_is_in_every_requests_extensions() {
    let (mesh, address) = (Mesh::new(), own_address());
    let _serving = mesh.serve(address, Limits::default()).await;
    let channel = mesh.channel("a", address);
    assert_served(&channel, "a").await;
    assert_served(&channel, "a").await;
    assert_served(&mesh.channel("b", address), "b").await;
}

#[tokio::test]
async fn strangers_are_kept_out_and_the_reason_is_told() {
    let (mesh, foreign, address) = (Mesh::new(), Mesh::new(), own_address());
    let _serving = mesh.serve(address, Limits::default()).await;
    let text = explain(&who_am_i(&foreign.channel("a", address)).await);
    assert!(
        text.contains("authority that is not in our trust bundle"),
        "{text}"
    );

    let a = mesh.workload("a");
    let wrong = id("shop", "other");
    let channel = channel::connect_lazy(&a, &address.to_string(), &wrong).unwrap();
    let text = explain(&who_am_i(&channel).await);
    assert!(
        text.contains(&format!("expected {wrong} got {}", id("shop", "server"))),
        "{text}"
    );
    let error = channel::connect(&a, &address.to_string(), &wrong)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected spiffe://"), "{error}");

    // A client of a foreign root that trusts ours: refused by the server.
    let intruder = foreign.workload("a");
    intruder.set_roots(mesh.authority.roots()).unwrap();
    let channel =
        channel::connect_lazy(&intruder, &address.to_string(), &id("shop", "server")).unwrap();
    let status = who_am_i(&channel).await;
    assert_ne!(status.code(), tonic::Code::AlreadyExists, "{status}");
}

#[tokio::test]
async fn malformed_addresses_are_refused_at_once() {
    let tls = Mesh::new().workload("a");
    for address in [
        "",
        "host",
        "host:",
        ":80",
        "host:http",
        "host:99999",
        "ho st:80",
    ] {
        assert!(
            channel::connect_lazy(&tls, address, &id("shop", "b")).is_err(),
            "{address}"
        );
    }
}

#[tokio::test]
async fn silent_peers_delay_nobody_and_are_dropped() {
    let (mesh, address) = (Mesh::new(), own_address());
    let limits = Limits {
        handshake: Duration::from_millis(500),
        ..Limits::default()
    };
    let _serving = mesh.serve(address, limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_served(&mesh.channel("a", address), "a").await;
    for mut stream in silent {
        // Closed or reset, but not left open.
        let _ = timeout(LONG, stream.read(&mut [0; 8])).await.unwrap();
    }
}

#[tokio::test]
async fn handshakes_in_progress_are_bounded() {
    let (mesh, address) = (Mesh::new(), own_address());
    let limits = Limits {
        handshake: Duration::from_millis(400),
        handshakes: 1,
        ..Limits::default()
    };
    let _serving = mesh.serve(address, limits).await;
    let begun = Instant::now();
    let _silent = TcpStream::connect(address).await.unwrap();
    assert_served(&mesh.channel("a", address), "a").await;
    assert!(
        begun.elapsed() >= limits.handshake,
        "it waited for the silent one to be dropped"
    );
}

#[tokio::test]
async fn an_address_that_connects_again_and_again_delays_no_other() {
    let (mesh, address) = (Mesh::new(), own_address());
    let limits = Limits {
        handshake: LONG,
        handshakes: 4,
        handshakes_of_one: 3,
        ..Limits::default()
    };
    let _serving = mesh.serve(address, limits).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        let socket = TcpSocket::new_v4().unwrap();
        // Another address of this machine than the one that the channel comes from.
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(address).await.unwrap());
    }
    let begun = Instant::now();
    assert_served(&mesh.channel("a", address), "a").await;
    assert!(begun.elapsed() < limits.handshake);
    let mut closed = 0;
    for stream in &mut silent {
        closed += usize::from(
            timeout(Duration::from_millis(50), stream.read(&mut [0; 8]))
                .await
                .is_ok(),
        );
    }
    assert_eq!(closed, 9);
}

#[tokio::test]
async fn connections_are_bounded_and_a_closed_one_makes_room() {
    let (mesh, address) = (Mesh::new(), own_address());
    let _serving = mesh
        .serve(
            address,
            Limits {
                connections: 1,
                ..Limits::default()
            },
        )
        .await;
    let first = mesh.channel("a", address);
    assert_served(&first, "a").await;
    let second = mesh.channel("b", address);
    let waiting = timeout(Duration::from_millis(300), who_am_i(&second)).await;
    assert!(waiting.is_err(), "there is no room yet");
    drop(first);
    assert_served(&second, "b").await;
}

#[tokio::test]
async fn a_channel_comes_back_after_its_server_did() {
    let (mesh, address) = (Mesh::new(), own_address());
    let channel = mesh.channel("a", address);
    let text = explain(&who_am_i(&channel).await);
    assert!(text.contains("Connection refused"), "{text}");
    for _ in 0..2 {
        let serving = mesh.serve(address, Limits::default()).await;
        let begun = Instant::now();
        while who_am_i(&channel).await.code() != tonic::Code::AlreadyExists {
            assert!(begun.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(serving);
    }
}
