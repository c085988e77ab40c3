//! A sidecar's endpoints on free ports, and a client of few words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heddle_proxy_admin::{AdminHandles, AdminSettings, Asked, NoAnswer, Ports, Readiness, bind};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const OWN_METRICS: &str =
    "# TYPE heddle_requests_total counter\nheddle_requests_total 7\n";
const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Sidecar {
    pub(crate) ports: Ports,
    pub(crate) ready: watch::Sender<Readiness>,
    pub(crate) drained: Arc<AtomicUsize>,
    pub(crate) quit: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Sidecar {
    pub(crate) fn start(settings: AdminSettings) -> Self {
        let ports = Ports {
            admin: 0,
            app: 0,
            health: 0,
            metrics: 0,
        };
        let (ready, ready_seen) = watch::channel(not_ready("no certificate yet"));
        let (drained, quit) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = |counter: &Arc<AtomicUsize>| {
            let counter = counter.clone();
            Arc::new(move || {
                counter.fetch_add(1, Ordering::SeqCst);
            })
        };
        let handles = AdminHandles {
            ready: ready_seen,
            metrics: Arc::new(|out: &mut String| out.push_str(OWN_METRICS)),
            status: Arc::new(|| json!({"version": "v1"})),
            config_dump: Arc::new(|| json!({"services": []})),
            explain: Arc::new(|asked, slot| {
                Box::pin(async move {
                    let _slot = slot;
                    match asked {
                        Asked::Request(body) if body.is_empty() => {
                            Err(NoAnswer::NotAsked("nothing is asked".into()))
                        }
                        Asked::Request(body) => Ok(json!({"request": body.len()})),
                        Asked::Connection(body) => Ok(json!({"connection": body.len()})),
                    }
                })
            }),
            drain: count(&drained),
            drained: Arc::new(|| Box::pin(async { 2 })),
            quit: count(&quit),
        };
        let bound = bind(AdminSettings { ports, ..settings }, handles).unwrap();
        let ports = bound.ports();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        Self {
            ports,
            ready,
            drained,
            quit,
            stop: Some(stop),
            serving,
        }
    }

    /// With these probes of the app, which is on loopback.
    pub(crate) fn with_probes(probes: &serde_json::Value) -> Self {
        Self::start(AdminSettings {
            pod_ip: Some(Ipv4Addr::LOCALHOST.into()),
            app_probes: probes.to_string().parse().unwrap(),
            app_lifecycle: probes.to_string().parse().unwrap(),
            ..AdminSettings::default()
        })
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(LONG, self.serving).await.unwrap().unwrap();
    }

    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        get(local(self.ports.app), path).await
    }
}

pub(crate) fn not_ready(reason: &str) -> Readiness {
    Readiness {
        ready: false,
        reason: reason.into(),
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    request(at, "GET", path, "user-agent: kube-probe/1.36\r\n").await
}

pub(crate) async fn post(at: SocketAddr, path: &str) -> (u16, String) {
    request(at, "POST", path, "").await
}

pub(crate) async fn ask(at: SocketAddr, path: &str, body: &str) -> (u16, String) {
    let length = format!("content-length: {}\r\n\r\n{body}", body.len());
    request(at, "POST", path, &length).await
}

/// Status and body; a body in chunks is put together.
pub(crate) async fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String) {
    let asked = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = timeout(LONG, asked).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    (
        status,
        if chunked {
            joined(body)
        } else {
            body.to_owned()
        },
    )
}

fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&rest[..length]);
        chunks = &rest[length + 2..];
    }
    body
}

/// A port of loopback where nobody listens: bound, so that nobody else gets it.
pub(crate) fn nobodys_port() -> (u16, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (port, socket)
}

/// The first address of this machine that is not loopback's, if there is one.
pub(crate) fn outside_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent; only the route is asked for.
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback())
}
