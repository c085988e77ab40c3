//! Applications: small HTTP servers inside a pod that say what they saw, and count.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http::{Body, Error, full};
use super::netns::Netns;

/// A running application.
pub(crate) struct App {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl App {
    /// Answers with [`echo`], in either version of HTTP.
    pub(crate) fn echo(netns: &Netns, port: u16, name: &'static str) -> Self {
        Self::http(netns, port, move |request| echo(name, request))
    }

    pub(crate) fn http<H, F>(netns: &Netns, port: u16, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Error>> + Send + 'static,
    {
        Self::with_room(netns, port, 1 << 20, handler)
    }

    /// The same, with room for so many bytes of a connection's HTTP/2 that nobody has read.
    pub(crate) fn with_room<H, F>(netns: &Netns, port: u16, room: u32, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Error>> + Send + 'static,
    {
        let (connections, requests) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let listener = netns.run(async move { listen(port) });
        let serving = netns.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                counted.fetch_add(1, Ordering::SeqCst);
                let (handler, asked) = (handler.clone(), Arc::clone(&asked));
                let service = service_fn(move |request| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    handler(request)
                });
                tokio::spawn(async move {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    let mut http2 = server.http2();
                    http2.enable_connect_protocol();
                    http2.initial_connection_window_size(room);
                    // The tests see at the client what goes wrong here.
                    let _ = server
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            connections,
            requests,
            serving,
        }
    }

    /// Connections that it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that have reached it.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// On every address of the pod, of both families. Must be called inside the namespace.
pub(crate) fn listen(port: u16) -> TcpListener {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking().cloexec(), None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())
        .unwrap();
    socket.listen(1024).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// Says who answered and what it saw; with a body, gives it back as it comes, trailers and all.
/// `x-status` and `x-delay-millis` ask for a status and a pause.
pub(crate) async fn echo(
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let asked = |key: &str| request.headers().get(key)?.to_str().ok()?.parse().ok();
    let (status, pause): (Option<u64>, Option<u64>) = (asked("x-status"), asked("x-delay-millis"));
    let mut seen = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (key, value) in request.headers() {
        seen += &format!("{key}: {}\n", value.to_str().unwrap_or("?"));
    }
    if let Some(pause) = pause {
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let reply = Response::builder()
        .status(status.map_or(200, |s| s as u16))
        .header("x-app", name);
    let body = if hyper::body::Body::is_end_stream(request.body()) {
        full(seen)
    } else {
        request.into_body().map_err(Error::from).boxed_unsync()
    };
    Ok(reply.body(body)?)
}
