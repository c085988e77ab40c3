//! HTTP/2 on one connection. Between requests frames come too, and pings find who is gone.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::End;
use super::clock::Clock;
use super::outside::{Event, Outside};
use crate::body::ReplyBody;
use crate::cork::Cork;
use crate::io::Io;
use crate::limits;
use crate::upstream::LocalExec;

/// Serves until either side ends the connection.
pub(super) async fn serve<S, F, D>(
    io: Io,
    service: S,
    stream_window: u32,
    clock: &Clock,
    outside: &mut Outside<'_, D>,
) -> Result<(), End>
where
    S: Service<Request<Incoming>, Response = Response<ReplyBody>, Error = Infallible, Future = F>,
    F: Future<Output = Result<Response<ReplyBody>, Infallible>> + 'static,
    D: Future<Output = ()>,
{
    let connection = http2::Builder::new(LocalExec)
        .timer(TokioTimer::new())
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(limits::H2_WINDOWS * stream_window)
        .max_frame_size(limits::H2_FRAME)
        .max_concurrent_streams(limits::H2_STREAMS_INBOUND)
        .max_header_list_size(limits::HEAD_BYTES as u32)
        .keep_alive_interval(limits::H2_KEEPALIVE)
        .keep_alive_timeout(limits::H2_KEEPALIVE_TIMEOUT)
        .enable_connect_protocol()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(Cork::new(io)), service);
    let mut connection = Box::pin(connection);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(End::Http));
            }
            if clock.is_abused() {
                return Poll::Ready(Err(End::Abused));
            }
            match ready!(outside.poll(cx)) {
                Event::Drain => connection.as_mut().graceful_shutdown(),
                Event::Rest => {}
                Event::Late(what) => return Poll::Ready(Err(End::Late(what))),
            }
        }
    })
    .await
}
