//! Accepting TLS connections for gRPC servers.
//!
//! Handshakes run side by side, each bounded in time and all of them in number, so one slow or
//! silent peer delays nobody; and each address has only its share of them, so neither does one
//! that connects again and again. A peer that is refused is logged with the reason. Running out of
//! file descriptors pauses accepting; nothing ends it but dropping the stream.

mod shares;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

pub use self::shares::{Share, Shares};
use crate::{MeshTls, Refusal, SpiffeId, backoff::Backoff, tls::Alpn};

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest a handshake may take.
    pub handshake: Duration,
    /// Most handshakes in progress. Further peers wait in the kernel's queue.
    pub handshakes: usize,
    /// Most connections open. Further peers wait in the kernel's queue.
    pub connections: usize,
    /// Most handshakes in progress with one address; what it opens beyond is closed at once.
    pub handshakes_of_one: usize,
    /// The same for connections. All proxies of a machine may share an address.
    pub connections_of_one: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            handshakes: 256,
            connections: 16_384,
            handshakes_of_one: 32,
            connections_of_one: 512,
        }
    }
}

/// Who is at the other end; in the extensions of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The identity it has proved; always there when the listener asks for one.
    pub id: Option<SpiffeId>,
}

/// Accepted connections, for `tonic::transport::Server::serve_with_incoming`.
#[derive(Debug)]
pub struct Incoming {
    accepted: mpsc::Receiver<Connection>,
    _accepting: JoinSet<()>,
}

/// Connections of peers that prove an identity of our trust domain.
pub fn mutual(listener: TcpListener, tls: MeshTls, alpn: Alpn, limits: Limits) -> Incoming {
    let config = {
        let tls = tls.clone();
        move || tls.server_config(alpn)
    };
    Incoming::new(listener, tls, config, limits)
}

/// Connections of anybody; only our side shows a certificate.
pub fn server_only(listener: TcpListener, tls: MeshTls, alpn: Alpn, limits: Limits) -> Incoming {
    let config = {
        let tls = tls.clone();
        move || tls.tls_server_config(alpn)
    };
    Incoming::new(listener, tls, config, limits)
}

impl Incoming {
    fn new(
        listener: TcpListener,
        tls: MeshTls,
        config: impl Fn() -> Arc<ServerConfig> + Send + 'static,
        limits: Limits,
    ) -> Self {
        let (sender, accepted) = mpsc::channel(16);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, config, limits, sender));
        Self {
            accepted,
            _accepting: accepting,
        }
    }

    /// The next connection; `None` never comes while this is alive.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.accepted.recv().await
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted
            .poll_recv(cx)
            .map(|connection| connection.map(Ok))
    }
}

async fn accept(
    listener: TcpListener,
    tls: MeshTls,
    config: impl Fn() -> Arc<ServerConfig>,
    limits: Limits,
    sender: mpsc::Sender<Connection>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (shaking, open) = (
        Shares::new(limits.handshakes_of_one),
        Shares::new(limits.connections_of_one),
    );
    let mut handshakes = JoinSet::new();
    let mut pause = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        tokio::select! {
            () = sender.closed() => return,
            Some(done) = handshakes.join_next(), if !handshakes.is_empty() => {
                if let Err(error) = done {
                    warn!(%error, "a handshake ended abnormally");
                }
            }
            Some((slot, accepted)) = next, if handshakes.len() < limits.handshakes => match accepted {
                Ok((tcp, address)) => {
                    pause.reset();
                    let (Some(share), Some(place)) = (shaking.take(address.ip()), open.take(address.ip())) else {
                        // Not worth a warning each: it may go on as fast as packets come.
                        debug!(peer = %address, "closed a connection: its address has too many");
                        continue;
                    };
                    let place = Place { _slot: slot, _share: place };
                    let shaken = shake(TlsAcceptor::from(config()), tcp, address, tls.clone(), limits, place, sender.clone());
                    handshakes.spawn(async move {
                        shaken.await;
                        drop(share);
                    });
                }
                // The peer went away while it was queued: nothing to wait for.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections for the moment; if this goes on, raise the limit of open files");
                    tokio::time::sleep(pause.next()).await;
                }
            },
        }
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
    tls: MeshTls,
    limits: Limits,
    place: Place,
    sender: mpsc::Sender<Connection>,
) {
    // Only latency is lost when this fails.
    let _ = tcp.set_nodelay(true);
    let stream = match timeout(limits.handshake, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            match Refusal::of(&error) {
                Some(refusal) => warn!(peer = %address, reason = %refusal, "refused a connection"),
                None => debug!(peer = %address, %error, "a connection broke in its handshake"),
            }
            return;
        }
        Err(_) => {
            warn!(peer = %address, reason = "its handshake took too long", "refused a connection");
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer {
        address,
        id: tls.peer_id(certificates),
    };
    // When nobody takes connections any more, this one is closed.
    let _ = sender
        .send(Connection {
            stream,
            peer,
            _place: place,
        })
        .await;
}

/// What a connection takes of the listener's bounds.
#[derive(Debug)]
struct Place {
    _slot: OwnedSemaphorePermit,
    _share: Share,
}

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _place: Place,
}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The protocol both sides agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
