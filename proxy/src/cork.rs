//! Gathers what HTTP/2 writes within one turn of the scheduler. The streams of a connection are tasks
//! of their own, and each queues its frames when its turn comes; h2 flushes after every frame. Written
//! at once, a head, its body and the messages of other streams would be a packet each, on every hop.
//! So a flush only says that it is time: what is held is written when the others have had their turn.
//!
//! It holds at most [`MOST`] bytes, and no buffer while it holds none.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held back: one TLS record. What does not fit is written at once, with them.
const MOST: usize = 16 * 1024;

/// Slices of one write: what is held, and as many more as one frame has.
const SLICES: usize = 8;

/// A connection whose small writes are gathered.
pub(crate) struct Cork<T> {
    io: T,
    held: BytesMut,
    turn: Rc<Cell<Turn>>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Default)]
enum Turn {
    /// Nobody has flushed what is held.
    #[default]
    Ours,
    /// Those that were waiting.
    Others,
    /// They have had it.
    Over,
}

impl<T> Cork<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            held: BytesMut::new(),
            turn: Rc::default(),
        }
    }
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
            self.turn.set(Turn::Ours);
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
        bufs.iter().for_each(|buf| self.held.extend_from_slice(buf));
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            match self.turn.get() {
                Turn::Ours => {
                    self.turn.set(Turn::Others);
                    let (turn, waker) = (Rc::clone(&self.turn), cx.waker().clone());
                    // Its turn comes after theirs.
                    tokio::task::spawn_local(async move {
                        turn.set(Turn::Over);
                        waker.wake();
                    });
                    return Poll::Ready(Ok(()));
                }
                Turn::Others => return Poll::Ready(Ok(())),
                Turn::Over => ready!(self.drain(cx))?,
            }
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

    fn write(cork: &mut Cork<Peer>, part: &[u8]) {
        let wrote = poll(cork, |cork, cx| cork.poll_write(cx, part));
        assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == part.len()));
    }

    fn in_a_runtime(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build_local(Default::default()).unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn what_is_flushed_within_one_turn_is_one_write() {
        in_a_runtime(async {
            let mut cork = Cork::new(Peer::greedy());
            for part in ["head", "body", "another"] {
                write(&mut cork, part.as_bytes());
                assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_ready());
            }
            assert!(cork.io.writes.is_empty());
            tokio::task::yield_now().await;
            assert!(poll(&mut cork, |cork, cx| cork.poll_flush(cx)).is_ready());
            assert_eq!(cork.io.writes, [b"headbodyanother"]);
            assert_eq!(cork.held.capacity(), 0);
        });
    }

    #[test]
    fn who_has_flushed_is_woken() {
        in_a_runtime(async {
            let mut cork = Cork::new(Peer::greedy());
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    write(&mut cork, b"frame");
                }
                assert!(Pin::new(&mut cork).poll_flush(cx).is_ready());
                match cork.io.writes.is_empty() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            })
            .await;
            assert_eq!(polls, 2);
        });
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
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build_local(Default::default()).unwrap();
            runtime.block_on(async {
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
                    tokio::task::yield_now().await;
                }
            }
            while poll(&mut cork, |cork, cx| cork.poll_shutdown(cx)).is_pending() {}
            prop_assert_eq!(cork.io.writes.concat(), sent);
            Ok(())
            })?;
        }
    }
}
