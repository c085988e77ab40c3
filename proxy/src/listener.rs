//! Listening sockets, one set for each worker (SO_REUSEPORT), and the accept loop: bounded in
//! connections, never ended by an error, patient when descriptors run out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heddle_identity::backoff::Backoff;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// Pending connections that the kernel holds for one listener.
const BACKLOG: i32 = 4096;

/// One worker's listening sockets, IPv4 and, where there is any, IPv6.
pub(crate) struct Listeners {
    pub(crate) outbound: Vec<std::net::TcpListener>,
    pub(crate) inbound: Vec<std::net::TcpListener>,
}

impl Listeners {
    pub(crate) fn bind(outbound: u16, inbound: u16) -> io::Result<Self> {
        Ok(Self {
            outbound: bind_both(outbound)?,
            inbound: bind_both(inbound)?,
        })
    }
}

fn bind_both(port: u16) -> io::Result<Vec<std::net::TcpListener>> {
    let mut sockets = vec![bind((Ipv4Addr::UNSPECIFIED, port).into())?];
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(socket) => sockets.push(socket),
        Err(e) if is_no_ipv6(&e) => tracing::debug!("no IPv6 here"),
        Err(e) => return Err(e),
    }
    Ok(sockets)
}

fn is_no_ipv6(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listen = || {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen()
        .map_err(|e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))
}

/// Bounds the connections of one worker, and counts those of the whole sidecar.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    total: Arc<AtomicUsize>,
}

/// One connection under way.
struct Admitted {
    _permit: OwnedSemaphorePermit,
    total: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn new(limit: usize, total: Arc<AtomicUsize>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            total,
        }
    }
}

impl Admitted {
    fn new(permit: OwnedSemaphorePermit, total: &Arc<AtomicUsize>) -> Self {
        total.fetch_add(1, Ordering::Relaxed);
        Self {
            _permit: permit,
            total: Arc::clone(total),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts for ever, each connection in a task of its own that ends with it.
pub(crate) async fn accept<F, Fut>(socket: std::net::TcpListener, gate: Gate, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let serve = Rc::new(serve);
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot use a listening socket"),
    };
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    loop {
        let Ok(permit) = Arc::clone(&gate.permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                backoff.reset();
                let admitted = Admitted::new(permit, &gate.total);
                let serve = Rc::clone(&serve);
                // Asked for inside, so that its future is kept once.
                tokio::task::spawn_local(async move {
                    serve(stream, peer).await;
                    drop(admitted);
                });
            }
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                let pause = backoff.next();
                tracing::warn!(%error, ?pause, "cannot accept connections; trying again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The connection failed before it was accepted; the listener is well.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Prepares an accepted connection, and says where it wanted to go before it was redirected;
/// `None` when it was not.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE))?;
    let local = stream.local_addr()?;
    let original = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let original = match original {
        Ok(address) => address.as_socket(),
        // No connection tracking for it: it was not redirected.
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    Ok(original.filter(|o| *o != local))
}
