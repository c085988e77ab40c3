//! An HTTP/1.1 connection to an upstream. Whoever waits for an answer on it drives it, in the same
//! task: it has no task of its own and nothing is handed from one to another. In the pool nobody
//! drives it; what happened to it meanwhile is seen when it is looked at again.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;

use super::Answer;
use super::room::Slot;
use crate::bell::Bell;
use crate::body::{Broken, Incoming, RequestBody};
use crate::io::Io;
use crate::limits;

/// A connection for one request at a time.
pub(crate) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driven: Driven,
    bell: Bell,
    /// Its place among those of its cluster, where they are bounded.
    slot: Option<Box<Slot>>,
}

/// What must be polled for anything to happen.
struct Driven {
    /// Gone when somebody still waits for it after its end.
    connection: Option<Box<http1::Connection<TokioIo<Io>, RequestBody>>>,
    end: Option<hyper::Result<()>>,
}

impl Driven {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.end.is_none()
            && let Some(connection) = &mut self.connection
            && let Poll::Ready(end) = Pin::new(&mut **connection).poll(cx)
        {
            if let Err(error) = &end {
                tracing::debug!(%error, "upstream connection ended");
            }
            self.end = Some(end);
        }
    }

    /// Polls what comes over the connection. One that has ended may still hold a request that it
    /// never took: hyper gives that back when the connection is dropped, and only then.
    fn poll_for<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.poll(cx);
        match poll(cx) {
            Poll::Pending if self.end.is_some() && self.connection.take().is_some() => poll(cx),
            polled => polled,
        }
    }
}

/// As hyper gives it: without an answer, the request where nothing of it was sent.
type Answered = Result<Response<hyper::body::Incoming>, TrySendError<Request<RequestBody>>>;

pin_project_lite::pin_project! {
    /// Drives a connection until an answer comes.
    struct Sending<'a, F> {
        #[pin]
        answer: F,
        driven: &'a mut Driven,
        bell: &'a Bell,
    }
}

impl<F: Future<Output = Answered>> Future for Sending<'_, F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut this = self.project();
        let answered = this.bell.poll(cx, |cx| {
            this.driven.poll_for(cx, |cx| this.answer.as_mut().poll(cx))
        });
        answered.map(|answer| Ok(answer?.map(Incoming::Http1)))
    }
}

impl Connection {
    /// Speaks HTTP/1.1 over a connection that stands.
    pub(crate) async fn new(
        io: Io,
        header_case: bool,
        slot: Option<Box<Slot>>,
    ) -> hyper::Result<Self> {
        // At most 100 header fields: hyper's own bound, which costs less unnamed.
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEAD_BYTES)
            .preserve_header_case(header_case)
            .handshake(TokioIo::new(io.http()))
            .await?;
        Ok(Self {
            sender,
            driven: Driven {
                connection: Some(Box::new(connection)),
                end: None,
            },
            bell: Bell::new(),
            slot,
        })
    }

    /// Sends a request; the future is the head of its answer.
    pub(crate) fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Answer> {
        if let Some(slot) = &self.slot {
            slot.serves();
        }
        Sending {
            answer: self.sender.try_send_request(request),
            driven: &mut self.driven,
            bell: &self.bell,
        }
    }

    /// The next frame of the answer's body.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let driven = &mut self.driven;
        self.bell.poll(cx, |cx| {
            driven.poll_for(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
        })
    }

    /// Whether it can take a request now. Costs next to nothing while nothing has happened to it.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.bell.stirred() || !self.sender.is_ready() {
            let mut nobody = Context::from_waker(Waker::noop());
            let driven = &mut self.driven;
            let _ = self.bell.poll(&mut nobody, |cx| {
                driven.poll(cx);
                Poll::<()>::Pending
            });
        }
        self.driven.end.is_none() && self.sender.is_ready()
    }

    /// Whether it has ended, as far as was seen when it was last looked at.
    pub(crate) fn has_ended(&self) -> bool {
        self.driven.end.is_some()
    }

    /// Drives it until it can take a request. `false`: it has ended. By way of the bell, so that it
    /// rings when something happens to it later.
    pub(crate) async fn ready(&mut self) -> bool {
        let Self {
            sender,
            driven,
            bell,
            ..
        } = self;
        poll_fn(|cx| {
            bell.poll(cx, |cx| {
                driven.poll(cx);
                match &driven.end {
                    Some(_) => Poll::Ready(false),
                    None => sender.poll_ready(cx).map(|ready| ready.is_ok()),
                }
            })
        })
        .await
    }

    /// Nobody is waiting any more for what comes.
    pub(crate) fn rest(&mut self) {
        self.bell.forget();
        if let Some(slot) = &self.slot {
            slot.rests();
        }
    }

    pub(super) fn slot(&self) -> Option<&Slot> {
        self.slot.as_deref()
    }

    /// Ends it as the protocols want it.
    pub(crate) fn close(self) {
        let Self {
            sender, mut driven, ..
        } = self;
        drop(sender);
        // A peer that takes nothing at this moment sees it broken off.
        driven.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Takes the bytes over, after an upgrade.
    pub(crate) async fn into_io(mut self) -> Result<Io, Box<dyn Error>> {
        poll_fn(|cx| {
            self.driven.poll(cx);
            match self.driven.end.take() {
                Some(end) => Poll::Ready(end),
                None => Poll::Pending,
            }
        })
        .await?;
        let connection = self.driven.connection.ok_or("it is gone")?;
        let parts = connection.into_parts();
        Ok(parts.io.into_inner().after_upgrade(parts.read_buf))
    }
}
