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
            outbound: bind_both(outbound, stays_in_the_pod)?,
            inbound: bind_both(inbound, |_| {})?,
        })
    }
}

fn bind_both(port: u16, prepare: impl Fn(&Socket)) -> io::Result<Vec<std::net::TcpListener>> {
    let mut sockets = vec![bind((Ipv4Addr::UNSPECIFIED, port).into(), &prepare)?];
    match bind((Ipv6Addr::UNSPECIFIED, port).into(), &prepare) {
        Ok(socket) => sockets.push(socket),
        Err(e) if is_no_ipv6(&e) => tracing::debug!("no IPv6 here"),
        Err(e) => return Err(e),
    }
    Ok(sockets)
}

/// For connections between the sidecar and its own pod's application: no packet of theirs is lost or
/// shares a link, so one that is paced (as BBR does) only costs more.
pub(crate) fn stays_in_the_pod(socket: &Socket) {
    // Every kernel has it; without it they are as all others.
    let _ = socket.set_tcp_congestion(b"reno");
}

fn is_no_ipv6(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

/// What is set on it holds for the connections that it accepts, too.
fn bind(addr: SocketAddr, prepare: impl Fn(&Socket)) -> io::Result<std::net::TcpListener> {
    let listen = || {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE))?;
        prepare(&socket);
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

/// Where an accepted connection wanted to go before it was redirected; `None` when it was not.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn accepted_connections_are_as_their_listener() {
        let listeners = Listeners::bind(0, 0).unwrap();
        for (sockets, in_the_pod) in [(listeners.outbound, true), (listeners.inbound, false)] {
            for socket in sockets {
                socket.set_nonblocking(false).unwrap();
                let to = socket.local_addr().unwrap();
                let host: std::net::IpAddr = match to {
                    SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                };
                let _client = std::net::TcpStream::connect((host, to.port())).unwrap();
                let (accepted, _) = socket.accept().unwrap();
                let accepted = SockRef::from(&accepted);
                assert!(accepted.tcp_nodelay().unwrap());
                assert!(accepted.keepalive().unwrap());
                let time = accepted.tcp_keepalive_time().unwrap();
                assert_eq!(time, limits::TCP_KEEPALIVE);
                if in_the_pod {
                    let name = accepted.tcp_congestion().unwrap();
                    assert!(name.starts_with(b"reno"), "{name:?}");
                }
            }
        }
    }
}
