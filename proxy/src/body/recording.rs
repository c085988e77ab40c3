//! A request body that can be sent again, or to others: what has passed of it is kept, up to
//! [`limits::RECORDED_BODY`]. Beyond that nothing is kept, and the body passes as any other.
//!
//! Invariant: one reader at a time, the latest that has begun; one before it is told that it is
//! over, so that two never share what comes.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;

use super::{Broken, Incoming, Passed, RequestError};
use crate::limits;

/// What each piece counts at least: whoever sends bytes one by one must not have more kept of them
/// than of others.
const PIECE: usize = 64;

/// Pieces below this are copied: a part of a buffer that was read keeps all of it in memory.
const SHARED: usize = 4 * 1024;

/// A piece to keep, and what it counts.
fn piece(data: &Bytes) -> (Bytes, usize) {
    let kept = match data.len() < SHARED {
        true => Bytes::copy_from_slice(data),
        false => data.clone(),
    };
    (kept, data.len().max(PIECE))
}

/// A whole body.
#[derive(Clone, Default)]
pub(crate) struct Whole {
    chunks: Vec<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Whole {
    /// Takes the next frame of it.
    pub(super) fn take(&mut self) -> Option<Frame<Bytes>> {
        if !self.chunks.is_empty() {
            return Some(Frame::data(self.chunks.remove(0)));
        }
        self.trailers.take().map(Frame::trailers)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_none()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
}

/// One reading of a recorded body.
pub(crate) struct Recorded {
    record: Rc<RefCell<Record>>,
    /// Which reading this is.
    turn: u32,
    /// Chunks that it has given.
    given: usize,
    told_trailers: bool,
}

struct Record {
    source: Incoming,
    passed: Rc<Passed>,
    whole: Whole,
    bytes: usize,
    state: State,
    /// The latest reading that has begun.
    turn: u32,
    listeners: Vec<oneshot::Sender<Whole>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    /// There was too much of it.
    TooLong,
    /// It has come to its end.
    Ended,
    /// The client broke off.
    Broken,
}

impl Record {
    fn note(&mut self, polled: &Poll<Option<Result<Frame<Bytes>, Broken>>>) {
        match polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.passed.add(data.len());
                    self.keep(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.whole.trailers = Some(trailers.clone());
                }
                // Who writes it asks no further then.
                if frame.is_trailers() || self.source.is_end_stream() {
                    self.end();
                }
            }
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Err(why))) => {
                self.passed.broken(why);
                self.state = State::Broken;
                self.listeners.clear();
            }
        }
    }

    fn keep(&mut self, data: &Bytes) {
        let (piece, cost) = piece(data);
        self.bytes = self.bytes.saturating_add(cost);
        if self.bytes > limits::RECORDED_BODY {
            self.state = State::TooLong;
            self.whole.chunks = Vec::new();
            self.listeners.clear();
        } else if self.state == State::Passing {
            self.whole.chunks.push(piece);
        }
    }

    fn end(&mut self) {
        self.passed.read();
        if self.state == State::Passing {
            self.state = State::Ended;
            for listener in self.listeners.drain(..) {
                // One that is gone has given up.
                let _ = listener.send(self.whole.clone());
            }
        }
    }
}

impl Recorded {
    pub(super) fn new(source: Incoming, passed: Rc<Passed>) -> Self {
        passed.reopen();
        let record = Record {
            source,
            passed,
            whole: Whole::default(),
            bytes: 0,
            state: State::Passing,
            turn: 0,
            listeners: Vec::new(),
        };
        Self {
            record: Rc::new(RefCell::new(record)),
            turn: 0,
            given: 0,
            told_trailers: false,
        }
    }

    /// Another reading, from the beginning. It may be begun as long as [`Recorded::is_kept`].
    pub(super) fn again(&self) -> Self {
        Self {
            record: Rc::clone(&self.record),
            turn: self.turn + 1,
            given: 0,
            told_trailers: false,
        }
    }

    /// Whether everything that has passed is still kept.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.record.borrow().state, State::Passing | State::Ended)
    }

    /// The whole body once it has passed; an error when it is too long or breaks off.
    pub(super) fn listen(&self) -> oneshot::Receiver<Whole> {
        let (sender, receiver) = oneshot::channel();
        let mut record = self.record.borrow_mut();
        match record.state {
            State::Passing => record.listeners.push(sender),
            State::Ended => drop(sender.send(record.whole.clone())),
            State::TooLong | State::Broken => {}
        }
        receiver
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let record = &mut *self.record.borrow_mut();
        if self.turn < record.turn {
            return Poll::Ready(Some(Err(RequestError::Superseded)));
        }
        if self.turn > record.turn {
            record.turn = self.turn;
            record.passed.reopen();
        }
        if let Some(chunk) = record.whole.chunks.get(self.given) {
            self.given += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        match record.state {
            State::Ended => {
                let trailers = record.whole.trailers.as_ref();
                let trailers = trailers.filter(|_| !self.told_trailers).cloned();
                self.told_trailers = true;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            State::Passing | State::TooLong | State::Broken => {
                let polled = Pin::new(&mut record.source).poll_frame(cx);
                record.note(&polled);
                if matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_trailers()) {
                    self.told_trailers = true;
                }
                self.given = record.whole.chunks.len();
                polled.map(|frame| frame.map(|frame| frame.map_err(RequestError::Client)))
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let record = self.record.borrow();
        if self.given < record.whole.chunks.len() {
            return false;
        }
        match record.state {
            State::Ended => self.told_trailers || record.whole.trailers.is_none(),
            State::Passing | State::TooLong | State::Broken => record.source.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let record = self.record.borrow();
        let kept = record.whole.chunks.iter().skip(self.given);
        let kept: u64 = kept.map(|chunk| chunk.len() as u64).sum();
        if record.state == State::Ended {
            return SizeHint::with_exact(kept);
        }
        let rest = record.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(kept + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept + upper);
        }
        hint
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let record = self.record.borrow();
        if self.turn == record.turn {
            record.passed.over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_one_by_one_hold_no_more_than_others() {
        let read = Bytes::from(vec![0; 16 * 1024]);
        let (kept, cost) = piece(&read.slice(..1));
        assert_eq!((kept.len(), cost), (1, PIECE));
        assert_ne!(kept.as_ptr(), read.as_ptr(), "the buffer is not held by it");
        let (kept, cost) = piece(&read);
        assert_eq!((kept.as_ptr(), cost), (read.as_ptr(), read.len()));
    }
}
