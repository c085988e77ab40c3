//! TLS 1.3 after its handshake: what is read is opened from the worker's scratch, what is written
//! is sealed into it and sent at once. A connection that waits holds its keys and nothing else; one
//! whose peer is slow, at most what was written last; one whose peer stopped in the midst of a
//! record, that part. Each way ends by `close_notify`; who leaves without it broke off.

mod control;
mod handshake;
pub(crate) mod record;

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{Error, ExtractedSecrets};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::control::Incoming;
pub(crate) use self::control::Keys;
pub(crate) use self::handshake::{accept, connect};
use self::record::{Cipher, Fault, Kind};
use super::take_prefix;
use crate::scratch::{self, Scratch};

/// Both ends have proved who they are.
pub(crate) struct Tls {
    tcp: TcpStream,
    opener: Cipher,
    sealer: Cipher,
    keys: Keys,
    /// The read part of a record.
    partial: Vec<u8>,
    /// Opened, and not taken by the reader.
    opened: Bytes,
    /// Sealed, and not taken by the socket.
    unsent: BytesMut,
    /// The read part of a message of TLS's own.
    message: Vec<u8>,
    /// Records in a row that carried nothing.
    idle: u8,
    incoming: Incoming,
    /// The peer has asked for other keys.
    rekey: bool,
    /// Our last record was sealed: `close_notify`, or what went wrong.
    over: bool,
    /// Records that a key may seal.
    limit: u64,
}

impl Tls {
    fn new(tcp: TcpStream, secrets: ExtractedSecrets, keys: Keys) -> Result<Self, Error> {
        Ok(Self {
            tcp,
            opener: Cipher::new(secrets.rx)?,
            sealer: Cipher::new(secrets.tx)?,
            limit: keys.limit(),
            keys,
            partial: Vec::new(),
            opened: Bytes::new(),
            unsent: BytesMut::new(),
            message: Vec::new(),
            idle: 0,
            incoming: Incoming::Open,
            rekey: false,
            over: false,
        })
    }

    /// Takes over what came with the handshake.
    fn begin(&mut self, partial: Vec<u8>, opened: Bytes, closed: bool) {
        self.opened = opened;
        if closed {
            self.incoming = Incoming::Closed;
        } else if record::is_partial(&partial) {
            self.keep(&partial);
        } else {
            self.give_up(Fault::Malformed);
        }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Keeps the beginning of a record until the rest comes.
    fn keep(&mut self, partial: &[u8]) {
        if partial.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(partial);
        }
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
                Incoming::Broken(why) => return Poll::Ready(Err(why.again())),
            }
            let held = self.partial.len();
            wire[..held].copy_from_slice(&self.partial);
            let end = scratch::WIRE.min(held + most);
            let mut buf = ReadBuf::new(&mut wire[held..end]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buf))?;
            let read = buf.filled().len();
            if read == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer left without closing its TLS",
                )));
            }
            let end = held + read;
            let (taken, opened) = self.open(&wire[..end], plain);
            match self.incoming {
                Incoming::Open => self.keep(&wire[taken..end]),
                // Nobody will read on.
                _ => self.keep(&[]),
            }
            if matches!(self.incoming, Incoming::Broken(_)) {
                // Told if it can be at once; what it did is said to the reader all the same.
                let _ = self.poll_unsent(cx);
            }
            if opened > 0 {
                return Poll::Ready(Ok(opened));
            }
        }
    }

    /// Opens all whole records; how many bytes they were, and how many they carried.
    fn open(&mut self, wire: &[u8], plain: &mut [u8]) -> (usize, usize) {
        let (mut taken, mut opened) = (0, 0);
        while matches!(self.incoming, Incoming::Open) {
            match self.open_next(&wire[taken..], &mut plain[opened..]) {
                Ok(Some((length, carried))) => {
                    taken += length;
                    opened += carried;
                }
                Ok(None) => break,
                Err(fault) => self.give_up(fault),
            }
        }
        (taken, opened)
    }

    /// Seals clear text into the scratch and sends it; what the socket does not take is kept. To be
    /// called when nothing is kept.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
        wire: &mut [u8],
    ) -> io::Result<()> {
        if self.over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut sealed = 0;
        for content in content.chunks(record::PLAIN) {
            if self.rekey || self.sealer.number() + 1 >= self.limit {
                sealed += self.renew(&mut wire[sealed..])?;
            }
            let record = self.sealer.seal(Kind::Data, content, &mut wire[sealed..]);
            sealed += record.map_err(io::Error::other)?;
        }
        let mut rest = &wire[..sealed];
        while !rest.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(sent) => rest = &rest[sent?..],
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
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
            let most = buf.remaining().max(record::PLAIN + record::OVERHEAD);
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
        ready!(this.poll_unsent(cx))?;
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
        ready!(this.poll_unsent(cx))?;
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
        this.say_goodbye();
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
