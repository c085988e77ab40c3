//! Asks the pod's own resolvers.
//!
//! Bytes are passed as they are, under a fresh random id and from a fresh port; an answer counts
//! only from the server that was asked, with that id and the same question. A server that is slow
//! is not waited for alone: the next is asked too, and who answers first has answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout_at};

use crate::resolv::{Conf, ResolvConf};
use crate::wire::{self, Query};

/// For everything: less than an application's resolver waits for one server (libc: 5 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// After this long without an answer the next server is asked too.
const NEXT: Duration = Duration::from_secs(1);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Answers of a server that cannot say, and so another is asked: failure, not implemented, refused.
const CANNOT_SAY: [u8; 3] = [2, 4, 5];

/// The pod's own resolvers.
pub struct Upstream {
    file: ResolvConf,
    /// The server that answered last.
    preferred: AtomicUsize,
}

impl Upstream {
    /// Those of a resolv.conf.
    pub fn new(resolv_conf: PathBuf) -> Self {
        Self {
            file: ResolvConf::new(resolv_conf),
            preferred: AtomicUsize::new(0),
        }
    }

    pub(crate) fn conf(&self) -> std::sync::Arc<Conf> {
        self.file.current()
    }

    /// Asks, and gives the answer under the query's own id; `None` when nobody answers in time. Over
    /// UDP, what comes back truncated is asked for again over TCP.
    pub(crate) async fn ask(&self, query: &Query<'_>, tcp: bool) -> Option<Vec<u8>> {
        let conf = self.conf();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut places = (0..ROUNDS * conf.servers.len()).map(|n| (n + first) % conf.servers.len());
        let deadline = Instant::now() + PATIENCE;
        let mut under_way = FuturesUnordered::new();
        let mut cannot_say = None;
        loop {
            let next = places.next();
            if let Some(place) = next {
                let server = conf.servers[place];
                under_way.push(Box::pin(async move {
                    (place, exchange(server, query, tcp).await)
                }));
            }
            let pause = async {
                match next {
                    Some(_) => sleep(NEXT).await,
                    // Nobody is left to be asked: only answers count now.
                    None => std::future::pending().await,
                }
            };
            let answered = tokio::select! {
                answered = timeout_at(deadline, under_way.next()) => answered,
                () = pause => continue,
            };
            match answered {
                Ok(Some((place, Ok(mut answer)))) => {
                    wire::set_id(&mut answer, [query.bytes()[0], query.bytes()[1]]);
                    if CANNOT_SAY.contains(&wire::code(&answer)) {
                        cannot_say = Some(answer);
                        continue;
                    }
                    self.preferred.store(place, Ordering::Relaxed);
                    return Some(answer);
                }
                Ok(Some((place, Err(error)))) => {
                    tracing::debug!(server = %conf.servers[place], %error, "a resolver did not answer");
                }
                Ok(None) | Err(_) => return cannot_say,
            }
        }
    }
}

async fn exchange(server: SocketAddr, query: &Query<'_>, tcp: bool) -> io::Result<Vec<u8>> {
    let mut asked = query.bytes().to_vec();
    wire::set_id(&mut asked, rand::random());
    if !tcp {
        let answer = over_udp(server, &asked, query).await?;
        if !wire::is_truncated(&answer) {
            return Ok(answer);
        }
        // A server that has no TCP has given all it has.
        let whole = over_tcp(server, &asked, query).await;
        return Ok(whole.unwrap_or_else(|_| wire::truncated(query, wire::Code::NoError)));
    }
    over_tcp(server, &asked, query).await
}

async fn over_udp(server: SocketAddr, asked: &[u8], query: &Query<'_>) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    // One byte more than is taken, so that what was cut shows.
    let mut buffer = vec![0; query.udp_limit() + 1];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if !wire::answers_to(asked, query.question_bytes(), &buffer[..length]) {
            continue;
        }
        if length == buffer.len() {
            return Ok(wire::truncated(query, wire::Code::NoError));
        }
        buffer.truncate(length);
        return Ok(buffer);
    }
}

async fn over_tcp(server: SocketAddr, asked: &[u8], query: &Query<'_>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(asked);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if wire::answers_to(asked, query.question_bytes(), &answer) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
