//! Serves HTTP on an accepted connection with one handler for both versions, and ends it politely
//! when the sidecar drains: `Connection: close` with the response under way, or GOAWAY.

pub(crate) mod clock;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use self::clock::{Clock, UnderWay};
use crate::body::ReplyBody;
use crate::io::Io;
use crate::limits;
use crate::upstream::{LocalExec, Version};
use crate::worker::Phase;

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error(transparent)]
    Http(hyper::Error),
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
    let io = TokioIo::new(match version {
        Version::Http1 => io.timed(&clock),
        // Here frames come also between requests, and pings find who is gone.
        Version::Http2 => io,
    });
    let service = service_fn(|request| {
        asked.set(true);
        let under_way = clock.asked();
        let answer = handler(request);
        Counted {
            answer,
            under_way: Some(under_way),
        }
    });
    let late = *phase.borrow() != Phase::Serving;
    let draining = async {
        // An error: the process is ending.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        if !asked.get() {
            // Who has just connected is about to ask, and would have to ask again elsewhere.
            tokio::time::sleep(limits::DRAIN_FIRST).await;
        }
    };
    match version {
        Version::Http1 => {
            // At most 100 header fields: hyper's own bound, which costs less unnamed.
            let connection = http1::Builder::new()
                // The clock bounds heads; hyper's own bound would make a timer for each request.
                .header_read_timeout(None)
                .keep_alive(!late)
                .max_buf_size(limits::HEAD_BYTES)
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(End::Http),
                () = draining => connection.as_mut().graceful_shutdown(),
                why = clock.expired() => return Err(End::Waited(why)),
            }
            tokio::select! {
                biased;
                ended = connection => ended.map_err(End::Http),
                why = clock.expired() => Err(End::Waited(why)),
            }
        }
        Version::Http2 => {
            let connection = http2::Builder::new(LocalExec)
                .timer(TokioTimer::new())
                .initial_stream_window_size(limits::H2_STREAM_WINDOW)
                .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
                .max_frame_size(limits::H2_FRAME)
                .max_concurrent_streams(limits::H2_STREAMS_INBOUND)
                .max_header_list_size(limits::HEAD_BYTES as u32)
                .keep_alive_interval(limits::H2_KEEPALIVE)
                .keep_alive_timeout(limits::H2_KEEPALIVE_TIMEOUT)
                .auto_date_header(false)
                .serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(End::Http),
                () = draining => connection.as_mut().graceful_shutdown(),
                why = clock.expired() => return Err(End::Waited(why)),
            }
            tokio::select! {
                biased;
                ended = connection => ended.map_err(End::Http),
                why = clock.expired() => Err(End::Waited(why)),
            }
        }
    }
}
