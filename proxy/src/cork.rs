//! Gathers what HTTP/2 writes in one turn of its task. The streams of a connection are tasks of their
//! own, and each queues its frames when its turn comes; h2 flushes after nearly every frame. Written at
//! once, a head, its body and the messages of other streams would be a packet each, on every hop. So a
//! flush does nothing: whoever drives the connection has what is held written at the end of its turn,
//! which comes after those of all streams that had something to say.
//!
//! It holds at most [`MOST`] bytes, and no buffer while it holds none: what one has written, the next
//! connection of the same worker holds its bytes in.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held back: one TLS record. What does not fit is written at once, with them.
const MOST: usize = 16 * 1024;

/// Slices of one write: what is held, and as many more as one frame has.
const SLICES: usize = 8;

thread_local! {
    /// The buffer of nobody.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection whose small writes are gathered: for h2, and for who drives it.
pub(crate) struct Cork<T>(Rc<RefCell<Gathered<T>>>);

struct Gathered<T> {
    io: T,
    held: Vec<u8>,
    /// Something has been read since this was asked last.
    heard: bool,
}

impl<T> Cork<T> {
    pub(crate) fn new(io: T) -> Self {
        Self(Rc::new(RefCell::new(Gathered {
            io,
            held: Vec::new(),
            heard: false,
        })))
    }

    /// For who drives the connection.
    pub(crate) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// Whether anything has come since this was asked last.
    pub(crate) fn heard(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().heard)
    }
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    /// Writes what is held: at the end of each turn of the connection's.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        if gathered.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(gathered.drain(cx))?;
        Pin::new(&mut gathered.io).poll_flush(cx)
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
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
        self.held.drain(..n);
        if self.held.is_empty() {
            SPARE.set(std::mem::take(&mut self.held));
        }
        Ok(())
    }

    fn hold(&mut self, bufs: &[IoSlice<'_>]) {
        if self.held.is_empty() {
            self.held = SPARE.take();
        }
        bufs.iter().for_each(|buf| self.held.extend_from_slice(buf));
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        let more = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if gathered.held.len() + more > MOST {
            return gathered.write_through(cx, bufs);
        }
        gathered.hold(bufs);
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.drain(cx))?;
        Pin::new(&mut gathered.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        let polled = Pin::new(&mut gathered.io).poll_read(cx, buf);
        gathered.heard |= polled.is_ready();
        polled
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

    fn write(cork: &mut Cork<Peer>, part: &[u8]) {
        let wrote = poll(cork, |cork, cx| cork.poll_write(cx, part));
        assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == part.len()));
    }

    fn drain(cork: &Cork<Peer>) -> Poll<io::Result<()>> {
        cork.poll_drain(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_flushed_within_one_turn_is_one_write() {
        let mut cork = Cork::new(Peer::greedy());
        for part in ["head", "body", "another"] {
            write(&mut cork, part.as_bytes());
            assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_ready());
        }
        assert!(cork.0.borrow().io.writes.is_empty());
        assert!(drain(&cork.share()).is_ready());
        assert_eq!(cork.0.borrow().io.writes, [b"headbodyanother"]);
        assert_eq!(cork.0.borrow().held.capacity(), 0);
    }

    #[test]
    fn what_the_peer_does_not_take_is_kept_for_the_next_turn() {
        let mut cork = Cork::new(Peer {
            writes: Vec::new(),
            takes: vec![None, Some(4)],
        });
        write(&mut cork, b"headbody");
        assert!(drain(&cork).is_pending());
        assert!(drain(&cork).is_ready());
        assert_eq!(cork.0.borrow().io.writes.concat(), b"headbody");
    }

    #[test]
    fn a_large_frame_takes_along_what_is_held() {
        let mut cork = Cork::new(Peer::greedy());
        let large = vec![b'x'; 2 * MOST];
        let _ = poll(&mut cork, |cork, cx| cork.poll_write(cx, b"head"));
        let wrote = poll(&mut cork, |cork, cx| cork.poll_write(cx, &large));
        assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == large.len()));
        assert_eq!(cork.0.borrow().io.writes.len(), 1);
    }

    proptest! {
        #[test]
        fn every_byte_arrives_in_order(
            parts in proptest::collection::vec((0_usize..3 * MOST, any::<bool>()), 0..12),
            takes in proptest::collection::vec(proptest::option::of(0_usize..2 * MOST), 0..40),
        ) {
            let mut cork = Cork::new(Peer { writes: Vec::new(), takes });
            let mut sent = Vec::new();
            for (length, turn) in parts {
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
                    prop_assert!(cork.0.borrow().held.len() <= MOST);
                }
                sent.extend(part);
                if turn {
                    let _ = drain(&cork);
                }
            }
            while poll(&mut cork, |cork, cx| cork.poll_shutdown(cx)).is_pending() {}
            prop_assert_eq!(cork.0.borrow().io.writes.concat(), sent);
        }
    }
}
