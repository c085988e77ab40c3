//! A pair of relays over loopback: carries requests, and lets nobody in whom it should not.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

use crate::relay::{Relay, Role};
use crate::tls::{self, Files};

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority and files of leaves.
struct Authority {
    dir: tempfile::TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("root"), root.pem()).unwrap();
        Self { dir, root }
    }

    /// Certificate and key of a leaf with this name.
    fn leaf(&self, uri: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.root).unwrap();
        let name = uri.rsplit('/').next().unwrap();
        let files = (
            self.dir.path().join(format!("{name}-cert")),
            self.dir.path().join(format!("{name}-key")),
        );
        std::fs::write(&files.0, leaf.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn client(&self, trusting: &Authority, server: &str) -> Role {
        let (certificate, key) = self.leaf(CLIENT);
        let files = Files {
            certificate: &certificate,
            key: &key,
            root: &trusting.root(),
        };
        Role::Client(tls::connector(&files, server).unwrap())
    }

    fn server(&self) -> Role {
        let (certificate, key) = self.leaf(SERVER);
        let files = Files {
            certificate: &certificate,
            key: &key,
            root: &self.root(),
        };
        Role::Server(tls::acceptor(&files).unwrap())
    }
}

fn local(work: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.unwrap() });
}

fn relay(role: Role, to: &[SocketAddr]) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    tokio::task::spawn_local(Relay::new(role, to).run(listener));
    at
}

/// Sends back the request's body, and says who connected.
async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let echo = service_fn(move |request: Request<Incoming>| async move {
                let mut response = Response::new(request.into_body());
                let from = from.to_string().parse().unwrap();
                response.headers_mut().insert("from", from);
                Ok::<_, Infallible>(response)
            });
            tokio::task::spawn_local(async move {
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), echo);
                let _ = serving.await;
            });
        }
    });
    at
}

/// Sends a request on a new connection: status, who the application says connected, the length of
/// the body.
async fn post(to: SocketAddr, body: String) -> (u16, String, usize) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let request = Request::post("/x").header("host", "x").body(body).unwrap();
    let (head, mut body) = sender.send_request(request).await.unwrap().into_parts();
    let from = head.headers.get("from");
    let from = from.map_or("", |from| from.to_str().unwrap()).to_owned();
    let mut length = 0;
    let mut body = std::pin::Pin::new(&mut body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        length += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    (head.status.as_u16(), from, length)
}

#[test]
fn a_pair_carries_bodies_both_ways_over_connections_of_its_pool() {
    local(async {
        let mesh = Authority::new();
        let server = relay(mesh.server(), &[application().await]);
        let client = relay(mesh.client(&mesh, SERVER), &[server]);
        let mut sources = Vec::new();
        for size in [0, 1, 1024, 300_000, 1024] {
            let (status, from, length) = post(client, "x".repeat(size)).await;
            assert_eq!((status, length), (200, size));
            assert!(from.starts_with("127.0.0.6:"), "{from}");
            sources.push(from);
        }
        sources.dedup();
        assert_eq!(sources.len(), 1, "each request had another connection");
    });
}

#[test]
fn every_tenth_request_goes_to_the_second() {
    local(async {
        let mesh = Authority::new();
        let applications = [application().await, application().await];
        let servers = applications.map(|to| relay(mesh.server(), &[to]));
        let client = relay(mesh.client(&mesh, SERVER), &servers);
        let mut sources = Vec::new();
        for _ in 0..20 {
            sources.push(post(client, String::new()).await.1);
        }
        let second = &sources[9];
        let to_it: Vec<usize> = (0..20).filter(|n| sources[*n] == *second).collect();
        assert_eq!(to_it, [9, 19], "{sources:?}");
        sources.sort();
        sources.dedup();
        assert_eq!(sources.len(), 2, "each request had another connection");
    });
}

#[test]
fn clear_text_is_not_answered() {
    local(async {
        let mesh = Authority::new();
        let server = relay(mesh.server(), &[application().await]);
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut said = Vec::new();
        // Reset or closed, both are a refusal.
        let _ = stream.read_to_end(&mut said).await;
        assert!(!said.starts_with(b"HTTP/"));
    });
}

#[test]
fn a_client_of_another_authority_is_refused() {
    local(async {
        let (mesh, other) = (Authority::new(), Authority::new());
        let server = relay(mesh.server(), &[application().await]);
        let client = relay(other.client(&mesh, SERVER), &[server]);
        let stream = TcpStream::connect(client).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let request = Request::get("/").body(String::new()).unwrap();
        let answer = sender.send_request(request).await;
        assert!(answer.is_err() || answer.unwrap().status() == 503);
    });
}

#[test]
fn a_server_with_another_name_is_refused() {
    local(async {
        let mesh = Authority::new();
        let server = relay(mesh.server(), &[application().await]);
        let client = relay(mesh.client(&mesh, CLIENT), &[server]);
        assert_eq!(post(client, String::new()).await.0, 503);
    });
}
