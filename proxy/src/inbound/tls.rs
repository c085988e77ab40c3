//! Who may come in: the mutual TLS half of an inbound connection. In STRICT the peer must present
//! a certificate of the trust domain; in PERMISSIVE mesh TLS is told from the application's own by
//! ALPN; in DISABLE nothing is touched.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use heddle_identity::SpiffeId;
use heddle_proxy_config::snapshot::{InboundPort, MtlsMode, Protocol};
use rustls::CommonState;
use rustls::server::ClientHello;
use tokio::net::TcpStream;

use super::first::{self, First};
use crate::hello::{self, Hello};
use crate::io::{Io, tls};
use crate::limits::{self, CLIENT_HELLO};
use crate::upstream::connect::alpn;
use crate::worker::Worker;

/// A connection that may come in.
pub(super) struct Admitted {
    pub(super) io: Io,
    pub(super) identity: Option<SpiffeId>,
    /// What the peer told in ALPN; `None`: as the port declares.
    pub(super) protocol: Option<Protocol>,
    /// The connection to the application, when it was the one to speak first.
    pub(super) app: Option<Io>,
}

impl Admitted {
    fn plain(io: Io, app: Option<Io>) -> Self {
        Self {
            io,
            identity: None,
            protocol: None,
            app,
        }
    }
}

/// Why a connection may not come in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("plain text, and this port takes only mutual TLS of the mesh (STRICT)")]
    PlainText,
    #[error("TLS handshake: {0}")]
    Handshake(heddle_identity::Refusal),
    #[error("the TLS handshake took longer than {}s", limits::HANDSHAKE.as_secs())]
    Slow,
    #[error("the peer's certificate carries no identity of this trust domain")]
    NoIdentity,
    /// Nobody's fault: health checks and port scans connect and leave.
    #[error("the connection ended before it said anything: {0}")]
    Ended(io::Error),
}

impl Refusal {
    /// For the metric: one of a fixed few.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Refusal::PlainText => "plain-text",
            Refusal::Handshake(_) => "tls",
            Refusal::Slow => "tls-timeout",
            Refusal::NoIdentity => "no-identity",
            Refusal::Ended(_) => "ended",
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match heddle_identity::Refusal::of(&error) {
            Some(heddle_identity::Refusal::NotTls) => Refusal::PlainText,
            Some(refusal) => Refusal::Handshake(refusal),
            None => Refusal::Ended(error),
        }
    }
}

/// Admits or refuses a connection; a handshake that began is bounded by [`limits::HANDSHAKE`].
pub(super) async fn admit(
    worker: &Worker,
    stream: TcpStream,
    destination: SocketAddr,
    port: &InboundPort,
) -> Result<Admitted, Refusal> {
    match port.mtls {
        MtlsMode::Disable => Ok(Admitted::plain(stream.into(), None)),
        MtlsMode::Strict => bounded(handshake(worker, stream, Bytes::new())).await,
        MtlsMode::Permissive => {
            let mut io = Io::from(stream);
            match port.protocol {
                // Here the client is the one to speak first.
                Protocol::Http1 | Protocol::Http2 | Protocol::Grpc | Protocol::Tls => {
                    io.read_ahead(CLIENT_HELLO).await?;
                }
                Protocol::Tcp | Protocol::Detect => {
                    let words = first::words(worker, &mut io, destination, CLIENT_HELLO);
                    if let First::Server(app) = words.await? {
                        return Ok(Admitted::plain(io, Some(app)));
                    }
                }
            }
            match bounded(async { Ok(hello::ahead(&mut io, is_mesh).await) }).await? {
                Hello::Tls(true) => {
                    // An accepted TCP connection is plain until its handshake.
                    let (stream, ahead) = io.into_plain().ok_or(Refusal::NoIdentity)?;
                    bounded(handshake(worker, stream, ahead)).await
                }
                Hello::Tls(false) | Hello::Other | Hello::Partial => Ok(Admitted::plain(io, None)),
            }
        }
    }
}

async fn bounded<T>(step: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(limits::HANDSHAKE, step)
        .await
        .map_err(|_| Refusal::Slow)?
}

async fn handshake(worker: &Worker, stream: TcpStream, ahead: Bytes) -> Result<Admitted, Refusal> {
    let config = worker.tls.server_config(alpn::INBOUND);
    let told = |session: &CommonState| {
        let identity = session
            .peer_certificates()
            .and_then(|chain| worker.tls.peer_id(chain));
        (identity, protocol(session.alpn_protocol()))
    };
    let (stream, (identity, protocol)) = tls::accept(config, stream, ahead, told).await?;
    Ok(Admitted {
        io: stream.into(),
        identity: Some(identity.ok_or(Refusal::NoIdentity)?),
        protocol,
        app: None,
    })
}

fn protocol(told: Option<&[u8]>) -> Option<Protocol> {
    match told {
        Some(alpn::HTTP1 | b"istio-http/1.1" | b"http/1.1") => Some(Protocol::Http1),
        Some(alpn::HTTP2 | b"istio-h2" | b"h2") => Some(Protocol::Http2),
        Some(alpn::TCP) => Some(Protocol::Tcp),
        _ => None,
    }
}

/// Whether it offers the protocols of the mesh.
fn is_mesh(hello: ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(alpn::is_mesh)
}
