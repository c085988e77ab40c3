//! One connection type for the whole data path: plain TCP or TLS, with the bytes that were already
//! read while its protocol was being told. A single concrete type keeps every HTTP stack compiled
//! once.

pub(crate) mod tls;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::tls::Tls;
use crate::scratch::{self, Scratch};
use crate::serve::clock::Clock;

/// What is read ahead at a time: a greeting, a request's first line, a ClientHello.
const AHEAD: usize = 4096;

/// A connection.
pub(crate) struct Io {
    prefix: Bytes,
    kind: Kind,
    /// Told when the peer sends something.
    clock: Option<Arc<Clock>>,
}

enum Kind {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Plain(stream),
            clock: None,
        }
    }
}

impl From<Tls> for Io {
    fn from(stream: Tls) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Tls(Box::new(stream)),
            clock: None,
        }
    }
}

impl Io {
    /// Reads once more into the bytes read ahead, at most `limit` of them in all. `Ok(false)`: the
    /// peer has closed, or the limit is reached. Nothing is lost when the wait is given up.
    pub(crate) async fn read_ahead(&mut self, limit: usize) -> io::Result<bool> {
        poll_fn(|cx| self.poll_ahead(cx, limit)).await
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<bool>> {
        let room = limit.saturating_sub(self.prefix.len());
        if room == 0 {
            return Poll::Ready(Ok(false));
        }
        let mut ahead = [0; AHEAD];
        let mut buf = ReadBuf::new(&mut ahead[..room.min(AHEAD)]);
        ready!(Pin::new(&mut self.kind).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.prefix = if self.prefix.is_empty() {
            Bytes::copy_from_slice(read)
        } else {
            [&self.prefix, read].concat().into()
        };
        Poll::Ready(Ok(true))
    }

    /// Reads to the scratch's clear text; how much it is, 0 at the end.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut scratch.plain[..scratch::PLAIN]);
        if take_prefix(&mut self.prefix, &mut buf) {
            return Poll::Ready(Ok(buf.filled().len()));
        }
        match &mut self.kind {
            Kind::Plain(tcp) => {
                ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
            Kind::Tls(tls) => tls.poll_receive(cx, scratch, scratch::WIRE),
        }
    }

    /// Waits until TLS, which keeps what it could not send, has room for more.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(_) => Poll::Ready(Ok(())),
            Kind::Tls(tls) => tls.poll_room(cx),
        }
    }

    /// Sends so much of the scratch's clear text; how much of it is left. To be called when there is
    /// room.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        Scratch { plain, wire }: &mut Scratch,
        length: usize,
    ) -> io::Result<usize> {
        let mut rest = &plain[..length];
        match &mut self.kind {
            Kind::Tls(tls) => {
                tls.send(cx, rest, wire)?;
                return Ok(0);
            }
            Kind::Plain(tcp) => {
                while !rest.is_empty() {
                    match Pin::new(&mut *tcp).poll_write(cx, rest) {
                        Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(sent) => rest = &rest[sent?..],
                        Poll::Pending => break,
                    }
                }
            }
        }
        Ok(rest.len())
    }

    /// The clock is told when the peer takes no more.
    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let (Poll::Pending, Some(clock)) = (&polled, &self.clock) {
            clock.stuck();
        }
        polled
    }

    /// Serves HTTP: the clock is told of what comes.
    pub(crate) fn timed(mut self, clock: &Arc<Clock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// A connection that was taken out of HTTP, with what HTTP had read too much.
    pub(crate) fn after_upgrade(mut self, read: Bytes) -> Self {
        if !read.is_empty() {
            self.prefix = [&read[..], &self.prefix].concat().into();
        }
        self
    }

    /// When it is dropped, the peer is told that it broke and did not end.
    pub(crate) fn reset_on_close(&self) {
        let tcp = match &self.kind {
            Kind::Plain(tcp) => tcp,
            Kind::Tls(tls) => tls.tcp(),
        };
        // An error: it has been reset already.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// The bytes read ahead and not yet consumed.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.prefix
    }

    /// Gives back a plain connection with what was read ahead, to start TLS on it; `None` where it
    /// is TLS already.
    pub(crate) fn into_plain(self) -> Option<(TcpStream, Bytes)> {
        match self.kind {
            Kind::Plain(stream) => Some((stream, self.prefix)),
            Kind::Tls(_) => None,
        }
    }
}

fn take_prefix(prefix: &mut Bytes, buf: &mut ReadBuf<'_>) -> bool {
    if prefix.is_empty() {
        return false;
    }
    let n = prefix.len().min(buf.remaining());
    buf.put_slice(&prefix[..n]);
    prefix.advance(n);
    if prefix.is_empty() {
        *prefix = Bytes::new();
    }
    true
}

macro_rules! delegate {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Kind::Plain($inner) => $call,
            Kind::Tls($inner) => $call,
        }
    };
}

impl AsyncRead for Kind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A peer that leaves without closing its TLS is an error (UnexpectedEof), so that what was
        // cut short is never taken for whole.
        delegate!(&mut *self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !take_prefix(&mut self.prefix, buf) {
            ready!(Pin::new(&mut self.kind).poll_read(cx, buf))?;
        }
        if let Some(clock) = &self.clock
            && buf.filled().len() > before
        {
            clock.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = delegate!(&mut self.kind, s => Pin::new(s).poll_write(cx, buf));
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = delegate!(&mut self.kind, s => Pin::new(s).poll_flush(cx));
        if let (Poll::Ready(Ok(())), Some(clock)) = (&polled, &self.clock) {
            clock.flushed();
        }
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(clock) = &self.clock {
            // For good: what is being ended is not idle.
            clock.stuck();
        }
        delegate!(&mut self.kind, s => Pin::new(s).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = delegate!(&mut self.kind, s => Pin::new(s).poll_write_vectored(cx, bufs));
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(&self.kind, s => s.is_write_vectored())
    }
}
