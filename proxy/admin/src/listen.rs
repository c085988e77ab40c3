//! The listening sockets: loopback for what can change something, every address of both families for the rest.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG: i32 = 128;

/// Why the endpoints are not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be had.
    #[error("cannot listen on port {port} ({what}): {}", hint(source))]
    Bind {
        /// What it is for.
        what: &'static str,
        /// Which port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process of this pod has it; the sidecar needs 15000, 15020, 15021 and 15090"
                .into()
        }
        _ => source.to_string(),
    }
}

/// On 127.0.0.1 alone.
pub(crate) fn loopback(what: &'static str, port: u16) -> Result<TcpListener, Error> {
    open((Ipv4Addr::LOCALHOST, port).into()).map_err(|source| Error::Bind { what, port, source })
}

/// On every address, IPv6 and IPv4; IPv4 alone where the kernel has no IPv6.
pub(crate) fn everywhere(what: &'static str, port: u16) -> Result<TcpListener, Error> {
    let opened = open((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => open((Ipv4Addr::UNSPECIFIED, port).into()),
    });
    opened.map_err(|source| Error::Bind { what, port, source })
}

fn open(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
