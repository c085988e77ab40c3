//! Bodies as they pass through: streamed, never buffered. The response body carries the
//! [`Exchange`], so that a request is accounted for exactly once, when its last byte has passed or
//! when somebody gives up.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use heddle_proxy_telemetry::ResponseFlag;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::serve::clock::{Clock, UnderWay};
use crate::upstream::http1;

/// A request body on its way upstream.
pub(crate) enum RequestBody {
    Empty,
    Streaming(Incoming, Passage),
}

/// The passing of one body; gone when nobody will ask for more of it.
pub(crate) struct Passage(Rc<Passed>);

#[derive(Default)]
struct Passed {
    bytes: Cell<u64>,
    /// It was read to its end.
    whole: Cell<bool>,
    /// Nobody will ask for more of it.
    over: Cell<bool>,
    /// Told when it is read to its end after its answer.
    late: Cell<Option<Arc<Clock>>>,
}

impl Passed {
    fn read(&self) {
        self.whole.set(true);
        if let Some(clock) = self.late.take() {
            clock.body_read();
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.over.set(true);
    }
}

impl RequestBody {
    /// Wraps what came in, and says where its bytes are counted.
    pub(crate) fn new(incoming: Incoming) -> (Self, RequestBytes) {
        if incoming.is_end_stream() {
            return (Self::Empty, RequestBytes(None));
        }
        let passed = Rc::<Passed>::default();
        let counted = RequestBytes(Some(Rc::clone(&passed)));
        (Self::Streaming(incoming, Passage(passed)), counted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// Bytes of a request body; without one, none.
#[derive(Default)]
pub(crate) struct RequestBytes(Option<Rc<Passed>>);

impl RequestBytes {
    pub(crate) fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, |passed| passed.bytes.get())
    }

    /// Tells the clock when it is read to its end, now if it is.
    pub(crate) fn tell(&self, clock: &Arc<Clock>) {
        match &self.0 {
            Some(passed) if !passed.whole.get() => passed.late.set(Some(Arc::clone(clock))),
            _ => clock.body_read(),
        }
    }

    /// Whether there is nothing more of it to send.
    pub(crate) fn all_sent(&self) -> bool {
        self.0.as_ref().is_none_or(|passed| passed.over.get())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(incoming, Passage(passed)) => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                match &polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        passed.bytes.set(passed.bytes.get() + bytes);
                        // Who writes it asks no further then.
                        if frame.is_trailers() || incoming.is_end_stream() {
                            passed.read();
                        }
                    }
                    Poll::Ready(None) => passed.read(),
                    Poll::Ready(Some(Err(_))) | Poll::Pending => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(incoming, _) => incoming.size_hint(),
        }
    }
}

/// A response body on its way downstream.
pub(crate) struct ReplyBody {
    source: Source,
    exchange: Option<Exchange>,
    deadline: Option<Pin<Box<Sleep>>>,
    under_way: Option<UnderWay>,
}

enum Source {
    Upstream(Incoming),
    Own(Option<Bytes>),
}

/// Why a response body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the upstream's response broke off: {0}")]
    Upstream(hyper::Error),
    #[error("the route's timeout passed while the response was on its way")]
    Deadline,
}

impl ReplyBody {
    /// What the upstream sends, accounted for by `exchange`.
    pub(crate) fn upstream(
        incoming: Incoming,
        exchange: Exchange,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self {
            source: Source::Upstream(incoming),
            exchange: Some(exchange),
            deadline,
            under_way: None,
        }
    }

    /// An answer of this proxy's own.
    pub(crate) fn own(text: impl Into<Bytes>, exchange: Option<Exchange>) -> Self {
        Self {
            source: Source::Own(Some(text.into())),
            exchange,
            deadline: None,
            under_way: None,
        }
    }

    /// The downstream connection is busy until this body is gone.
    pub(crate) fn hold(&mut self, under_way: Option<UnderWay>) {
        self.under_way = under_way;
    }

    /// Takes the upstream connection out of HTTP, after an upgrade.
    pub(crate) fn take_connection(&mut self) -> Option<http1::Connection> {
        self.exchange.as_mut()?.take_connection()
    }

    fn whole(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            if let Some(under_way) = &self.under_way {
                exchange.tell_when_read(under_way.clock());
            }
            exchange.finish(ResponseFlag::None);
        }
    }

    fn broken(&mut self, flag: ResponseFlag) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(flag);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Own(text) => {
                let frame = text.take().filter(|t| !t.is_empty());
                Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Upstream(incoming) => {
                match this.exchange.as_mut().and_then(Exchange::connection) {
                    Some(connection) => connection.poll_body(cx, incoming),
                    None => Pin::new(incoming).poll_frame(cx),
                }
            }
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.passed(&frame);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.whole();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.broken(ResponseFlag::UpstreamClosed);
                Poll::Ready(Some(Err(ReplyError::Upstream(error))))
            }
            Poll::Pending => {
                if let Some(deadline) = &mut this.deadline
                    && deadline.as_mut().poll(cx).is_ready()
                {
                    this.deadline = None;
                    this.broken(ResponseFlag::UpstreamTimeout);
                    return Poll::Ready(Some(Err(ReplyError::Deadline)));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(incoming) => incoming.is_end_stream(),
            Source::Own(text) => text.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(incoming) => incoming.size_hint(),
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body with a length is dropped after its last byte without being asked for its end.
        if self.is_end_stream() {
            self.whole();
        } else {
            self.broken(ResponseFlag::DownstreamClosed);
        }
    }
}
