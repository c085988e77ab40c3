//! HTTP/2 on one connection. Each stream is a task, so that one that waits keeps no other waiting;
//! they end with their connection. Between requests frames come too, and pings find who is gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;

use super::End;
use super::clock::Clock;
use super::outside::{Event, Outside};
use crate::body::{Bequest, Incoming, ReplyBody};
use crate::cork::Cork;
use crate::http2::{self, Keepalive, Other, Pipe, Received};
use crate::io::Io;
use crate::limits::{self, Windows};

/// Serves until either side ends the connection.
pub(super) async fn serve<S, F, D>(
    io: Io,
    service: S,
    windows: Windows,
    clock: &Arc<Clock>,
    outside: &mut Outside<'_, D>,
) -> Result<(), End>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ReplyBody>> + 'static,
    D: Future<Output = ()>,
{
    let mut serving = Serving::begin(io.served_in_frames(clock), windows);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = serving.poll(cx, &service) {
                return Poll::Ready(ended);
            }
            if clock.is_abused() {
                return Poll::Ready(Err(End::Abused));
            }
            match ready!(outside.poll(cx)) {
                Event::Drain => serving.drain(),
                Event::Rest => {}
                Event::Late(what) => return Poll::Ready(Err(End::Late(what))),
            }
        }
    })
    .await
}

/// One connection.
struct Serving {
    stage: Box<Stage>,
    cork: Cork<Io>,
    keepalive: Option<Keepalive>,
    draining: bool,
}

enum Stage {
    Greeting(Handshake<Cork<Io>, Bytes>),
    Open(Connection<Cork<Io>, Bytes>),
}

impl Serving {
    fn begin(io: Io, windows: Windows) -> Self {
        let cork = Cork::new(io);
        let greeting = Builder::new()
            .initial_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .data_frame_budget(limits::h2_small_frames(windows.stream))
            .max_frame_size(limits::H2_FRAME)
            .max_concurrent_streams(limits::H2_STREAMS_INBOUND)
            .max_header_list_size(limits::HEAD_BYTES as u32)
            .max_local_error_reset_streams(Some(http2::RESETS))
            .enable_connect_protocol()
            .handshake(cork.share());
        Self {
            stage: Box::new(Stage::Greeting(greeting)),
            cork,
            keepalive: None,
            draining: false,
        }
    }

    /// Says that no more requests are taken.
    fn drain(&mut self) {
        self.draining = true;
        if let Stage::Open(connection) = &mut *self.stage {
            connection.graceful_shutdown();
        }
    }

    fn poll<S, F>(&mut self, cx: &mut Context<'_>, service: &S) -> Poll<Result<(), End>>
    where
        S: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<ReplyBody>> + 'static,
    {
        if let Poll::Ready(ended) = self.poll_streams(cx, service) {
            return Poll::Ready(ended.map_err(End::Http2));
        }
        if let Poll::Ready(Err(error)) = self.cork.poll_drain(cx) {
            return Poll::Ready(Err(End::Broken(error)));
        }
        match &mut self.keepalive {
            Some(keepalive) => {
                ready!(keepalive.poll(cx, || self.cork.heard(), true));
                Poll::Ready(Err(End::Silent))
            }
            None => Poll::Pending,
        }
    }

    /// Reads and writes, and begins with each request that has come.
    fn poll_streams<S, F>(
        &mut self,
        cx: &mut Context<'_>,
        service: &S,
    ) -> Poll<Result<(), h2::Error>>
    where
        S: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<ReplyBody>> + 'static,
    {
        loop {
            let connection = match &mut *self.stage {
                Stage::Open(connection) => connection,
                Stage::Greeting(greeting) => {
                    let mut connection = ready!(Pin::new(greeting).poll(cx))?;
                    self.keepalive = Keepalive::new(connection.ping_pong());
                    if self.draining {
                        connection.graceful_shutdown();
                    }
                    *self.stage = Stage::Open(connection);
                    continue;
                }
            };
            match ready!(connection.poll_accept(cx)) {
                Some(Ok((request, reply))) => begin(request, reply, service),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn begin<S, F>(request: Request<RecvStream>, mut reply: SendResponse<Bytes>, service: &S)
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ReplyBody>> + 'static,
{
    let (head, stream) = request.into_parts();
    let connect = head.method == Method::CONNECT;
    if connect && head.headers.contains_key(CONTENT_LENGTH) {
        // What comes after it is no body (RFC 9110 §9.3.6).
        return reply.send_reset(Reason::PROTOCOL_ERROR);
    }
    let body = match stream.is_end_stream() && !connect {
        true => Incoming::Empty,
        false => Incoming::Http2(Received::new(stream, &head.headers, Other::None)),
    };
    let answer = service(Request::from_parts(head, body));
    tokio::task::spawn_local(Stream::Answering { answer, reply });
}

pin_project_lite::pin_project! {
    /// One request, until its answer is sent.
    #[project = Now]
    enum Stream<F> {
        Answering {
            #[pin]
            answer: F,
            reply: SendResponse<Bytes>,
        },
        Sending {
            #[pin]
            pipe: Pipe<ReplyBody>,
        },
    }
}

impl<F: Future<Output = Response<ReplyBody>>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let pipe = match self.as_mut().project() {
                Now::Sending { pipe } => return pipe.poll(cx),
                Now::Answering { answer, reply } => {
                    let Poll::Ready(response) = answer.poll(cx) else {
                        // Who has asked may want no answer any more.
                        return reply.poll_reset(cx).map(|_| ());
                    };
                    match respond(response, reply) {
                        Some(pipe) => pipe,
                        None => return Poll::Ready(()),
                    }
                }
            };
            self.set(Stream::Sending { pipe });
        }
    }
}

/// Sends the head of an answer; what is to follow it.
fn respond(
    response: Response<ReplyBody>,
    reply: &mut SendResponse<Bytes>,
) -> Option<Pipe<ReplyBody>> {
    let (head, mut body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    http2::strip(head.headers_mut(), false);
    let heir = body.heir();
    let whole = heir.is_none() && body.is_end_stream();
    if !whole
        && heir.is_none()
        && let Some(length) = body.size_hint().exact()
        && !head.headers().contains_key(CONTENT_LENGTH)
    {
        head.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let stream = match reply.send_response(head, whole) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sent");
            reply.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
    };
    if let Some(heir) = heir {
        // Who gave up the tunnel resets the stream by that.
        let under_way = body.take_under_way();
        let _ = heir.send(Bequest { stream, under_way });
        return None;
    }
    (!whole).then(|| Pipe::new(body, stream))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::super::clock::{Look, Watch};
    use super::*;

    #[test]
    fn a_connection_is_busy_while_one_of_its_streams_is_a_tunnel() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        let (to, _joined) = oneshot::channel();
        let mut body = ReplyBody::own("", None);
        body.hand_over(to);
        body.hold(Some(clock.asked(true)));
        let _heir = body.heir().unwrap();
        let under_way = body.take_under_way();
        drop(body);
        let mut look = || clock.look(&mut watch, limits::DOWNSTREAM_IDLE, Duration::ZERO);
        assert_eq!(
            (look(), look(), look()),
            (Look::Busy, Look::Busy, Look::Busy)
        );
        drop(under_way);
        clock.body_read();
        assert_eq!(look(), Look::Busy);
        assert!(matches!(look(), Look::Late(_)));
    }
}
