//! An HTTP/2 connection to an upstream. Each request is a stream that its own task looks after; the
//! connection has a task that reads and writes for all of them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;

use super::{Answer, SendError, Streams};
use crate::body::{Broken, Incoming, RequestBody};
use crate::cork::Cork;
use crate::http2::{self, Keepalive, Other, Pipe, Received, Upload};
use crate::io::Io;
use crate::limits;

/// Sends requests over one connection.
#[derive(Clone)]
pub(crate) struct Sender(SendRequest<Bytes>);

/// What must be polled for anything to happen on a connection; ends with it.
pub(super) struct Driver {
    connection: Connection<Cork<Io>, Bytes>,
    cork: Cork<Io>,
    keepalive: Option<Keepalive>,
    streams: Rc<Streams>,
}

/// Speaks HTTP/2 over a connection that stands.
pub(super) async fn connect(io: Io, streams: &Rc<Streams>) -> Result<(Sender, Driver), h2::Error> {
    let cork = Cork::new(io.http());
    let driven = cork.share();
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(limits::H2_UPSTREAM.stream)
        .initial_connection_window_size(limits::H2_UPSTREAM.connection)
        .data_frame_budget(limits::h2_small_frames(limits::H2_UPSTREAM.stream))
        .max_frame_size(limits::H2_FRAME)
        .max_header_list_size(limits::HEAD_BYTES as u32)
        .max_local_error_reset_streams(Some(http2::RESETS))
        .handshake(cork)
        .await?;
    let driver = Driver {
        keepalive: Keepalive::new(connection.ping_pong()),
        connection,
        cork: driven,
        streams: Rc::clone(streams),
    };
    Ok((Sender(requests), driver))
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection ended");
            }
            return Poll::Ready(());
        }
        if let Poll::Ready(Err(error)) = this.cork.poll_drain(cx) {
            tracing::debug!(%error, "upstream connection broke off");
            return Poll::Ready(());
        }
        let Some(keepalive) = &mut this.keepalive else {
            return Poll::Pending;
        };
        let busy = this.streams.active() > 0;
        ready!(keepalive.poll(cx, || this.cork.heard(), busy));
        tracing::debug!("upstream connection ended: its peer answers no ping");
        Poll::Ready(())
    }
}

impl Sender {
    /// Whether no more requests can be sent: the connection has ended, or its peer takes no more.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        matches!(self.0.poll_ready(&mut nobody), Poll::Ready(Err(_)))
    }

    /// Sends a request; the future is the head of its answer, and gives the request up when it is
    /// dropped.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> Sending {
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = self.0.poll_ready(&mut nobody) {
            return Sending::Failed(Some(SendError::unsent(error.into(), request)));
        }
        let (head, body) = request.into_parts();
        let mut head = Request::from_parts(head, ());
        http2::strip(head.headers_mut(), true);
        let connect = head.method() == Method::CONNECT;
        if connect {
            head.headers_mut().remove(CONTENT_LENGTH);
        } else {
            tell_length(&mut head, &body);
        }
        let whole = !connect && body.is_end_stream();
        let (answer, stream) = match self.0.send_request(head, whole) {
            Ok(sent) => sent,
            Err(error) => return Sending::Failed(Some(SendError::of(error.into()))),
        };
        let other = match connect {
            true => Sent::Tunnel(Box::new(stream)),
            false if whole => Sent::Whole,
            false => {
                let mut pipe = Pipe::new(body, stream);
                // What has come already goes along with the head.
                match Pin::new(&mut pipe).poll(&mut nobody) {
                    Poll::Ready(()) => Sent::Over,
                    Poll::Pending => Sent::Partly(Box::new(pipe)),
                }
            }
        };
        Sending::Sent(answer, other)
    }
}

/// Says how long a body is that is known to the end.
fn tell_length(head: &mut Request<()>, body: &RequestBody) {
    let Some(length) = body.size_hint().exact() else {
        return;
    };
    let expected = !matches!(
        *head.method(),
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS | Method::TRACE
    );
    if (length > 0 || expected) && !head.headers().contains_key(CONTENT_LENGTH) {
        head.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// A request whose head is sent.
pub(crate) enum Sending {
    Sent(ResponseFuture, Sent),
    /// Taken when it is told.
    Failed(Option<SendError>),
}

/// The rest of it.
pub(crate) enum Sent {
    /// There is none.
    Whole,
    /// It is sent, or not wanted.
    Over,
    Partly(Box<Pipe<RequestBody>>),
    Tunnel(Box<h2::SendStream<Bytes>>),
}

impl Future for Sending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let (answer, rest) = match &mut *self {
            Self::Sent(answer, rest) => (answer, rest),
            Self::Failed(error) => {
                return match error.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    None => Poll::Pending,
                };
            }
        };
        if let Sent::Partly(pipe) = rest
            && Pin::new(&mut **pipe).poll(cx).is_ready()
        {
            *rest = Sent::Over;
        }
        let answer = ready!(Pin::new(answer).poll(cx))
            .map_err(|error| SendError::of(Broken::Http2(error)))?;
        let agreed = answer.status().is_success();
        let rests = match rest {
            Sent::Whole | Sent::Over => true,
            Sent::Tunnel(_) => !agreed,
            Sent::Partly(_) => false,
        };
        let other = match std::mem::replace(rest, Sent::Whole) {
            Sent::Whole => Other::None,
            Sent::Over => Other::Request(Upload::over()),
            // It goes on while nobody reads the answer.
            Sent::Partly(pipe) => {
                let task = tokio::task::spawn_local(pipe);
                Other::Request(Upload::new(task.abort_handle()))
            }
            Sent::Tunnel(stream) if agreed => Other::Tunnel(stream),
            Sent::Tunnel(_) => Other::None,
        };
        let (head, stream) = answer.into_parts();
        let body = match stream.is_end_stream() && rests {
            true => Incoming::Empty,
            false => Incoming::Http2(Received::new(stream, &head.headers, other)),
        };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}
