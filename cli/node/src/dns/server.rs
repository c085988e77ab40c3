//! The sockets of cluster DNS: one UDP and one TCP at each address, owned by one handle.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    answer::{Decision, Zones, decide, encode, refusal, udp_limit},
    forward,
    names::Names,
};
use crate::{AddressPlan, Node, NodeError};

/// Queries under way to other servers, over all clients.
const FORWARDS: usize = 256;
const CONNECTIONS: usize = 128;
/// A TCP client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(10);
/// After a failed receive or accept.
const PAUSE: Duration = Duration::from_millis(50);
const LARGEST_QUERY: usize = 4096;

/// What the caller decides about cluster DNS.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// Where the machine's resolvers are named.
    pub resolv_conf: PathBuf,
    /// 53, except in tests.
    pub port: u16,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            port: 53,
        }
    }
}

/// A running DNS server; it ends when dropped.
#[derive(Debug)]
pub struct ClusterDns {
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    names: watch::Receiver<Arc<Names>>,
    zones: Zones,
    resolv_conf: PathBuf,
    forwards: Semaphore,
}

impl ClusterDns {
    /// Serves at the mesh's DNS Service IP, in the node namespace.
    pub async fn start(
        node: &Node,
        names: watch::Receiver<Arc<Names>>,
        options: DnsOptions,
    ) -> Result<Self, NodeError> {
        let plan = &node.layout.plan;
        let shared = Arc::new(Shared {
            names,
            zones: zones(&node.options.cluster_domain, plan),
            resolv_conf: options.resolv_conf,
            forwards: Semaphore::new(FORWARDS),
        });
        let mut tasks = JoinSet::new();
        for ip in plan.dns().all() {
            let address = SocketAddr::new(ip, options.port);
            let failed = || NodeError::system(format!("cannot serve cluster DNS at {address}"));
            let udp = node.sockets.udp(address).await.map_err(failed())?;
            let tcp = node.sockets.listen(address).await.map_err(failed())?;
            tasks.spawn(serve_udp(shared.clone(), Arc::new(udp)));
            tasks.spawn(serve_tcp(shared.clone(), tcp));
        }
        Ok(Self { _tasks: tasks })
    }
}

fn zones(cluster_domain: &str, plan: &AddressPlan) -> Zones {
    let mut reverse: Vec<String> = [plan.pods_v4(), plan.services_v4()]
        .iter()
        .map(|net| {
            let [a, b, ..] = net.network().octets();
            format!("{b}.{a}.in-addr.arpa")
        })
        .collect();
    for net in [plan.pods_v6(), plan.services_v6()].into_iter().flatten() {
        let nibbles = net.network().octets().into_iter().take(8);
        let digits: Vec<String> = nibbles
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|n| format!("{n:x}"))
            .collect();
        let reversed: Vec<String> = digits.into_iter().rev().collect();
        reverse.push(format!("{}.ip6.arpa", reversed.join(".")));
    }
    Zones {
        cluster: cluster_domain.to_ascii_lowercase(),
        reverse,
    }
}

impl Shared {
    /// The answer's bytes; none for what deserves no answer.
    async fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let Ok(query) = Message::from_vec(bytes) else {
            return malformed(bytes);
        };
        let names = self.names.borrow().clone();
        let limit = if tcp {
            usize::from(u16::MAX)
        } else {
            udp_limit(&query)
        };
        match decide(&query, &names, &self.zones) {
            Decision::Ignore => None,
            Decision::Reply(reply) => encode(&reply, limit),
            Decision::Forward => match self.forward(bytes, tcp).await {
                Some(answer) => Some(answer),
                None => encode(&refusal(&query, ResponseCode::ServFail), limit),
            },
            Decision::Follow(reply, next) => encode(&self.follow(reply, next).await, limit),
        }
    }

    async fn forward(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let Ok(_permit) = self.forwards.try_acquire() else {
            return None;
        };
        forward::ask(&self.resolv_conf, query, tcp).await
    }

    /// Adds what the alias's target stands for.
    async fn follow(&self, mut reply: Message, next: Query) -> Message {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(next);
        let answer = match query.to_vec() {
            Ok(bytes) => self.forward(&bytes, true).await,
            Err(_) => None,
        };
        match answer.and_then(|bytes| Message::from_vec(&bytes).ok()) {
            Some(answer) => {
                reply.metadata.response_code = answer.metadata.response_code;
                reply.add_answers(answer.answers);
            }
            None => reply.metadata.response_code = ResponseCode::ServFail,
        }
        reply
    }
}

/// Something with a header that says it is a query is told that it is not one.
fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = bytes.get(..12)?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let mut reply = Message::new(id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = ResponseCode::FormErr;
    reply.to_vec().ok()
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut slow = JoinSet::new();
    let mut buffer = vec![0; LARGEST_QUERY];
    loop {
        while slow.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "cluster DNS cannot receive");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let bytes = buffer[..length].to_vec();
        let (shared, socket) = (shared.clone(), socket.clone());
        let mut work = Box::pin(async move {
            if let Some(answer) = shared.answer(&bytes, false).await {
                // The client asks again.
                let _ = socket.send_to(&answer, client).await;
            }
        });
        // The cluster's own names are answered at once; a question to others must not hold them up.
        // Those are bounded by the permits, and those without one end at once.
        let ready = futures_util::poll!(&mut work).is_ready();
        if !ready {
            slow.spawn(work);
        }
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        // The client's side of a broken connection is the client's to report.
                        let _ = converse(&shared, stream).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cluster DNS cannot accept");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut query = Vec::new();
        let read = async {
            query.resize(usize::from(stream.read_u16().await?), 0);
            stream.read_exact(&mut query).await
        };
        timeout(IDLE, read)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        let Some(answer) = shared.answer(&query, true).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        timeout(IDLE, stream.write_all(&framed))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
}
