//! TLS after its handshake: what is read is opened from the worker's scratch, what is written is
//! sealed into it and sent at once. A connection that waits holds its keys and no buffer; one whose
//! peer is slow, at most what was written last; one whose peer stopped in the midst of a record, that
//! part. Each way ends by `close_notify`; who leaves without it broke off. rustls protects and checks
//! every record.

mod handshake;
mod session;

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub(crate) use self::handshake::{accept, connect};
use self::session::{Session, Step, What};
use super::take_prefix;
use crate::scratch::{self, Scratch};

/// Sealed bytes that may wait for what is written next, to be sent with it: the last of a handshake.
const MAY_WAIT: usize = 4096;

/// Both ends have proved who they are.
pub(crate) struct Tls {
    tcp: TcpStream,
    session: Box<Session>,
    /// Read, and not done with: part of a record, or of a message of TLS's own.
    partial: Vec<u8>,
    /// Opened, and not taken by the reader.
    opened: Bytes,
    /// Sealed, and not taken by the socket.
    unsent: BytesMut,
    incoming: Incoming,
    /// The last that we say was sealed: `close_notify`, or what went wrong.
    over: bool,
}

/// Whether more may come.
enum Incoming {
    Open,
    Closed,
    /// What the peer did, until somebody has been told.
    Broken(Option<io::Error>),
}

/// As tokio-rustls gives them, so that the reason is found again.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Tls {
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether the socket has taken everything.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Opens what has come to the scratch's clear text; how much it is, 0 at the end. Reads at most
    /// `most` bytes.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        Scratch { plain, wire }: &mut Scratch,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let mut ahead = ReadBuf::new(&mut plain[..scratch::PLAIN]);
        if take_prefix(&mut self.opened, &mut ahead) {
            return Poll::Ready(Ok(ahead.filled().len()));
        }
        loop {
            match &mut self.incoming {
                Incoming::Open => {}
                Incoming::Closed => return Poll::Ready(Ok(0)),
                Incoming::Broken(why) => {
                    let why = why.take();
                    // Told if it can be at once; the reason is the reader's all the same.
                    let _ = self.poll_unsent(cx);
                    let again = || io::ErrorKind::ConnectionAborted.into();
                    return Poll::Ready(Err(why.unwrap_or_else(again)));
                }
            }
            let held = self.partial.len();
            if held >= scratch::WIRE {
                self.give_up(rustls::Error::PeerSentOversizedRecord);
                continue;
            }
            wire[..held].copy_from_slice(&self.partial);
            let end = scratch::WIRE.min(held + most);
            let mut buf = ReadBuf::new(&mut wire[held..end]);
            let Poll::Ready(read) = Pin::new(&mut self.tcp).poll_read(cx, &mut buf) else {
                // What the peer may be waiting for is not kept from it. An error shows again.
                let _ = self.poll_unsent(cx);
                return Poll::Pending;
            };
            read?;
            let end = held + buf.filled().len();
            if end == held {
                let text = "the peer left without closing its TLS";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            let (done, opened) = self.open(&mut wire[..end], plain);
            match &self.incoming {
                Incoming::Open if done < end => {
                    self.partial.clear();
                    self.partial.extend_from_slice(&wire[done..end]);
                }
                _ => self.partial = Vec::new(),
            }
            if opened > 0 {
                return Poll::Ready(Ok(opened));
            }
        }
    }

    /// Opens all that is whole; how many bytes are done with, and how many they carried.
    fn open(&mut self, wire: &mut [u8], plain: &mut [u8]) -> (usize, usize) {
        let (mut done, mut opened) = (0, 0);
        loop {
            let heard = |said: &[u8]| {
                plain[opened..opened + said.len()].copy_from_slice(said);
                opened += said.len();
            };
            let (taken, step) = self
                .session
                .step(&mut wire[done..], &mut self.unsent, heard);
            done += taken;
            match step {
                // What TLS says to itself is found with what it came with.
                Ok(Step::More) if opened > 0 && done == wire.len() => break,
                Ok(Step::More) => {}
                Ok(Step::Ready | Step::Blocked) => break,
                Ok(Step::Closed) => {
                    self.incoming = Incoming::Closed;
                    break;
                }
                Err(error) => {
                    self.give_up(error);
                    break;
                }
            }
        }
        (done, opened)
    }

    fn give_up(&mut self, error: rustls::Error) {
        self.session.last_words(&mut self.unsent);
        self.over = true;
        self.incoming = Incoming::Broken(Some(invalid(error)));
    }

    /// Seals clear text into the scratch and sends it; what the socket does not take is kept. To be
    /// called when there is room.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
        wire: &mut [u8],
    ) -> io::Result<()> {
        if self.over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sealed = self.seal(What::Content(content), wire)?;
        let mut rest = &wire[..sealed];
        while self.unsent.is_empty() && !rest.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => rest = &rest[sent?..],
                Poll::Pending => break,
            }
        }
        if !rest.is_empty() {
            self.unsent.extend_from_slice(rest);
            if let Poll::Ready(sent) = self.poll_unsent(cx) {
                sent?;
            }
        }
        Ok(())
    }

    /// Has the session do what it must before it seals (say that its keys change), and seals; how
    /// much that became.
    fn seal(&mut self, what: What<'_>, wire: &mut [u8]) -> io::Result<usize> {
        loop {
            let (done, sealed) = self
                .session
                .seal(&mut self.partial, &mut self.unsent, what, wire);
            self.partial.drain(..done);
            if let Some(sealed) = sealed.map_err(invalid)? {
                return Ok(sealed);
            }
        }
    }

    /// Waits until the socket has taken so much that more may be written.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.len() <= MAY_WAIT {
            return Poll::Ready(Ok(()));
        }
        self.poll_unsent(cx)
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Has what is unsent wait for the end of the stream, to be sent in one packet with it. What
    /// does not work shows when it is sent.
    fn send_with_the_end(&mut self) {
        let Self { tcp, unsent, .. } = self;
        let send = || SockRef::from(&*tcp).send_with_flags(unsent, nix::libc::MSG_MORE);
        if let Ok(sent) = tcp.try_io(Interest::WRITABLE, send) {
            unsent.advance(sent);
        }
        if unsent.is_empty() {
            *unsent = BytesMut::new();
        }
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        let mut wire = [0; 256];
        let sealed = self.seal(What::End, &mut wire)?;
        self.unsent.extend_from_slice(&wire[..sealed]);
        Ok(())
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take_prefix(&mut self.opened, buf) {
            return Poll::Ready(Ok(()));
        }
        scratch::with(|scratch| {
            // At least a record: who reads in smaller pieces has the rest kept.
            let most = buf.remaining().max(scratch::RECORD);
            let opened = ready!(self.poll_receive(cx, scratch, most))?;
            let taken = opened.min(buf.remaining());
            let (now, later) = scratch.plain[..opened].split_at(taken);
            buf.put_slice(now);
            if !later.is_empty() {
                self.opened = Bytes::copy_from_slice(later);
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        let content = &buf[..buf.len().min(scratch::PLAIN)];
        scratch::with(|scratch| this.send(cx, content, &mut scratch.wire))?;
        Poll::Ready(Ok(content.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        scratch::with(|Scratch { plain, wire }| {
            let mut content = ReadBuf::new(&mut plain[..scratch::PLAIN]);
            for buf in bufs {
                content.put_slice(&buf[..buf.len().min(content.remaining())]);
            }
            let content = content.filled();
            this.send(cx, content, wire)?;
            Poll::Ready(Ok(content.len()))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_unsent(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.say_goodbye()?;
        this.send_with_the_end();
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
