//! One connection type for the whole data path: plain TCP or TLS in either role, with the bytes
//! that were already read while its protocol was being told. A single concrete type keeps every
//! HTTP stack compiled once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A stream whose first bytes were read ahead.
pub(crate) struct Prefixed<T> {
    prefix: Bytes,
    inner: T,
}

impl<T> Prefixed<T> {
    pub(crate) fn new(prefix: Bytes, inner: T) -> Self {
        Self { prefix, inner }
    }
}

/// A connection.
pub(crate) struct Io {
    prefix: Bytes,
    kind: Kind,
}

enum Kind {
    Plain(TcpStream),
    Accepted(Box<server::TlsStream<Prefixed<TcpStream>>>),
    Connected(Box<client::TlsStream<TcpStream>>),
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Plain(stream),
        }
    }
}

impl From<server::TlsStream<Prefixed<TcpStream>>> for Io {
    fn from(stream: server::TlsStream<Prefixed<TcpStream>>) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Accepted(Box::new(stream)),
        }
    }
}

impl From<client::TlsStream<TcpStream>> for Io {
    fn from(stream: client::TlsStream<TcpStream>) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Connected(Box::new(stream)),
        }
    }
}

impl Io {
    /// Reads once more into the bytes read ahead, at most `limit` of them in all. `Ok(false)`: the
    /// peer has closed, or the limit is reached.
    pub(crate) async fn read_ahead(&mut self, limit: usize) -> io::Result<bool> {
        let have = self.prefix.len();
        if have >= limit {
            return Ok(false);
        }
        let mut buffer = BytesMut::with_capacity(limit);
        buffer.extend_from_slice(&self.prefix);
        let room = limit - have;
        let read = {
            let mut limited = (&mut self.kind).take(room as u64);
            limited.read_buf(&mut buffer).await?
        };
        self.prefix = buffer.freeze();
        Ok(read > 0)
    }

    /// The bytes read ahead and not yet consumed.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.prefix
    }

    /// Gives back a plain connection with what was read ahead, to start TLS on it; `None` where it
    /// is TLS already.
    pub(crate) fn into_plain(self) -> Option<Prefixed<TcpStream>> {
        match self.kind {
            Kind::Plain(stream) => Some(Prefixed::new(self.prefix, stream)),
            Kind::Accepted(_) | Kind::Connected(_) => None,
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

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take_prefix(&mut self.prefix, buf) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

macro_rules! delegate {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Kind::Plain($inner) => $call,
            Kind::Accepted($inner) => $call,
            Kind::Connected($inner) => $call,
        }
    };
}

impl AsyncRead for Kind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(delegate!(&mut *self, s => Pin::new(s).poll_read(cx, buf)));
        // Peers that leave without a TLS close are common; what they sent was whole as far as
        // HTTP framing can tell, and a truncated body is detected by its own length.
        match read {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && buf.filled().len() == before => {
                Poll::Ready(Ok(()))
            }
            other => Poll::Ready(other),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take_prefix(&mut self.prefix, buf) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.kind).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(&mut self.kind, s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.kind, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.kind, s => Pin::new(s).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(&mut self.kind, s => Pin::new(s).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(&self.kind, s => s.is_write_vectored())
    }
}
