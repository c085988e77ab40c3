//! Serves HTTP on an accepted connection with one handler for both versions, and ends it politely
//! when the sidecar drains: `Connection: close` with the response under way, or GOAWAY.

pub(crate) mod clock;
pub(crate) mod http1;
mod http2;
mod outside;

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::watch;

use self::clock::{Clock, UnderWay};
use self::outside::Outside;
use crate::body::ReplyBody;
use crate::io::Io;
use crate::limits;
use crate::upstream::Version;
use crate::worker::Phase;

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error(transparent)]
    Http(hyper::Error),
    #[error("{0}")]
    Broken(Error),
    #[error("{0} in time")]
    Waited(&'static str),
}

pin_project_lite::pin_project! {
    /// An answer whose body keeps its request under way. By hand: an `async` block would keep the
    /// future that it awaits twice.
    struct Counted<F> {
        #[pin]
        answer: F,
        under_way: Option<UnderWay>,
    }
}

impl<F: Future<Output = Response<ReplyBody>>> Future for Counted<F> {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx));
        response.body_mut().hold(this.under_way.take());
        Poll::Ready(Ok(response))
    }
}

/// Serves until either side ends the connection.
pub(crate) async fn http<H, F>(
    io: Io,
    version: Version,
    mut phase: watch::Receiver<Phase>,
    handler: H,
) -> Result<(), End>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ReplyBody>> + 'static,
{
    let asked = Cell::new(false);
    let clock = Clock::start();
    let service = service_fn(|request: Request<Incoming>| {
        asked.set(true);
        let under_way = clock.asked(!request.body().is_end_stream());
        Counted {
            answer: handler(request),
            under_way: Some(under_way),
        }
    });
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
    let mut outside = Outside::new(drain, next_look, Arc::clone(&clock));
    match version {
        Version::Http1 => http1::serve(io, service, &clock, &mut outside, late).await,
        Version::Http2 => http2::serve(io, service, &mut outside).await,
    }
}
