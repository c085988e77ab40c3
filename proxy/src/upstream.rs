//! One upstream of one worker: an address with the identity expected there, its idle HTTP/1.1
//! connections, its shared HTTP/2 connections, and how many requests it is serving. Endpoints that
//! two clusters share are one `Upstream`, so least-request sees all of its load. Dropped with the
//! last request on it once the configuration no longer names it.

pub(crate) mod connect;
pub(crate) mod http1;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::Request;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use self::connect::{ConnectError, Dialer, Link};
use crate::body::RequestBody;
use crate::cork::Cork;
use crate::limits;

/// HTTP version that is spoken upstream; the same as came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) link: Link,
    active: Cell<u32>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    shared_gate: tokio::sync::Mutex<()>,
}

struct Idle {
    connection: http1::Connection,
    /// Looks that it has been idle for.
    looks: u32,
}

struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Cell<u32>>,
    /// Looks that it has been without a stream for.
    looks: Cell<u32>,
}

/// A connection lent for one request.
pub(crate) enum Lease {
    Http1(http1::Connection),
    Http2 {
        sender: http2::SendRequest<RequestBody>,
        _counted: StreamCount,
    },
}

/// How a lease was come by.
pub(crate) struct Checkout {
    pub(crate) lease: Lease,
    /// The connection has served before: its peer may be closing it at this moment.
    pub(crate) reused: bool,
}

/// Counts a stream on a shared connection while it lives.
pub(crate) struct StreamCount(Rc<Cell<u32>>);

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Counts a request on an upstream while it lives.
pub(crate) struct ActiveRequest(Rc<Upstream>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
    }
}

impl ActiveRequest {
    pub(crate) fn upstream(&self) -> &Rc<Upstream> {
        &self.0
    }
}

/// Why a request brought no response head.
pub(crate) struct SendError {
    pub(crate) source: hyper::Error,
    /// The request itself, when not one byte of it was written.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
}

impl From<TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        Self {
            unsent: error.take_message().map(Box::new),
            source: error.into_error(),
        }
    }
}

impl SendError {
    /// The peer says that it has not looked at the request (RFC 9113 §8.7).
    pub(crate) fn is_refused_stream(&self) -> bool {
        let mut cause = std::error::Error::source(&self.source);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<h2::Error>() {
                return error.is_remote()
                    && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
            }
            cause = error.source();
        }
        false
    }
}

impl Upstream {
    pub(crate) fn new(addr: SocketAddr, link: Link) -> Self {
        Self {
            addr,
            link,
            active: Cell::new(0),
            idle: RefCell::new(Vec::new()),
            shared: RefCell::new(Vec::new()),
            shared_gate: tokio::sync::Mutex::new(()),
        }
    }

    /// Requests under way.
    pub(crate) fn active(&self) -> u32 {
        self.active.get()
    }

    pub(crate) fn begin(self: &Rc<Self>) -> ActiveRequest {
        self.active.set(self.active.get() + 1);
        ActiveRequest(Rc::clone(self))
    }

    /// A connection for one request: an idle one, a shared one with room, or a new one.
    pub(crate) async fn checkout(
        &self,
        dialer: &Dialer,
        version: Version,
        fresh: bool,
    ) -> Result<Checkout, ConnectError> {
        match version {
            Version::Http1 => {
                if !fresh && let Some(connection) = self.pop_idle() {
                    return Ok(Checkout {
                        lease: Lease::Http1(connection),
                        reused: true,
                    });
                }
                // Boxed, as in the other version: most requests find a connection.
                let connection = Box::pin(self.connect_http1(dialer)).await?;
                Ok(Checkout {
                    lease: Lease::Http1(connection),
                    reused: false,
                })
            }
            Version::Http2 => match (!fresh).then(|| self.share()).flatten() {
                Some(checkout) => Ok(checkout),
                None => Box::pin(self.connect_http2(dialer, fresh)).await,
            },
        }
    }

    fn pop_idle(&self) -> Option<http1::Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut candidate) = idle.pop() {
            if candidate.connection.is_ready() {
                return Some(candidate.connection);
            }
            candidate.connection.close();
        }
        None
    }

    async fn connect_http1(&self, dialer: &Dialer) -> Result<http1::Connection, ConnectError> {
        let io = dialer
            .dial(self.addr, &self.link, connect::Alpn::Http1)
            .await?;
        http1::Connection::new(io).await.map_err(ConnectError::Http)
    }

    async fn connect_http2(&self, dialer: &Dialer, fresh: bool) -> Result<Checkout, ConnectError> {
        // One connects, the others wait and then share what it made.
        let _gate = self.shared_gate.lock().await;
        if let Some(mut checkout) = self.share() {
            checkout.reused = !fresh;
            return Ok(checkout);
        }
        let io = dialer
            .dial(self.addr, &self.link, connect::Alpn::Http2)
            .await?;
        let (sender, connection) = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::H2_STREAM_WINDOW)
            .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
            .max_frame_size(limits::H2_FRAME)
            .max_header_list_size(limits::HEAD_BYTES as u32)
            .keep_alive_interval(limits::H2_KEEPALIVE)
            .keep_alive_timeout(limits::H2_KEEPALIVE_TIMEOUT)
            .handshake(TokioIo::new(Cork::new(io)))
            .await
            .map_err(ConnectError::Http)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let streams = Rc::new(Cell::new(1));
        let lease = Lease::Http2 {
            sender: sender.clone(),
            _counted: StreamCount(Rc::clone(&streams)),
        };
        self.shared.borrow_mut().push(Shared {
            sender,
            streams,
            looks: Cell::new(0),
        });
        Ok(Checkout {
            lease,
            reused: false,
        })
    }

    fn share(&self) -> Option<Checkout> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|s| !s.sender.is_closed());
        let roomy = shared
            .iter()
            .find(|s| s.sender.is_ready() && s.streams.get() < limits::H2_STREAMS)?;
        roomy.streams.set(roomy.streams.get() + 1);
        roomy.looks.set(0);
        Some(Checkout {
            lease: Lease::Http2 {
                sender: roomy.sender.clone(),
                _counted: StreamCount(Rc::clone(&roomy.streams)),
            },
            reused: true,
        })
    }

    /// Takes a connection back after a whole exchange.
    pub(crate) fn give_back(self: &Rc<Self>, mut connection: http1::Connection) {
        if connection.is_ready() {
            self.store_idle(connection);
        } else if !connection.has_ended() {
            // It has not come round to the next request yet.
            let upstream = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Ok(true) = tokio::time::timeout(limits::GIVE_BACK, connection.ready()).await
                {
                    upstream.store_idle(connection);
                }
            });
        }
    }

    /// Takes a connection back whose answer has begun before the request was whole. Its body must
    /// go on while nobody reads the answer, so it has a task of its own until the exchange is over.
    pub(crate) fn see_out(self: &Rc<Self>, mut connection: http1::Connection) {
        let upstream = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if connection.ready().await {
                upstream.store_idle(connection);
            }
        });
    }

    fn store_idle(&self, mut connection: http1::Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits::IDLE_PER_UPSTREAM {
            connection.rest();
            idle.push(Idle {
                connection,
                looks: 0,
            });
        } else {
            connection.close();
        }
    }

    /// Closes connections that have been idle for too long; called every [`limits::SWEEP`], so that
    /// a request need not read the clock.
    pub(crate) fn sweep(&self) {
        const MOST: u32 = (limits::UPSTREAM_IDLE.as_secs() / limits::SWEEP.as_secs()) as u32;
        let mut idle = self.idle.borrow_mut();
        let old = idle.extract_if(.., |i| {
            i.looks += 1;
            i.looks > MOST || !i.connection.is_ready()
        });
        old.for_each(|idle| idle.connection.close());
        self.shared.borrow_mut().retain(|s| {
            s.looks.update(|looks| looks + 1);
            !s.sender.is_closed() && (s.streams.get() > 0 || s.looks.get() <= MOST)
        });
    }
}

impl Lease {
    /// Sends the request; the future is the head of its response.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = http1::Answer> {
        match self {
            Lease::Http1(connection) => Either::Left(connection.send(request)),
            Lease::Http2 { sender, .. } => Either::Right(sender.try_send_request(request)),
        }
    }
}

/// Runs hyper's own tasks on the worker that they belong to.
#[derive(Clone, Copy)]
pub(crate) struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Time that has passed, bounded below by zero.
pub(crate) fn since(start: Instant) -> Duration {
    Instant::now().saturating_duration_since(start)
}
