//! Connections over loopback with rustls as it is at the other end, and with ourselves.
#![allow(clippy::unwrap_used)]

mod carried;
mod faults;
mod sudden;
mod talk;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{MeshTls, SpiffeId};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{Tls, accept};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Mesh {
    authority: Authority,
    _root: tempfile::TempDir,
}

impl Mesh {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            authority: Authority::load_or_create(root.path(), Policy::default()).unwrap(),
            _root: root,
        }
    }

    fn tls(&self, account: &str) -> MeshTls {
        let key = KeyPair::generate().unwrap();
        let mut request = CertificateParams::default();
        request.subject_alt_names = vec![SanType::URI(id(account).as_str().try_into().unwrap())];
        let request = request.serialize_request(&key).unwrap();
        let certificate = self
            .authority
            .issue(request.der(), &id(account), None)
            .unwrap();
        let tls = MeshTls::new(id(account));
        tls.suggest_roots(self.authority.roots()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        tls.set_credential(certificate.chain, key.into()).unwrap();
        tls
    }

    fn configs(&self) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let alpn: heddle_identity::tls::Alpn = &[b"heddle/tcp"];
        (
            self.tls("client").client_config(&id("server"), alpn),
            self.tls("server").server_config(alpn),
        )
    }
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::for_service_account(&Default::default(), "default", account).unwrap()
}

fn name() -> ServerName<'static> {
    heddle_identity::tls::server_name()
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (client.unwrap(), server.unwrap().0)
}

/// All of the handshake; without waiting for what is sent first.
async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tcp: TcpStream,
) -> io::Result<Tls> {
    let mut client = super::connect(config, name, tcp).await?;
    client.flush().await?;
    Ok(client)
}

/// Both ends ours.
async fn ours() -> (Tls, Tls) {
    let (client, server) = tcp().await;
    let (to, of) = Mesh::new().configs();
    let told = |session: &rustls::CommonState| session.alpn_protocol().map(<[u8]>::to_vec);
    let (client, server) = tokio::join!(
        connect(to, name(), client),
        accept(of, server, Bytes::new(), told)
    );
    let (server, alpn) = server.unwrap();
    assert_eq!(alpn.unwrap(), b"heddle/tcp");
    (client.unwrap(), server)
}

/// The client is ours.
async fn our_client() -> (Tls, server::TlsStream<TcpStream>) {
    our_client_of(|_| ()).await
}

/// The same, of a server that is set up so.
async fn our_client_of(
    change: impl FnOnce(&mut ServerConfig),
) -> (Tls, server::TlsStream<TcpStream>) {
    let (client, server) = tcp().await;
    let (to, mut of) = Mesh::new().configs();
    change(Arc::make_mut(&mut of));
    let (client, server) = tokio::join!(
        connect(to, name(), client),
        TlsAcceptor::from(of).accept(server)
    );
    (client.unwrap(), server.unwrap())
}

/// The server is ours.
async fn our_server() -> (client::TlsStream<TcpStream>, Tls) {
    let (client, server) = tcp().await;
    let (to, of) = Mesh::new().configs();
    let (client, server) = tokio::join!(
        TlsConnector::from(to).connect(name(), client),
        accept(of, server, Bytes::new(), |_| ())
    );
    (client.unwrap(), server.unwrap().0)
}

/// Runs a test's body, which must not take long.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, test).await })
        .expect("it hangs");
}

/// Bytes of which no two pieces are alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8)
        .collect()
}

impl Tls {
    /// What it holds beside its keys.
    fn held(&self) -> usize {
        self.partial.capacity() + self.opened.len() + self.unsent.capacity()
    }
}
