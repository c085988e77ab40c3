//! `Expect: 100-continue` (RFC 9110 §10.1.1). The body is asked for when the receiver asks for it:
//! hyper says 100 to a client when the body is first polled, so it is not polled before. A receiver
//! that says nothing is given the body after [`limits::EXPECT`], as a client would; one that has
//! declined is never given it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use http::header::EXPECT;
use http::request::Parts;
use http::{Request, StatusCode, Version};
use http_body::{Body as _, SizeHint};
use tokio::time::Sleep;

use super::{Incoming, Passage};
use crate::limits;

/// Whether a client waits until it is asked for the body.
pub(super) fn is_expected(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head
            .headers
            .get(EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether a body has been asked for. Atomic because hyper calls from where it likes.
#[derive(Default)]
pub(super) struct Asked {
    state: AtomicU8,
    waiting: AtomicWaker,
}

const NOT_YET: u8 = 0;
const ASKED: u8 = 1;
const NEVER: u8 = 2;

impl Asked {
    /// By a 100 on the way to the answer of this request.
    pub(super) fn by_answer<B>(request: &mut Request<B>) -> Arc<Self> {
        let asked = Arc::<Self>::default();
        let told = Arc::clone(&asked);
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                told.set(ASKED);
            }
        });
        asked
    }

    /// The answer itself has come: who declines will not ask any more, who agrees may read on.
    /// Whether the body is never to be sent.
    pub(super) fn answered(&self, status: StatusCode) -> bool {
        let declined = status.is_client_error() || status.is_server_error();
        self.set(if declined { NEVER } else { ASKED }) == NEVER
    }

    /// The first word counts; which it was.
    fn set(&self, state: u8) -> u8 {
        let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
        let set = self.state.compare_exchange(NOT_YET, state, order, failed);
        self.waiting.wake();
        set.map_or_else(|before| before, |_| state)
    }
}

/// A body that waits to be asked for.
pub(crate) struct Held {
    /// Gone with the last call that was ready.
    body: Option<(Incoming, Passage)>,
    asked: Arc<Asked>,
    /// Since somebody was ready to send it on.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Held {
    pub(super) fn new(incoming: Incoming, passage: Passage, asked: Arc<Asked>) -> Self {
        Self {
            body: Some((incoming, passage)),
            asked,
            patience: None,
        }
    }

    /// Waits until it is asked for, by somebody or by time.
    pub(super) fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<(Incoming, Passage)> {
        self.asked.waiting.register(cx.waker());
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limits::EXPECT)));
        let state = match self.asked.state.load(Ordering::Acquire) {
            NOT_YET if patience.as_mut().poll(cx).is_ready() => self.asked.set(ASKED),
            state => state,
        };
        match self.body.take_if(|_| state == ASKED) {
            Some(body) => Poll::Ready(body),
            None => Poll::Pending,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map(|(incoming, _)| incoming.size_hint())
            .unwrap_or_default()
    }
}
