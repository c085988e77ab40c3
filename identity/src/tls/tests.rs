//! Real handshakes over loopback sockets, with peers that may present anything.
#![allow(clippy::unwrap_used)]

mod handshakes;
mod known;
mod refusals;
mod rotation;

use std::{io, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{MeshTls, Refusal, server_name};

const ALPN: super::Alpn = &[b"heddle-test"];
const A: &str = "spiffe://cluster.local/ns/shop/sa/a";
const B: &str = "spiffe://cluster.local/ns/shop/sa/b";

/// An authority that signs whatever it is told to.
struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TestCa {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::from_ca_cert_der(&root, key).unwrap(),
            root,
        }
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key))
    }

    /// A workload with a certificate of ours.
    fn workload(&self, id: &str) -> MeshTls {
        let tls = MeshTls::new(id.parse().unwrap());
        tls.set_roots(vec![self.root.clone()]).unwrap();
        let (chain, key) = self.sign(&good(id));
        tls.set_credential(chain, key).unwrap();
        tls
    }
}

/// What a good certificate for `id` is made of.
fn good(id: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.not_before = now - Duration::from_secs(60);
    params.not_after = now + Duration::from_secs(600);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

type Outcome<T> = Result<T, io::Error>;

/// Both sides of one handshake.
async fn handshake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (
    Outcome<server::TlsStream<TcpStream>>,
    Outcome<client::TlsStream<TcpStream>>,
) {
    let (accepted, connected) = tcp_pair().await;
    tokio::join!(
        TlsAcceptor::from(server).accept(accepted),
        TlsConnector::from(client).connect(server_name(), connected)
    )
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.unwrap().0, connected.unwrap())
}

/// Why the server refused.
async fn server_refuses(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Refusal {
    Refusal::of(&handshake(server, client).await.0.unwrap_err()).unwrap()
}

/// Why the client refused.
async fn client_refuses(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Refusal {
    Refusal::of(&handshake(server, client).await.1.unwrap_err()).unwrap()
}
