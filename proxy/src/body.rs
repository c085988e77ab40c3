//! Bodies as they pass through: streamed, never buffered. The response body carries the
//! [`Exchange`], so that a request is accounted for exactly once, when its last byte has passed or
//! when somebody gives up.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use heddle_proxy_telemetry::ResponseFlag;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::serve::clock::UnderWay;

/// A request body on its way upstream.
pub(crate) enum RequestBody {
    Empty,
    /// Counts what passes when the length is not known from the head.
    Streaming(Incoming, Option<Rc<Cell<u64>>>),
}

impl RequestBody {
    /// Wraps what came in, and says where its bytes are counted, if they must be.
    pub(crate) fn new(incoming: Incoming) -> (Self, RequestBytes) {
        if incoming.is_end_stream() {
            return (Self::Empty, RequestBytes::Known(0));
        }
        match incoming.size_hint().exact() {
            Some(length) => (Self::Streaming(incoming, None), RequestBytes::Known(length)),
            None => {
                let counter = Rc::new(Cell::new(0));
                let counted = RequestBytes::Counted(Rc::clone(&counter));
                (Self::Streaming(incoming, Some(counter)), counted)
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// Bytes of a request body.
pub(crate) enum RequestBytes {
    Known(u64),
    Counted(Rc<Cell<u64>>),
}

impl RequestBytes {
    pub(crate) fn value(&self) -> u64 {
        match self {
            Self::Known(n) => *n,
            Self::Counted(n) => n.get(),
        }
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
            Self::Streaming(incoming, counter) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                if let (Poll::Ready(Some(Ok(frame))), Some(counter)) = (&polled, counter)
                    && let Some(data) = frame.data_ref()
                {
                    counter.set(counter.get() + data.len() as u64);
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
    pub(crate) fn hold(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    fn whole(&mut self) {
        if let Some(exchange) = self.exchange.take() {
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
            Source::Upstream(incoming) => Pin::new(incoming).poll_frame(cx),
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
