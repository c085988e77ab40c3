//! The sockets: UDP and TCP on loopback, which is where the redirect leads what the pod asks, and
//! where nobody else can send.
//!
//! What can be answered at once is, without a task. Tasks are bounded by what [`Answers`] lets
//! wait, connections by a number of their own; an error of a socket is waited out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::answer::{Answers, Transport};

/// Connections over TCP at a time.
const CONNECTIONS: usize = 64;
/// How long one may be silent, or its client not read.
const IDLE: Duration = Duration::from_secs(10);
/// After an error of a socket.
const PAUSE: Duration = Duration::from_millis(50);
/// Largest query over UDP; none that is cut can be read.
const LARGEST_QUERY: usize = 4096;
/// Queries that the kernel holds while the thread is busy.
const RECEIVE_BUFFER: usize = 256 * 1024;
const BACKLOG: i32 = 128;

/// Why the pod's queries cannot be answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot answer DNS at {address}: {source}; turn DNS capture off for this pod (heddle.io/dns-capture) if it needs the port itself"
)]
pub struct ServeError {
    address: SocketAddr,
    source: io::Error,
}

/// Where the pod's queries come in.
pub struct Sockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Sockets {
    /// On loopback, of IPv6 too where there is any.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bind(port: u16) -> Result<Self, ServeError> {
        let mut sockets = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
        };
        sockets.add((Ipv4Addr::LOCALHOST, port).into())?;
        match sockets.add((Ipv6Addr::LOCALHOST, port).into()) {
            Err(ServeError { source, .. }) if is_no_ipv6(&source) => {}
            added => added?,
        }
        Ok(sockets)
    }

    fn add(&mut self, address: SocketAddr) -> Result<(), ServeError> {
        let failed = |source| ServeError { address, source };
        self.udp.push(udp(address).map_err(failed)?);
        self.tcp.push(tcp(address).map_err(failed)?);
        Ok(())
    }
}

fn is_no_ipv6(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    // No such address family.
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let kind = kind.nonblocking().cloexec();
    Socket::new(Domain::for_address(address), kind, Some(protocol))
}

/// Answers for ever; dropping the future ends it.
pub async fn serve(sockets: Sockets, answers: Arc<Answers>) {
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        tasks.spawn(serve_udp(Arc::clone(&answers), Arc::new(socket)));
    }
    for listener in sockets.tcp {
        tasks.spawn(serve_tcp(Arc::clone(&answers), listener));
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve_udp(answers: Arc<Answers>, socket: Arc<UdpSocket>) {
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; LARGEST_QUERY];
    loop {
        while waiting.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "DNS cannot receive");
                sleep(PAUSE).await;
                continue;
            }
        };
        let query = buffer[..length].to_vec();
        let (answers, socket) = (Arc::clone(&answers), Arc::clone(&socket));
        let mut work = Box::pin(async move {
            if let Some(answer) = answers.answer(&query, Transport::Udp).await {
                // What the kernel has no room for the client asks for again.
                let _ = socket.try_send_to(&answer, client);
            }
        });
        if poll!(&mut work).is_pending() {
            waiting.spawn(work);
        }
    }
}

async fn serve_tcp(answers: Arc<Answers>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let answers = Arc::clone(&answers);
                    connections.spawn(async move {
                        // A broken connection is its client's to report.
                        let _ = converse(&answers, stream).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "DNS cannot accept");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// One query after the other, as most clients ask.
async fn converse(answers: &Answers, mut stream: TcpStream) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    loop {
        let mut query = Vec::new();
        let read = async {
            query.resize(usize::from(stream.read_u16().await?), 0);
            stream.read_exact(&mut query).await
        };
        timeout(IDLE, read).await.map_err(late)??;
        let Some(answer) = answers.answer(&query, Transport::Tcp).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        timeout(IDLE, stream.write_all(&framed))
            .await
            .map_err(late)??;
    }
}
