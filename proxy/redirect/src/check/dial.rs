//! One dial of the check, bounded: which of some addresses has a route, whether the connection came to our listener,
//! and what the kernel says it was meant for.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH};
use socket2::{Domain, SockRef, Socket, Type};

use super::Error;
use crate::rules::Family;

/// Within the pod; without a redirect the packets leave it and nobody answers.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// From a finished connect to its accept.
const ACCEPT_LIMIT: Duration = Duration::from_secs(1);
/// A new IPv6 address may be used after its duplicate address detection, 1 to 2 s.
const ADDRESS_LIMIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

/// What came of it, when nothing went wrong.
pub(super) enum Dialled {
    /// This address was dialled and came to our listener.
    Intercepted(SocketAddr),
    /// None of the addresses can be dialled from here.
    NoRoute,
}

/// Dials the first of the candidates that has a route, and expects it at the port on loopback.
pub(super) fn probe(
    family: Family,
    port: u16,
    source: Option<IpAddr>,
    candidates: &[SocketAddr],
) -> Result<Dialled, Error> {
    let Some(&to) = first_with_route(source, candidates) else {
        return Ok(Dialled::NoRoute);
    };
    let listener =
        TcpListener::bind((family.localhost(), port)).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse { port },
            _ => Error::Socket {
                what: format!("listen on {} port {port}", family.localhost()),
                source,
            },
        })?;
    let not_intercepted = |found: String| Error::NotIntercepted {
        dialled: to,
        port,
        found,
    };
    let stream = connect(source, to)
        .map_err(|error| not_intercepted(format!("the connection failed: {error}")))?;
    let socket_error = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Socket { what, source }
    };
    let ours = stream
        .local_addr()
        .map_err(socket_error("read the address of a socket"))?;
    let accepted =
        accept(&listener, family, ours, to).map_err(socket_error("accept the connection"))?;
    let accepted = accepted.ok_or_else(|| not_intercepted("something else answered".into()))?;
    let meant_for = original(family, &accepted);
    // Ours closes first, with a reset.
    drop(stream);
    drop(accepted);
    let meant_for = meant_for.map_err(socket_error("read SO_ORIGINAL_DST"))?;
    if meant_for == Some(to) {
        Ok(Dialled::Intercepted(to))
    } else {
        let meant_for = meant_for.map_or("no IP address".to_owned(), |address| address.to_string());
        Err(not_intercepted(format!(
            "it arrived with SO_ORIGINAL_DST {meant_for}"
        )))
    }
}

/// A route is asked for by connecting a UDP socket, which sends nothing.
fn first_with_route(source: Option<IpAddr>, candidates: &[SocketAddr]) -> Option<&SocketAddr> {
    let deadline = Instant::now() + ADDRESS_LIMIT;
    loop {
        let mut not_yet = false;
        for to in candidates {
            match routed_from(source, *to) {
                // The pod's own address is reached over lo, where nothing is redirected.
                Ok(from) if source.is_some() || from.ip() != to.ip() => return Some(to),
                Ok(_) => {}
                Err(error) => not_yet |= error.raw_os_error() == Some(EADDRNOTAVAIL),
            }
        }
        if !not_yet || Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

fn routed_from(source: Option<IpAddr>, to: SocketAddr) -> io::Result<SocketAddr> {
    let unspecified: IpAddr = if to.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = UdpSocket::bind((source.unwrap_or(unspecified), 0))?;
    socket.connect(to)?;
    socket.local_addr()
}

fn connect(source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket
        .connect_timeout(&to.into(), CONNECT_LIMIT)
        .map_err(|error| match error.raw_os_error() {
            Some(ENETUNREACH | EHOSTUNREACH) => {
                io::Error::other("it left the pod and found no route there")
            }
            _ => error,
        })?;
    // Closed by a reset, the connection leaves nothing in TIME_WAIT that would keep the sidecar from its port.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}

/// The connection from this address, or to that one: when connection tracking remembers the same
/// port from an earlier connection, the redirect also gives ours another source port. Others (a hasty
/// app's) are dropped.
fn accept(
    listener: &TcpListener,
    family: Family,
    from: SocketAddr,
    to: SocketAddr,
) -> io::Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + ACCEPT_LIMIT;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                if peer == from || original(family, &stream).is_ok_and(|meant| meant == Some(to)) {
                    return Ok(Some(stream));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                thread::sleep(POLL);
            }
            Err(error) => return Err(error),
        }
    }
}

fn original(family: Family, stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
    let address = match family {
        Family::V4 => socket.original_dst_v4(),
        Family::V6 => socket.original_dst_v6(),
    };
    address.map(|address| address.as_socket())
}
