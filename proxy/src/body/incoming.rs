//! A body that comes in, from either side and in either version.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use heddle_proxy_telemetry::ResponseFlag;
use http_body::{Body, Frame, SizeHint};

use crate::http2::Received;

/// What is still to come of it.
pub(crate) enum Incoming {
    Empty,
    Http1(hyper::body::Incoming),
    Http2(Received),
}

/// Why there is no more of a body, or no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl Broken {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Http1(_) => Reason::INTERNAL_ERROR,
            Self::Http2(error) => error.reason().unwrap_or(Reason::INTERNAL_ERROR),
        }
    }

    /// What a client did whose body broke off so: it left, or what it sent was malformed.
    pub(super) fn clients_fault(&self) -> ResponseFlag {
        let malformed = match self {
            Self::Http1(error) => is_malformed(error),
            Self::Http2(error) => !error.is_io() && !error.is_remote(),
        };
        match malformed {
            true => ResponseFlag::DownstreamProtocolError,
            false => ResponseFlag::DownstreamClosed,
        }
    }
}

/// Whether a body could not be read as one; else its connection ended before it did.
fn is_malformed(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| matches!(cause.kind(), InvalidData | InvalidInput))
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Broken::Http1))),
            Self::Http2(body) => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Broken::Http2))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
