//! Serves HTTP on an accepted connection with one handler for both versions, and ends it politely
//! when the sidecar drains: `Connection: close` with the response under way, or GOAWAY.

pub(crate) mod clock;
pub(crate) mod http1;
mod http2;
mod outside;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::service::service_fn;
use tokio::sync::watch;

use self::clock::{Clock, Late, UnderWay};
use self::outside::Outside;
use crate::body::{Incoming, ReplyBody};
use crate::head;
use crate::io::Io;
use crate::limits::{self, Windows};
use crate::upstream::Version;
use crate::worker::Phase;

/// How the HTTP of a connection is served: what a sidecar's operator decides, and its peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// How long a peer may stand still in the middle of a body or of an answer; 0: for ever.
    pub(crate) stall: Duration,
    /// Names of header fields go on in the letters that they came in.
    pub(crate) header_case: bool,
    /// What a peer may send over HTTP/2 before it is read.
    pub(crate) windows: Windows,
}

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error(transparent)]
    Http(hyper::Error),
    #[error(transparent)]
    Http2(h2::Error),
    #[error("it answers no ping")]
    Silent,
    #[error("{0}")]
    Broken(Error),
    #[error("{} in time", .0.text())]
    Late(Late),
    #[error("most of its requests were given up as soon as they were sent")]
    Abused,
}

impl Late {
    fn text(self) -> &'static str {
        match self {
            Late::Request => "no request came",
            Late::Head => "no whole head came",
            Late::Body => "no more of a body came",
            Late::Reader => "nothing of an answer was read",
        }
    }
}

impl End {
    /// For the metric, where the peer was refused for what it did: one of a fixed few.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            End::Late(Late::Head) => Some("slow-head"),
            End::Late(Late::Body) => Some("slow-body"),
            End::Late(Late::Reader) => Some("slow-reader"),
            End::Abused => Some("resets"),
            End::Http(error) if error.is_parse() => Some("bad-head"),
            End::Http(_)
            | End::Http2(_)
            | End::Silent
            | End::Broken(_)
            | End::Late(Late::Request) => None,
        }
    }

    /// A message that had begun did not come to its end.
    fn is_broken_off(&self) -> bool {
        match self {
            End::Http(error) => error.is_user(),
            End::Late(late) => matches!(late, Late::Body | Late::Reader),
            End::Http2(_) | End::Silent | End::Broken(_) | End::Abused => false,
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer whose body keeps its request under way. By hand: an `async` block would keep the
    /// future that it awaits twice.
    struct Counted<F> {
        #[pin]
        answer: F,
        under_way: Option<UnderWay>,
        version: Version,
        connect: bool,
        // Its answer has no body. In HTTP/1.1 hyper sees to that.
        bare: bool,
    }

    impl<F> PinnedDrop for Counted<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(under_way) = this.project().under_way {
                under_way.given_up();
            }
        }
    }
}

impl<F: Future<Output = Response<ReplyBody>>> Future for Counted<F> {
    type Output = Response<ReplyBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx));
        // Where a request ends that cannot be understood, nobody knows; and what was sent ahead of a
        // tunnel that is declined is no request.
        let unclear = response.status() == StatusCode::BAD_REQUEST && response.body().is_own();
        let declined = *this.connect && !response.status().is_success();
        if *this.version == Version::Http1 && (unclear || declined) {
            head::close(&mut response);
        }
        if *this.bare && response.body().is_own() {
            let length = response.body_mut().omit();
            let length = (length > 0).then(|| HeaderValue::from(length));
            length.map(|length| response.headers_mut().insert(CONTENT_LENGTH, length));
        }
        response.body_mut().hold(this.under_way.take());
        Poll::Ready(response)
    }
}

pin_project_lite::pin_project! {
    /// As hyper wants it.
    struct Infallibly<F> {
        #[pin]
        answer: F,
    }
}

impl<F: Future> Future for Infallibly<F> {
    type Output = Result<F::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(cx).map(Ok)
    }
}

/// Serves until either side ends the connection.
pub(crate) async fn http<H, F>(
    io: Io,
    version: Version,
    mut phase: watch::Receiver<Phase>,
    habits: Habits,
    handler: H,
) -> Result<(), End>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ReplyBody>> + 'static,
{
    let asked = Cell::new(false);
    let clock = Clock::start();
    let service = |mut request: Request<Incoming>| {
        asked.set(true);
        let under_way = clock.asked(!request.body().is_end_stream());
        if let Some(fault) = under_way.fault() {
            request.extensions_mut().insert(fault);
        }
        let connect = request.method() == Method::CONNECT;
        let bare = version == Version::Http2 && request.method() == Method::HEAD;
        Counted {
            connect,
            bare,
            answer: handler(request),
            under_way: Some(under_way),
            version,
        }
    };
    let late = *phase.borrow() != Phase::Serving;
    let drain = pin!(async {
        // An error: the process is ending.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        if !asked.get() {
            // Who has just connected is about to ask, and would have to ask again elsewhere.
            tokio::time::sleep(limits::DRAIN_FIRST).await;
        }
    });
    // Set by the one who looks.
    let next_look = pin!(tokio::time::sleep(Duration::MAX));
    let mut outside = Outside::new(drain, next_look, Arc::clone(&clock), habits.stall);
    match version {
        Version::Http1 => {
            let header_case = habits.header_case;
            let manner = http1::Manner { late, header_case };
            let service = service_fn(|request: Request<hyper::body::Incoming>| Infallibly {
                answer: service(request.map(Incoming::Http1)),
            });
            http1::serve(io, service, &clock, &mut outside, manner).await
        }
        Version::Http2 => http2::serve(io, service, habits.windows, &clock, &mut outside).await,
    }
}
