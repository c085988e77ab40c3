//! Bodies as they pass through: streamed, and kept only where a route asks for it. The response body
//! carries the [`Exchange`], so that a request is accounted for exactly once, when its last byte has passed or
//! when somebody gives up.

mod expect;
mod incoming;
mod recording;

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use heddle_proxy_telemetry::ResponseFlag;
use http::{Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use self::expect::{Asked, Held};
pub(crate) use self::incoming::{Broken, Incoming};
use self::recording::Recorded;
pub(crate) use self::recording::Whole;
use crate::exchange::Exchange;
use crate::forward::Deadline;
use crate::http2::{Reasoned, Tunnel};
use crate::limits;
use crate::serve::clock::{Clock, UnderWay};

/// A request body on its way upstream.
pub(crate) enum RequestBody {
    Empty,
    Streaming(Incoming, Passage),
    /// Until its receiver asks for it.
    Held(Box<Held>),
    /// What may be sent again, or to others.
    Recorded(Recorded),
    /// A copy.
    Whole(Box<Whole>),
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Client(#[from] Broken),
    #[error("the request is being sent to another")]
    Superseded,
}

impl Reasoned for RequestError {
    fn reason(&self) -> Reason {
        match self {
            Self::Client(broken) => broken.reason(),
            Self::Superseded => Reason::CANCEL,
        }
    }
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
    /// Why no more of it came from the client.
    broken: Cell<Option<ResponseFlag>>,
    /// Told when it is read to its end after its answer.
    late: Cell<Option<Arc<Clock>>>,
    /// Its receiver must ask for it first.
    asked: OnceCell<Arc<Asked>>,
}

impl Passed {
    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    fn over(&self) {
        self.over.set(true);
    }

    /// No more of it comes from the client.
    fn broken(&self, why: &Broken) {
        self.broken.set(Some(why.clients_fault()));
    }

    /// It is read again after all.
    fn reopen(&self) {
        self.over.set(false);
    }

    fn read(&self) {
        self.whole.set(true);
        if let Some(clock) = self.late.take() {
            clock.body_read();
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.over();
    }
}

impl RequestBody {
    /// Wraps what came in, and says where its bytes are counted.
    pub(crate) fn of(request: Request<Incoming>) -> (Request<Self>, RequestBytes) {
        let (head, incoming) = request.into_parts();
        if incoming.is_end_stream() {
            return (
                Request::from_parts(head, Self::Empty),
                RequestBytes::default(),
            );
        }
        let passed = Rc::<Passed>::default();
        let counted = RequestBytes(Some(Rc::clone(&passed)));
        if expect::is_expected(&head) {
            let mut request = Request::from_parts(head, Self::Empty);
            let asked = Asked::by_answer(&mut request);
            // Set once: here.
            let _ = passed.asked.set(Arc::clone(&asked));
            let held = Held::new(incoming, Passage(passed), asked);
            *request.body_mut() = Self::Held(Box::new(held));
            return (request, counted);
        }
        let body = Self::Streaming(incoming, Passage(passed));
        (Request::from_parts(head, body), counted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// A copy that was taken of one.
    pub(crate) fn whole(whole: Whole) -> Self {
        Self::Whole(Box::new(whole))
    }

    /// Keeps what passes of it from now on, unless it is known to be too long.
    pub(crate) fn record(&mut self) {
        let bound = limits::RECORDED_BODY as u64;
        *self = match std::mem::replace(self, Self::Empty) {
            Self::Streaming(incoming, passage) if incoming.size_hint().lower() <= bound => {
                Self::Recorded(Recorded::new(incoming, passage.into_passed()))
            }
            other => other,
        };
    }

    /// The same body once more, where that can be had; see [`RequestBody::is_kept`].
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Streaming(..) | Self::Held(_) => None,
            Self::Recorded(recorded) => Some(Self::Recorded(recorded.again())),
            Self::Whole(whole) => Some(Self::Whole(whole.clone())),
        }
    }

    /// Whether it can still be read from its beginning.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Empty | Self::Whole(_) => true,
            Self::Streaming(..) | Self::Held(_) => false,
            Self::Recorded(recorded) => recorded.is_kept(),
        }
    }

    /// A copy once all of it has passed; `None`: there will be none.
    pub(crate) fn listen(&self) -> Option<oneshot::Receiver<Whole>> {
        match self {
            Self::Recorded(recorded) => Some(recorded.listen()),
            _ => None,
        }
    }
}

impl Passage {
    fn into_passed(self) -> Rc<Passed> {
        Rc::clone(&self.0)
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

    /// Whether it was answered before anybody asked for it, and in the negative: then it is not wanted
    /// any more, and its sender may or may not send it.
    pub(crate) fn is_unwanted(&self, answer: StatusCode) -> bool {
        let asked = self.0.as_ref().and_then(|passed| passed.asked.get());
        asked.is_some_and(|asked| asked.answered(answer))
    }

    /// What its client did, if it broke off.
    pub(crate) fn broken(&self) -> Option<ResponseFlag> {
        self.0.as_ref()?.broken.get()
    }

    /// Whether there is nothing more of it to send.
    pub(crate) fn all_sent(&self) -> bool {
        self.0.as_ref().is_none_or(|passed| passed.over.get())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        if let Self::Held(held) = &mut *self {
            let (incoming, passage) = ready!(held.poll_asked(cx));
            *self = Self::Streaming(incoming, passage);
        }
        match &mut *self {
            Self::Empty | Self::Held(_) => Poll::Ready(None),
            Self::Recorded(recorded) => recorded.poll_frame(cx),
            Self::Whole(whole) => Poll::Ready(whole.take().map(Ok)),
            Self::Streaming(incoming, Passage(passed)) => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                match &polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        passed.add(frame.data_ref().map_or(0, Bytes::len));
                        // Who writes it asks no further then.
                        if frame.is_trailers() || incoming.is_end_stream() {
                            passed.read();
                        }
                    }
                    Poll::Ready(None) => passed.read(),
                    Poll::Ready(Some(Err(why))) => passed.broken(why),
                    Poll::Pending => {}
                }
                polled.map(|frame| frame.map(|frame| frame.map_err(RequestError::Client)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(incoming, _) => incoming.is_end_stream(),
            Self::Held(_) => false,
            Self::Recorded(recorded) => recorded.is_end_stream(),
            Self::Whole(whole) => whole.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(incoming, _) => incoming.size_hint(),
            Self::Held(held) => held.size_hint(),
            Self::Recorded(recorded) => recorded.size_hint(),
            Self::Whole(whole) => SizeHint::with_exact(whole.bytes()),
        }
    }
}

/// A response body on its way downstream.
pub(crate) struct ReplyBody {
    source: Source,
    exchange: Option<Exchange>,
    deadline: Option<Deadline>,
    under_way: Option<UnderWay>,
}

enum Source {
    Upstream(Incoming),
    Own(Option<Bytes>),
    /// The stream is another's once the head is sent.
    Tunnel(oneshot::Sender<Bequest>),
}

/// The sending half of a stream that has become a tunnel. Its connection is busy while that lasts.
pub(crate) struct Bequest {
    pub(crate) stream: SendStream<Bytes>,
    pub(crate) under_way: Option<UnderWay>,
}

/// Why a response body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    /// In HTTP/2 the reason is passed on.
    #[error("the upstream's response broke off")]
    Upstream(#[source] Broken),
    #[error("the route's timeout passed while the response was on its way")]
    Deadline,
}

impl Reasoned for ReplyError {
    fn reason(&self) -> Reason {
        match self {
            Self::Upstream(broken) => broken.reason(),
            Self::Deadline => Reason::INTERNAL_ERROR,
        }
    }
}

impl ReplyBody {
    /// What the upstream sends, accounted for by `exchange`.
    pub(crate) fn upstream(
        incoming: Incoming,
        exchange: Exchange,
        deadline: Option<Deadline>,
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

    /// What keeps the downstream connection busy.
    pub(crate) fn take_under_way(&mut self) -> Option<UnderWay> {
        self.under_way.take()
    }

    /// Leaves out what an answer of this proxy's own would say after its head, as for HEAD; how many
    /// bytes that is.
    pub(crate) fn omit(&mut self) -> usize {
        match &mut self.source {
            Source::Own(text) => text.take().map_or(0, |text| text.len()),
            Source::Upstream(_) | Source::Tunnel(_) => 0,
        }
    }

    /// Whether it is an answer of this proxy's own.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.source, Source::Own(_))
    }

    /// The stream that it came over, both ways, after an answer to CONNECT.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        match std::mem::replace(&mut self.source, Source::Own(None)) {
            Source::Upstream(Incoming::Http2(body)) => body.into_tunnel(),
            _ => None,
        }
    }

    /// The stream is to be another's, once the head is sent on it.
    pub(crate) fn hand_over(&mut self, to: oneshot::Sender<Bequest>) {
        self.source = Source::Tunnel(to);
    }

    /// Who is to have the stream, where somebody is.
    pub(crate) fn heir(&mut self) -> Option<oneshot::Sender<Bequest>> {
        if !matches!(self.source, Source::Tunnel(_)) {
            return None;
        }
        match std::mem::replace(&mut self.source, Source::Own(None)) {
            Source::Tunnel(to) => Some(to),
            _ => None,
        }
    }

    /// What accounts for it, to go on beyond it: after an upgrade.
    pub(crate) fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchange.take()
    }

    fn whole(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            if let Some(under_way) = &self.under_way {
                exchange.tell_when_read(under_way.clock());
            }
            exchange.finish(ResponseFlag::None);
        }
    }

    /// The deadline has passed: a gRPC call is told so, any other is broken off.
    fn too_late(&mut self) -> Result<Frame<Bytes>, ReplyError> {
        let trailers = self.deadline.take().and_then(Deadline::into_trailers);
        let told = trailers.map(Frame::trailers);
        if let (Some(frame), Some(exchange)) = (&told, &mut self.exchange) {
            exchange.passed(frame);
        }
        self.broken(ResponseFlag::UpstreamTimeout);
        self.source = Source::Own(None);
        told.ok_or(ReplyError::Deadline)
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
            Source::Tunnel(_) => Poll::Ready(None),
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
                    && deadline.poll(cx).is_ready()
                {
                    return Poll::Ready(Some(this.too_late()));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Tunnel(_) => false,
            Source::Upstream(incoming) => incoming.is_end_stream(),
            Source::Own(text) => text.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Tunnel(_) => SizeHint::default(),
            Source::Upstream(incoming) => incoming.size_hint(),
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body with a length is dropped after its last byte without being asked for its end, and an
        // answer to HEAD without being asked for anything.
        if self.is_end_stream() || matches!(self.source, Source::Own(_)) {
            self.whole();
        } else {
            self.broken(ResponseFlag::DownstreamClosed);
        }
    }
}
