//! Sends the head of an HTTP/2 message together with its body, and with the heads of other messages.
//! Each is queued by a task of its own, when its turn comes: written at once they would be a packet
//! each, on every hop. So where a head is to be flushed, the others have their turn first. Messages on
//! streams that are open do not wait: what came together goes on together anyway.
//!
//! It holds at most [`MOST`] bytes, and no buffer while it holds none.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held back: one TLS record. What does not fit is written at once, with them.
const MOST: usize = 16 * 1024;

/// Slices of one write: what is held, and as many more as one frame has.
const SLICES: usize = 8;

/// Where a frame says its type, and the type of a head (RFC 9113 §4.1, §6.2).
const TYPE: usize = 3;
const HEADERS: u8 = 1;

/// A connection whose small writes are gathered.
pub(crate) struct Cork<T> {
    io: T,
    held: BytesMut,
    /// What is held should wait until the others have had their turn.
    early: bool,
}

impl<T> Cork<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            held: BytesMut::new(),
            early: false,
        }
    }
}

/// Whether these begin with a head. What begins in the middle of a frame may be taken for one, which
/// costs a turn of the scheduler.
fn is_head(frame: &[u8]) -> bool {
    frame.get(TYPE) == Some(&HEADERS)
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    /// Writes what is held.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            self.written(n)?;
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held.advance(n);
        if self.held.is_empty() {
            self.held = BytesMut::new();
            self.early = false;
        }
        Ok(())
    }

    /// Writes what is held and these after it, as far as they are taken.
    fn write_through(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            slices[0] = IoSlice::new(&self.held);
            let used = bufs.len().min(SLICES - 1);
            slices[1..=used].copy_from_slice(&bufs[..used]);
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..=used]))?;
            let (own, theirs) = (n.min(self.held.len()), n.saturating_sub(self.held.len()));
            self.written(own)?;
            if theirs > 0 {
                return Poll::Ready(Ok(theirs));
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let more = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.held.len() + more > MOST {
            return self.write_through(cx, bufs);
        }
        if self.held.is_empty() {
            self.early = bufs.first().is_some_and(|buf| is_head(buf));
        }
        bufs.iter().for_each(|buf| self.held.extend_from_slice(buf));
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            if std::mem::take(&mut self.early) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.drain(cx))?;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes so many bytes of each write, as long as there are turns left.
    struct Peer {
        writes: Vec<Vec<u8>>,
        takes: Vec<Option<usize>>,
    }

    impl Peer {
        fn greedy() -> Self {
            Self {
                writes: Vec::new(),
                takes: Vec::new(),
            }
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            match self.takes.pop() {
                Some(None) => return Poll::Pending,
                Some(Some(most)) => all.truncate(most.max(1)),
                None => {}
            }
            let n = all.len();
            self.writes.push(all);
            Poll::Ready(Ok(n))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn poll<R>(
        cork: &mut Cork<Peer>,
        f: impl FnOnce(Pin<&mut Cork<Peer>>, &mut Context<'_>) -> R,
    ) -> R {
        f(Pin::new(cork), &mut Context::from_waker(Waker::noop()))
    }

    /// An empty frame of a type.
    fn frame(kind: u8) -> [u8; 9] {
        [0, 0, 0, kind, 0, 0, 0, 0, 1]
    }

    fn write(cork: &mut Cork<Peer>, part: &[u8]) {
        let wrote = poll(cork, |cork, cx| cork.poll_write(cx, part));
        assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == part.len()));
    }

    #[test]
    fn a_head_waits_one_turn_for_its_body() {
        let mut cork = Cork::new(Peer::greedy());
        let (head, body) = (frame(HEADERS), frame(0));
        write(&mut cork, &head);
        assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_pending());
        write(&mut cork, &body);
        assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_ready());
        assert_eq!(cork.io.writes, [[head, body].concat()]);
        assert_eq!(cork.held.capacity(), 0);
    }

    #[test]
    fn what_is_no_head_does_not_wait() {
        for alone in [frame(0), frame(6)] {
            let mut cork = Cork::new(Peer::greedy());
            write(&mut cork, &alone);
            assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_ready());
            assert_eq!(cork.io.writes, [alone]);
        }
    }

    #[test]
    fn a_large_frame_takes_along_what_is_held() {
        let mut cork = Cork::new(Peer::greedy());
        let large = vec![b'x'; 2 * MOST];
        let _ = poll(&mut cork, |cork, cx| cork.poll_write(cx, b"head"));
        let wrote = poll(&mut cork, |cork, cx| cork.poll_write(cx, &large));
        assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == large.len()));
        assert_eq!(cork.io.writes.len(), 1);
    }

    proptest! {
        #[test]
        fn every_byte_arrives_in_order(
            parts in proptest::collection::vec((0_usize..3 * MOST, any::<bool>()), 0..12),
            takes in proptest::collection::vec(proptest::option::of(0_usize..2 * MOST), 0..40),
        ) {
            let mut cork = Cork::new(Peer { writes: Vec::new(), takes });
            let mut sent = Vec::new();
            for (length, flush) in parts {
                let part: Vec<u8> = (0..length).map(|i| (i + sent.len()) as u8).collect();
                let mut rest = &part[..];
                while !rest.is_empty() {
                    let (a, b) = rest.split_at(rest.len() / 2);
                    let wrote = poll(&mut cork, |cork, cx| {
                        cork.poll_write_vectored(cx, &[IoSlice::new(a), IoSlice::new(b)])
                    });
                    if let Poll::Ready(n) = wrote {
                        let n = n.unwrap();
                        prop_assert!(n > 0);
                        rest = &rest[n..];
                    }
                    prop_assert!(cork.held.len() <= MOST);
                }
                sent.extend(part);
                if flush {
                    let _ = poll(&mut cork, |cork, cx| cork.poll_flush(cx));
                }
            }
            while poll(&mut cork, |cork, cx| cork.poll_shutdown(cx)).is_pending() {}
            prop_assert_eq!(cork.io.writes.concat(), sent);
        }
    }
}
