//! One upstream of one worker: an address with the identity expected there, its idle HTTP/1.1
//! connections, its shared HTTP/2 connections, and how many requests it is serving. Endpoints that
//! two clusters share are one `Upstream`, so least-request sees all of its load. Dropped with the
//! last request on it once the configuration no longer names it.

pub(crate) mod connect;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod origin;
mod room;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::client::conn::TrySendError;
use tokio::time::timeout;

use self::connect::{Alpn, ConnectError, Dialer, Link, Terms};
use self::room::{Room, Slot};
use crate::body::{Broken, Incoming, RequestBody};
use crate::breaker::{Limit, Permit, Pool};
use crate::cluster::Member;
use crate::io::Io;
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
    /// Bounds of its cluster, where there are any: then it is that cluster's alone.
    room: Option<Rc<Room>>,
}

struct Idle {
    connection: http1::Connection,
    /// Looks that it has been idle for.
    looks: u32,
}

struct Shared {
    sender: http2::Sender,
    streams: Rc<Streams>,
    /// Looks that it has been without a stream for.
    looks: Cell<u32>,
}

/// A connection lent for one request.
pub(crate) enum Lease {
    Http1(http1::Connection),
    Http2 {
        sender: http2::Sender,
        _counted: StreamCount,
    },
}

/// How a lease was come by.
pub(crate) struct Checkout {
    pub(crate) lease: Lease,
    /// The connection has served before: its peer may be closing it at this moment.
    pub(crate) reused: bool,
}

/// Streams on a shared connection.
struct Streams {
    active: Cell<u32>,
    /// Of a connection with bounds; gone with it.
    slot: Option<Rc<Slot>>,
}

impl Streams {
    fn active(&self) -> u32 {
        self.active.get()
    }
}

/// Counts a stream on a shared connection while it lives.
pub(crate) struct StreamCount(Rc<Streams>);

impl StreamCount {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.active.update(|active| active + 1);
        if let Some(slot) = &streams.slot {
            slot.serves();
        }
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.active.update(|active| active.saturating_sub(1));
        if let Some(slot) = &self.0.slot {
            slot.rests();
        }
    }
}

/// Counts a request on an upstream while it lives.
pub(crate) struct ActiveRequest {
    member: Rc<Member>,
    /// Boxed: hardly any has one.
    _permit: Option<Box<Permit>>,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let active = &self.upstream().active;
        active.set(active.get().saturating_sub(1));
    }
}

impl ActiveRequest {
    pub(crate) fn new(member: Rc<Member>, permit: Option<Permit>) -> Self {
        let active = &member.upstream.active;
        active.set(active.get() + 1);
        Self {
            member,
            _permit: permit.map(Box::new),
        }
    }

    pub(crate) fn upstream(&self) -> &Rc<Upstream> {
        &self.member.upstream
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }
}

/// The head of an answer, or why there is none.
pub(crate) type Answer = Result<Response<Incoming>, SendError>;

/// Why a request brought no response head.
pub(crate) struct SendError {
    pub(crate) source: Broken,
    /// The request itself, when not one byte of it was written.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
}

impl From<TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        Self {
            unsent: error.take_message().map(Box::new),
            source: error.into_error().into(),
        }
    }
}

impl SendError {
    fn of(source: Broken) -> Self {
        Self {
            source,
            unsent: None,
        }
    }

    fn unsent(source: Broken, request: Request<RequestBody>) -> Self {
        Self {
            source,
            unsent: Some(Box::new(request)),
        }
    }

    /// The peer says that it has not looked at the request (RFC 9113 §8.7).
    pub(crate) fn is_refused_stream(&self) -> bool {
        match &self.source {
            Broken::Http1(_) => false,
            Broken::Http2(error) => {
                error.is_remote()
                    && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
            }
        }
    }

    /// Its body broke off on its way to us: no doing of the peer's.
    pub(crate) fn is_broken_request(&self) -> bool {
        match &self.source {
            Broken::Http1(error) => error.is_user(),
            Broken::Http2(error) => error.is_reset() && !error.is_remote() && !error.is_library(),
        }
    }
}

impl Upstream {
    pub(crate) fn new(addr: SocketAddr, link: Link, pool: Option<Rc<Pool>>) -> Self {
        Self {
            room: pool.map(|pool| Rc::new(Room::new(pool))),
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

    /// Bounds of its cluster.
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.room.as_ref().map(|room| &*room.pool)
    }

    /// Whether who has no connection yet waits for those that there may be, and not for the endpoint.
    pub(crate) fn is_full(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.is_full())
    }

    /// Opens a connection, on the terms of its cluster.
    pub(crate) fn dial<'a>(
        &'a self,
        dialer: &'a Dialer,
        alpn: Alpn,
    ) -> impl Future<Output = Result<Io, ConnectError>> + 'a {
        let terms = self
            .pool()
            .map_or_else(Terms::default, |pool| Terms::of(&pool.terms()));
        dialer.dial_on(self.addr, &self.link, alpn, terms)
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
                Box::pin(self.connect_http1(dialer, fresh)).await
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
            let stale = candidate.connection.slot().is_some_and(Slot::is_stale);
            if !stale && candidate.connection.is_ready() {
                return Some(candidate.connection);
            }
            candidate.connection.close();
        }
        None
    }

    async fn connect_http1(&self, dialer: &Dialer, fresh: bool) -> Result<Checkout, ConnectError> {
        let mut pending = None;
        let slot = match &self.room {
            None => None,
            Some(room) => {
                pending = room.pool.admit(Limit::Pending)?;
                match room.wait(|| self.enter_http1(room, fresh)).await? {
                    Either::Left(slot) => Some(Box::new(slot)),
                    Either::Right(connection) => {
                        return Ok(Checkout {
                            lease: Lease::Http1(connection),
                            reused: true,
                        });
                    }
                }
            }
        };
        let io = self.dial(dialer, Alpn::Http1).await?;
        let connection = http1::Connection::new(io, dialer.header_case, slot).await;
        drop(pending);
        Ok(Checkout {
            lease: Lease::Http1(connection.map_err(|error| ConnectError::Http(error.into()))?),
            reused: false,
        })
    }

    /// Room for a new connection, or one that has become free. Who wants a new one takes the place of
    /// one that is idle.
    fn enter_http1(&self, room: &Rc<Room>, fresh: bool) -> Option<Either<Slot, http1::Connection>> {
        loop {
            if let Some(slot) = room.enter() {
                return Some(Either::Left(slot));
            }
            if !fresh {
                return self.pop_idle().map(Either::Right);
            }
            let idle = self.idle.borrow_mut().pop()?;
            idle.connection.close();
        }
    }

    async fn connect_http2(&self, dialer: &Dialer, fresh: bool) -> Result<Checkout, ConnectError> {
        let mut pending = None;
        if let Some(room) = &self.room {
            pending = room.pool.admit(Limit::Pending)?;
        }
        // One connects, the others wait and then share what it made.
        let _gate = match &self.room {
            None => self.shared_gate.lock().await,
            Some(room) => timeout(room.pool.connect_timeout(), self.shared_gate.lock())
                .await
                .map_err(|_| room.pool.no_connection())?,
        };
        if let Some(mut checkout) = self.share() {
            checkout.reused = !fresh;
            return Ok(checkout);
        }
        let slot = match &self.room {
            None => None,
            Some(room) => {
                let enter = || {
                    let shared = self.share().map(Either::Right);
                    shared.or_else(|| room.enter().map(Either::Left))
                };
                match room.wait(enter).await? {
                    Either::Left(slot) => Some(Rc::new(slot)),
                    Either::Right(shared) => return Ok(shared),
                }
            }
        };
        let io = self.dial(dialer, Alpn::Http2).await?;
        let streams = Rc::new(Streams {
            active: Cell::new(0),
            slot,
        });
        let (sender, driver) = http2::connect(io, &streams)
            .await
            .map_err(|error| ConnectError::Http(error.into()))?;
        drop(pending);
        let held = streams.slot.clone();
        tokio::task::spawn_local(async move {
            driver.await;
            if let Some(slot) = held {
                slot.ended();
            }
        });
        let lease = Lease::Http2 {
            sender: sender.clone(),
            _counted: StreamCount::new(&streams),
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
        shared.retain_mut(|s| !s.sender.is_closed() && !s.is_spent());
        let roomy = shared
            .iter()
            .find(|s| s.streams.active() < limits::H2_STREAMS)?;
        roomy.looks.set(0);
        Some(Checkout {
            lease: Lease::Http2 {
                sender: roomy.sender.clone(),
                _counted: StreamCount::new(&roomy.streams),
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
                if let Ok(true) = timeout(limits::GIVE_BACK, connection.ready()).await {
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
        let spent = connection.slot().is_some_and(Slot::is_spent);
        let mut idle = self.idle.borrow_mut();
        if !spent && idle.len() < limits::IDLE_PER_UPSTREAM {
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
        let most = self
            .room
            .as_ref()
            .map_or(limits::UPSTREAM_IDLE, |room| room.idle_timeout());
        let most = (most.as_secs() / limits::SWEEP.as_secs()) as u32;
        let mut idle = self.idle.borrow_mut();
        let old = idle.extract_if(.., |i| {
            i.looks += 1;
            i.looks > most || !i.connection.is_ready()
        });
        old.for_each(|idle| idle.connection.close());
        self.shared.borrow_mut().retain_mut(|s| {
            s.looks.update(|looks| looks + 1);
            !s.sender.is_closed() && (s.streams.active() > 0 || s.looks.get() <= most)
        });
    }
}

impl Shared {
    fn is_spent(&self) -> bool {
        self.streams
            .slot
            .as_ref()
            .is_some_and(|slot| slot.is_spent())
    }
}

impl Lease {
    /// Sends the request; the future is the head of its response.
    pub(crate) fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Answer> {
        match self {
            Lease::Http1(connection) => Either::Left(connection.send(request)),
            Lease::Http2 { sender, .. } => Either::Right(sender.send(request)),
        }
    }
}

/// Time that has passed, bounded below by zero.
pub(crate) fn since(start: Instant) -> Duration {
    Instant::now().saturating_duration_since(start)
}
