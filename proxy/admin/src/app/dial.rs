//! Connects to the app as the inbound side of the sidecar does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::Failure;

/// The redirect lets connections from here through to the app; any other of the sidecar's to its own pod would be led
/// to its inbound port.
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

pub(super) async fn connect(to: SocketAddr) -> Result<TcpStream, Failure> {
    socket(to.ip())
        .map_err(|error| Failure::Connect(to, error))?
        .connect(to)
        .await
        .map_err(|error| Failure::Connect(to, error))
}

fn socket(to: IpAddr) -> io::Result<TcpSocket> {
    let (socket, source): (_, IpAddr) = match to {
        IpAddr::V4(_) => (TcpSocket::new_v4()?, SOURCE_V4.into()),
        IpAddr::V6(_) => (TcpSocket::new_v6()?, SOURCE_V6.into()),
    };
    match socket.bind(SocketAddr::new(source, 0)) {
        // The redirect adds ::6 to loopback: where it is missing there is no redirect to be let through.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(socket),
        bound => bound.map(|()| socket),
    }
}
