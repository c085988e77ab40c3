//! One thread's relay: accepts, lends each request a connection of the pool or opens one, streams
//! both bodies, and takes the connection back when the response's body is dropped. hyper ends a
//! connection whose response was not read to its end, so that one in the pool is whole or closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Source of connections to the application: the redirect rules let it through.
const APP_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// On which side of the pair this is, with its TLS.
#[derive(Clone)]
pub(crate) enum Role {
    Client(TlsConnector),
    Server(TlsAcceptor),
}

/// Requests of which one goes to the second address, where there is one: the share that sidecars with
/// routes are told to send there.
const SHARE: u32 = 10;

/// One thread's state.
pub(crate) struct Relay {
    role: Role,
    /// One, or two.
    upstreams: Vec<Upstream>,
    requests: Cell<u32>,
}

/// Where requests go.
struct Upstream {
    to: SocketAddr,
    /// The last one given back is lent first.
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

impl Relay {
    pub(crate) fn new(role: Role, to: &[SocketAddr]) -> Rc<Self> {
        let upstreams = to.iter().map(|to| Upstream {
            to: *to,
            idle: RefCell::default(),
        });
        Rc::new(Self {
            role,
            upstreams: upstreams.collect(),
            requests: Cell::default(),
        })
    }

    /// Whose turn it is.
    fn next(&self) -> usize {
        let number = self.requests.get().wrapping_add(1);
        self.requests.set(number);
        usize::from(self.upstreams.len() > 1 && number.is_multiple_of(SHARE))
    }

    /// Accepts until that fails.
    pub(crate) async fn run(self: Rc<Self>, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // The thread's runtime owns the task; it ends with its connection.
            tokio::task::spawn_local(Rc::clone(&self).accepted(stream));
        }
    }

    /// What a peer does wrong ends its connection, and nothing is said about it.
    async fn accepted(self: Rc<Self>, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match &self.role {
            Role::Client(_) => self.serve(stream).await,
            Role::Server(acceptor) => {
                if let Ok(stream) = Box::pin(acceptor.accept(stream)).await {
                    self.serve(stream).await;
                }
            }
        }
    }

    async fn serve(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let service = service_fn(|request| Rc::clone(&self).forward(request));
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // An error is the peer's, or that of an upstream that broke in the middle of a body.
        let _ = serving.await;
    }

    async fn forward(
        self: Rc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Lent>, hyper::Error> {
        request.headers_mut().remove(CONNECTION);
        let place = self.next();
        let mut sender = match self.lend(&self.upstreams[place]).await {
            Ok(sender) => sender,
            Err(_) => {
                let mut response = Response::new(Lent(None));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Ok(response);
            }
        };
        let mut response = sender.send_request(request).await?;
        response.headers_mut().remove(CONNECTION);
        Ok(response.map(|body| Lent(Some((body, sender, self, place)))))
    }

    /// A connection that is ready for a request.
    async fn lend(&self, upstream: &Upstream) -> Result<SendRequest<Incoming>, Error> {
        loop {
            let idle = upstream.idle.borrow_mut().pop();
            let Some(mut sender) = idle else {
                return Box::pin(self.open(upstream.to)).await;
            };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    async fn open(&self, to: SocketAddr) -> Result<SendRequest<Incoming>, Error> {
        let socket = TcpSocket::new_v4()?;
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        match &self.role {
            Role::Client(connector) => {
                let stream = socket.connect(to).await?;
                let name = ServerName::IpAddress(to.ip().into());
                start(connector.connect(name, stream).await?).await
            }
            Role::Server(_) => {
                socket.bind(SocketAddr::new(APP_SOURCE, 0))?;
                start(socket.connect(to).await?).await
            }
        }
    }
}

/// Speaks HTTP on a new connection, which lives until its sender is dropped or the peer leaves.
async fn start(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<SendRequest<Incoming>, Error> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // Whoever waits for a response is told.
        let _ = connection.await;
    });
    Ok(sender)
}

/// A response's body with the connection it comes from, and the place of that one's upstream.
struct Lent(Option<(Incoming, SendRequest<Incoming>, Rc<Relay>, usize)>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((_, sender, relay, place)) = self.0.take() {
            relay.upstreams[place].idle.borrow_mut().push(sender);
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some((body, ..)) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(body, ..)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some((body, ..)) => body.size_hint(),
        }
    }
}
