//! One connection type for the whole data path: plain TCP or TLS, with the bytes that were already
//! read while its protocol was being told, or a stream of somebody's HTTP/2 connection. A single
//! concrete type keeps every HTTP stack compiled once.

mod blocks;
pub(crate) mod heads;
pub(crate) mod tls;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

use self::blocks::Blocks;
use self::heads::Heads;
use self::tls::Tls;
use crate::http2::Tunnel;
use crate::scratch::{self, Scratch};
use crate::serve::clock::Clock;

/// What is read ahead at a time: a greeting, a request's first line, a ClientHello.
const AHEAD: usize = 4096;

/// A connection.
pub(crate) struct Io {
    prefix: Bytes,
    kind: Kind,
    /// What is kept while HTTP is spoken.
    http: Option<Box<Http>>,
}

#[derive(Default)]
struct Http {
    /// Who waits for bytes: the runtime has this waker, unless there are bytes. Who reads in another
    /// way takes it off.
    waiting: Option<Waker>,
    served: Option<Served>,
    /// Of a connection that is served in HTTP/2.
    blocks: Option<Box<Blocks>>,
}

enum Kind {
    Plain(TcpStream),
    Tls(Box<Tls>),
    /// One stream of an HTTP/2 connection. Who drops it before its end resets it.
    Stream(Box<Tunnel>),
}

/// What is kept of a connection that is served in HTTP/1.1.
struct Served {
    /// Told when the peer sends something.
    clock: Arc<Clock>,
    heads: Heads,
}

impl Served {
    /// Bytes of the peer's have come.
    fn heard(&mut self, bytes: &[u8]) {
        self.clock.heard();
        if let Some((request, fault)) = self.heads.follow(bytes) {
            self.clock.refuse(request, fault);
        }
    }
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Plain(stream),
            http: None,
        }
    }
}

impl From<Tls> for Io {
    fn from(stream: Tls) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Tls(Box::new(stream)),
            http: None,
        }
    }
}

impl From<Tunnel> for Io {
    fn from(stream: Tunnel) -> Self {
        Self {
            prefix: Bytes::new(),
            kind: Kind::Stream(Box::new(stream)),
            http: None,
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
        self.nobody_waits();
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
        self.nobody_waits();
        match &mut self.kind {
            Kind::Plain(tcp) => {
                ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
            Kind::Tls(tls) => tls.poll_receive(cx, scratch, scratch::WIRE),
            Kind::Stream(stream) => {
                ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Reads, unless it is known that nothing has come: HTTP asks far more often than there is something,
    /// and to ask the runtime costs more than to look.
    fn poll_kind(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(http) = &self.http else {
            return Pin::new(&mut self.kind).poll_read(cx, buf);
        };
        let waiting = http.waiting.as_ref();
        if waiting.is_some_and(|waiting| waiting.will_wake(cx.waker())) && self.is_silent() {
            return Poll::Pending;
        }
        self.nobody_waits();
        let polled = Pin::new(&mut self.kind).poll_read(cx, buf);
        // Without a turn left, the runtime has not taken the waker.
        if polled.is_pending()
            && coop::has_budget_remaining()
            && let Some(http) = &mut self.http
        {
            http.waiting = Some(cx.waker().clone());
        }
        polled
    }

    fn nobody_waits(&mut self) {
        if let Some(http) = &mut self.http {
            http.waiting = None;
        }
    }

    fn served_now(&mut self) -> Option<&mut Served> {
        self.http.as_mut()?.served.as_mut()
    }

    fn clock(&self) -> Option<&Clock> {
        Some(&self.http.as_ref()?.served.as_ref()?.clock)
    }

    /// Whether nothing can be read, and nothing is to be sent before.
    fn is_silent(&self) -> bool {
        let tcp = match &self.kind {
            Kind::Plain(tcp) => tcp,
            Kind::Tls(tls) if tls.is_all_sent() => tls.tcp(),
            Kind::Tls(_) | Kind::Stream(_) => return false,
        };
        // A look at what the runtime knows, which it keeps.
        tcp.try_io(Interest::READABLE, || Ok(())).is_err()
    }

    /// Waits until TLS, which keeps what it could not send, has room for more.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(_) | Kind::Stream(_) => Poll::Ready(Ok(())),
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
            Kind::Plain(tcp) => write_some(cx, tcp, &mut rest)?,
            Kind::Stream(stream) => write_some(cx, stream, &mut rest)?,
        }
        Ok(rest.len())
    }

    /// The clock is told whether the peer takes what it is sent.
    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Some(clock) = self.clock() {
            match &polled {
                Poll::Pending => clock.stuck(),
                Poll::Ready(_) => clock.moved(),
            }
        }
        polled
    }

    /// Serves HTTP/1.1: the clock is told of what comes, and of heads that must be refused.
    pub(crate) fn served(mut self, clock: &Arc<Clock>) -> Self {
        self = self.http();
        if let Some(http) = &mut self.http {
            http.served = Some(Served {
                clock: Arc::clone(clock),
                heads: Heads::default(),
            });
        }
        self
    }

    /// Serves HTTP/2: the clock is told of heads that have begun.
    pub(crate) fn served_in_frames(mut self, clock: &Arc<Clock>) -> Self {
        self = self.http();
        if let Some(http) = &mut self.http {
            http.blocks = Some(Box::new(Blocks::new(clock)));
        }
        self
    }

    /// HTTP is spoken on it.
    pub(crate) fn http(mut self) -> Self {
        self.http = Some(Box::default());
        self
    }

    /// Takes back what HTTP had read too much, for a pause.
    pub(crate) fn unread(&mut self, read: Bytes) {
        if let Some(served) = self.served_now() {
            served.heads.unread(read.len());
        }
        if !read.is_empty() {
            self.prefix = [&read[..], &self.prefix].concat().into();
        }
    }

    /// A connection that was taken out of HTTP, with what HTTP had read too much.
    pub(crate) fn after_upgrade(mut self, read: Bytes) -> Self {
        self.http = None;
        self.unread(read);
        self
    }

    /// When it is dropped, the peer is told that it broke and did not end.
    pub(crate) fn reset_on_close(&self) {
        let tcp = match &self.kind {
            Kind::Plain(tcp) => tcp,
            Kind::Tls(tls) => tls.tcp(),
            Kind::Stream(_) => return,
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
            Kind::Tls(_) | Kind::Stream(_) => None,
        }
    }
}

/// Writes as much as is taken at once.
fn write_some(
    cx: &mut Context<'_>,
    to: &mut (impl AsyncWrite + Unpin),
    rest: &mut &[u8],
) -> io::Result<()> {
    while !rest.is_empty() {
        match Pin::new(&mut *to).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(sent) => *rest = &rest[sent?..],
            Poll::Pending => break,
        }
    }
    Ok(())
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
            Kind::Stream($inner) => $call,
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
        let this = &mut *self;
        if !take_prefix(&mut this.prefix, buf) && this.poll_kind(cx, buf)?.is_pending() {
            if let Some(served) = this.served_now() {
                served.clock.waits(served.heads.is_amid_a_body());
            }
            return Poll::Pending;
        }
        if let Some(http) = &mut this.http
            && let Some(read @ [_, ..]) = buf.filled().get(before..)
        {
            if let Some(served) = &mut http.served {
                served.heard(read);
            } else if let Some(blocks) = &mut http.blocks {
                blocks.follow(read);
            }
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
        if let Some(clock) = self.clock() {
            match &polled {
                Poll::Pending => clock.stuck(),
                Poll::Ready(_) => clock.flushed(),
            }
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(clock) = self.clock() {
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
