//! Opens upstream connections: plain, to the pod's own application from the address that the
//! redirect lets through, or over mutual TLS to an expected identity. The protocol that will be
//! spoken is told in ALPN, so that the other sidecar need not guess.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use heddle_identity::{MeshTls, SpiffeId};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::io::{Io, tls};
use crate::limits;

/// Source of the inbound proxy's connections to the application; the redirect rules return it.
const APP_SOURCE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const APP_SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    /// Mutual TLS with this identity.
    Mesh(SpiffeId),
    /// In the clear: no sidecar there.
    Plain,
    /// The application of this pod.
    App,
}

/// What is told in ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    Http2,
    Tcp,
}

/// ALPN names between sidecars.
pub(crate) mod alpn {
    pub(crate) const HTTP1: &[u8] = b"heddle/http1";
    pub(crate) const HTTP2: &[u8] = b"heddle/h2";
    pub(crate) const TCP: &[u8] = b"heddle/tcp";

    /// What an inbound listener takes, in order of preference: ours, then what other proxies with
    /// a certificate of the trust domain offer.
    pub(crate) const INBOUND: &[&[u8]] = &[
        HTTP2,
        HTTP1,
        TCP,
        b"istio-h2",
        b"istio-http/1.1",
        b"istio",
        b"h2",
        b"http/1.1",
    ];

    /// Whether a client that offers these speaks mesh TLS, and not the application's own.
    pub(crate) fn is_mesh<'a>(mut offered: impl Iterator<Item = &'a [u8]>) -> bool {
        offered.any(|name| name.starts_with(b"heddle/") || name.starts_with(b"istio"))
    }
}

impl Alpn {
    fn names(self) -> &'static [&'static [u8]] {
        match self {
            Alpn::Http1 => &[alpn::HTTP1],
            Alpn::Http2 => &[alpn::HTTP2],
            Alpn::Tcp => &[alpn::TCP],
        }
    }
}

/// Why no connection was made. Nothing of the request has been sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Tcp(io::Error),
    /// One side would not have the other.
    #[error("TLS handshake: {0}")]
    Refused(heddle_identity::Refusal),
    #[error("no connection within {}s", limits::CONNECT.as_secs())]
    Timeout,
    #[error("HTTP: {0}")]
    Http(hyper::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match heddle_identity::Refusal::of(&error) {
            Some(refusal) => ConnectError::Refused(refusal),
            None => ConnectError::Tcp(error),
        }
    }
}

impl ConnectError {
    /// The peer's kernel said no: nobody listens there, at the moment.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, ConnectError::Tcp(e) if e.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Opens connections for one worker.
pub(crate) struct Dialer {
    tls: MeshTls,
}

impl Dialer {
    pub(crate) fn new(tls: MeshTls) -> Self {
        Self { tls }
    }

    /// Connects within [`limits::CONNECT`]. Boxed: what it needs is let go of before the connection
    /// is used.
    pub(crate) fn dial<'a>(
        &'a self,
        addr: SocketAddr,
        link: &'a Link,
        alpn: Alpn,
    ) -> Pin<Box<impl Future<Output = Result<Io, ConnectError>> + 'a>> {
        Box::pin(async move {
            tokio::time::timeout(limits::CONNECT, self.connect(addr, link, alpn))
                .await
                .map_err(|_| ConnectError::Timeout)?
        })
    }

    async fn connect(&self, addr: SocketAddr, link: &Link, alpn: Alpn) -> Result<Io, ConnectError> {
        let stream = tcp(addr, matches!(link, Link::App)).await?;
        match link {
            Link::Plain | Link::App => Ok(stream.into()),
            Link::Mesh(peer) => {
                let config = self.tls.client_config(peer, alpn.names());
                let name = ServerName::IpAddress(addr.ip().into());
                Ok(tls::connect(config, name, stream).await?.into())
            }
        }
    }
}

async fn tcp(addr: SocketAddr, from_app_source: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE))?;
    if from_app_source {
        let source = match addr {
            SocketAddr::V4(_) => APP_SOURCE_V4,
            SocketAddr::V6(_) => APP_SOURCE_V6,
        };
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(addr)
        .await
}
