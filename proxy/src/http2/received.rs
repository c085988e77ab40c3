//! The body that comes over a stream, and what else ends with it. What is taken of it is told to its
//! sender in sums: each time would cost more than a small message.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;

use super::Tunnel;

/// Bytes that are taken before their room is given back. A hundredth part of a stream's smallest
/// window: its sender never waits for them.
const SUM: u32 = 640;

/// More than any length.
const UNKNOWN: u64 = u64::MAX;

/// What is received on a stream.
pub(crate) struct Received {
    stream: RecvStream,
    /// What is left of it, where its head said how long it is; else [`UNKNOWN`].
    left: u64,
    /// No more data comes.
    over: bool,
    /// Nothing more comes, as far as was seen when the last came.
    ended: bool,
    /// Taken, and its room not given back.
    owed: u32,
    other: Other,
}

/// The other direction of the stream, where this one decides on it.
pub(crate) enum Other {
    None,
    Request(Upload),
    /// Of an answer to CONNECT.
    Tunnel(Box<SendStream<Bytes>>),
}

/// A request that was still on its way, by a task of its own: it ends if its answer is given up, and
/// goes on if that is whole.
pub(crate) struct Upload(Option<AbortHandle>);

impl Upload {
    pub(crate) fn new(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    /// Of which no more is sent.
    pub(crate) fn over() -> Self {
        Self(None)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Received {
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap, other: Other) -> Self {
        let length = headers.get(CONTENT_LENGTH);
        let mut received = Self {
            stream,
            // h2 has refused what is none, and ends what keeps to another.
            left: length
                .and_then(|length| length.to_str().ok()?.parse().ok())
                .unwrap_or(UNKNOWN),
            over: false,
            ended: false,
            owed: 0,
            other,
        };
        received.note_end();
        received
    }

    /// What else goes on does so without this once it is whole.
    fn note_end(&mut self) {
        self.ended = self.stream.is_end_stream();
        if self.ended
            && let Other::Request(upload) = &mut self.other
        {
            upload.0 = None;
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.taken(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.unless_early(error)),
                None => self.over = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.note_end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(self.unless_early(error)),
        }
    }

    fn taken(&mut self, bytes: usize) {
        if self.left != UNKNOWN {
            self.left = self.left.saturating_sub(bytes as u64);
        }
        self.note_end();
        // A frame's, and less than a sum: it fits.
        self.owed += bytes as u32;
        if self.owed >= SUM {
            let owed = std::mem::take(&mut self.owed) as usize;
            // An error: the stream has ended.
            let _ = self.stream.flow_control().release_capacity(owed);
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            UNKNOWN => SizeHint::default(),
            left => SizeHint::with_exact(left),
        }
    }

    /// An answer whose stream is reset with NO_ERROR came before its request was read: there is no more
    /// of it, and nothing is wrong (RFC 9113 §8.1). Anything else is cut short, and must not be taken for
    /// whole: a request, an answer to one that had no body, or less than was announced.
    fn unless_early(&self, error: h2::Error) -> Option<Result<Frame<Bytes>, h2::Error>> {
        let early = error.reason() == Some(Reason::NO_ERROR)
            && matches!(self.other, Other::Request(_))
            && matches!(self.left, 0 | UNKNOWN);
        (!early).then_some(Err(error))
    }

    /// Both directions of the stream, after an answer to CONNECT.
    pub(crate) fn into_tunnel(mut self) -> Option<Tunnel> {
        match std::mem::replace(&mut self.other, Other::None) {
            Other::Tunnel(send) => Some(Tunnel::new(*send, self.into_stream())),
            Other::None | Other::Request(_) => None,
        }
    }

    /// This direction alone.
    pub(crate) fn into_stream(self) -> RecvStream {
        let Self { stream, .. } = self;
        stream
    }
}
