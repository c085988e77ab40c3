//! Opens upstream connections: plain, to the pod's own application from the address that the
//! redirect lets through, over mutual TLS to an expected identity, or over TLS to a server outside
//! the mesh. The protocol that will be
//! spoken is told in ALPN, so that the other sidecar need not guess.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heddle_identity::{MeshTls, SpiffeId};
use heddle_proxy_config::snapshot::{ClientTls, ConnectionPool, Endpoint, Keepalive};
use nix::sys::socket::{setsockopt, sockopt};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::origin::{Origin, OriginError, Origins};
use crate::breaker::Overflow;
use crate::io::{Io, tls};
use crate::limits;
use crate::listener;

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
    /// TLS to a server outside the mesh.
    Origin(Arc<Origin>),
    /// Mutual TLS is asked for, and the endpoint has no identity: it is never connected to.
    Unidentified,
}

impl Link {
    /// The mesh's mutual TLS to whoever has an identity, at ports that speak it.
    pub(crate) fn of(endpoint: &Endpoint, port: u16) -> Self {
        match &endpoint.identity {
            Some(identity) if !endpoint.plain_ports.contains(&port) => Link::mesh(identity),
            _ => Link::Plain,
        }
    }

    fn mesh(identity: &SpiffeId) -> Self {
        Link::Mesh(identity.clone())
    }

    /// As a policy says it; `host` is the service's name for servers outside the mesh.
    pub(crate) fn by(tls: &ClientTls, endpoint: &Endpoint, port: u16, host: &Arc<str>) -> Self {
        match (tls, &endpoint.identity) {
            (ClientTls::Auto, _) => Link::of(endpoint, port),
            (ClientTls::Mesh, Some(identity)) => Link::mesh(identity),
            (ClientTls::Mesh, None) => Link::Unidentified,
            (ClientTls::Disable, _) => Link::Plain,
            (ClientTls::Originate(terms), _) => Link::Origin(Arc::new(Origin {
                terms: Arc::clone(terms),
                host: Arc::clone(host),
            })),
        }
    }
}

/// How a connection is made, where its cluster says it.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    timeout: Duration,
    keepalive: Option<Keepalive>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            timeout: limits::CONNECT,
            keepalive: None,
        }
    }
}

impl Terms {
    pub(super) fn of(pool: &ConnectionPool) -> Self {
        Self {
            timeout: pool.connect_timeout.unwrap_or(limits::CONNECT),
            keepalive: pool.keepalive,
        }
    }
}

/// What is told in ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error(
        "it has no identity in the mesh, and its DestinationRule asks for mutual TLS (ISTIO_MUTUAL)"
    )]
    Unidentified,
    #[error("TLS to a server outside the mesh: {0}")]
    Origin(#[from] OriginError),
    #[error("HTTP: {0}")]
    Http(crate::body::Broken),
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
    origins: Origins,
    /// See [`crate::serve::Habits`].
    pub(crate) header_case: bool,
}

impl Dialer {
    pub(crate) fn new(tls: MeshTls, header_case: bool) -> Self {
        Self {
            tls,
            origins: Origins::default(),
            header_case,
        }
    }

    /// Connects within [`limits::CONNECT`].
    pub(crate) fn dial<'a>(
        &'a self,
        addr: SocketAddr,
        link: &'a Link,
        alpn: Alpn,
    ) -> Pin<Box<impl Future<Output = Result<Io, ConnectError>> + 'a>> {
        self.dial_on(addr, link, alpn, Terms::default())
    }

    /// Connects on these terms. Boxed: what it needs is let go of before the connection is used.
    pub(crate) fn dial_on<'a>(
        &'a self,
        addr: SocketAddr,
        link: &'a Link,
        alpn: Alpn,
        terms: Terms,
    ) -> Pin<Box<impl Future<Output = Result<Io, ConnectError>> + 'a>> {
        Box::pin(async move {
            tokio::time::timeout(terms.timeout, self.connect(addr, link, alpn, terms))
                .await
                .map_err(|_| ConnectError::Timeout(terms.timeout))?
        })
    }

    async fn connect(
        &self,
        addr: SocketAddr,
        link: &Link,
        alpn: Alpn,
        terms: Terms,
    ) -> Result<Io, ConnectError> {
        if *link == Link::Unidentified {
            return Err(ConnectError::Unidentified);
        }
        let stream = tcp(addr, matches!(link, Link::App), terms.keepalive).await?;
        match link {
            Link::Plain | Link::App | Link::Unidentified => Ok(stream.into()),
            Link::Origin(origin) => {
                let (config, name) = self.origins.config(origin, alpn)?;
                Ok(tls::connect(config, name, stream).await?.into())
            }
            Link::Mesh(peer) => {
                let config = self.tls.client_config(peer, alpn.names());
                let name = ServerName::IpAddress(addr.ip().into());
                Ok(tls::connect(config, name, stream).await?.into())
            }
        }
    }
}

async fn tcp(
    addr: SocketAddr,
    from_app_source: bool,
    keepalive: Option<Keepalive>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    if from_app_source {
        let source = match addr {
            SocketAddr::V4(_) => APP_SOURCE_V4,
            SocketAddr::V6(_) => APP_SOURCE_V6,
        };
        listener::stays_in_the_pod(&socket);
        // A port is then chosen with the destination in view: else each would be taken from all
        // others until a minute after its end, and 28,000 connections a minute be the most.
        // Where the kernel cannot, that is how it is.
        let _ = setsockopt(&socket, sockopt::IpBindAddressNoPort, &true);
        socket.bind(&SocketAddr::new(source, 0).into())?;
    } else {
        socket.set_tcp_keepalive(&probes(keepalive.unwrap_or_default()))?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(addr)
        .await
}

fn probes(said: Keepalive) -> TcpKeepalive {
    // The kernel counts seconds, and takes no zero.
    let seconds = |time: Duration| time.max(Duration::from_secs(1));
    let mut probes =
        TcpKeepalive::new().with_time(seconds(said.time.unwrap_or(limits::TCP_KEEPALIVE)));
    if let Some(interval) = said.interval {
        probes = probes.with_interval(seconds(interval));
    }
    if let Some(count) = said.probes {
        probes = probes.with_retries(count);
    }
    probes
}
