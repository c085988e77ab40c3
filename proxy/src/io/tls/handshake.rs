//! The handshake, in either role. Its buffers are let go of with it; what was read too much, and
//! what need not be sent before anything else is, becomes the connection's.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, Error, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::session::{Session, Step};
use super::{Incoming, Tls, invalid};

/// What is read at a time: a flight of ours is less.
const READ: usize = 4096;
/// Most bytes of the peer's that wait for more of theirs (what rustls allows a message).
const MOST: usize = 64 * 1024;

/// Proves who we are to a server, and has it prove itself. The server hears the last of it with
/// what is sent first, or when it is waited for.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tcp: TcpStream,
) -> io::Result<Tls> {
    let session = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
    let mut handshake = Handshake::new(Session::Client(session), tcp, Vec::new());
    handshake.run().await?;
    Ok(handshake.finish())
}

/// The same for a client, of which some bytes were read ahead. `told` sees what was agreed on.
pub(crate) async fn accept<T>(
    config: Arc<ServerConfig>,
    tcp: TcpStream,
    ahead: Bytes,
    told: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Tls, T)> {
    let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
    let mut handshake = Handshake::new(Session::Server(session), tcp, ahead.into());
    handshake.run().await?;
    let told = told(handshake.session.agreed());
    Ok((handshake.finish(), told))
}

struct Handshake {
    session: Box<Session>,
    tcp: TcpStream,
    /// Read, and not done with.
    read: Vec<u8>,
    unsent: BytesMut,
    /// What the peer sent right behind its handshake.
    opened: Vec<u8>,
    incoming: Incoming,
}

impl Handshake {
    fn new(session: Session, tcp: TcpStream, read: Vec<u8>) -> Self {
        Self {
            session: Box::new(session),
            tcp,
            read,
            unsent: BytesMut::new(),
            opened: Vec::new(),
            incoming: Incoming::Open,
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            let heard = |said: &[u8]| self.opened.extend_from_slice(said);
            let (done, step) = self.session.step(&mut self.read, &mut self.unsent, heard);
            self.read.drain(..done);
            match step {
                Ok(Step::More) => {}
                Ok(Step::Closed) => {
                    self.incoming = Incoming::Closed;
                    // All that follows is ignored.
                    self.read.clear();
                }
                // A server may be allowed to speak before its client is known.
                Ok(Step::Ready) if !self.session.agreed().is_handshaking() => return Ok(()),
                Ok(Step::Ready | Step::Blocked) => {
                    self.write().await?;
                    self.read().await?;
                }
                Err(error) => {
                    self.session.last_words(&mut self.unsent);
                    // The reason is the handshake's, also when the peer cannot be told.
                    let _ = self.write().await;
                    return Err(invalid(error));
                }
            }
        }
    }

    fn finish(mut self) -> Tls {
        self.read.shrink_to_fit();
        Tls {
            tcp: self.tcp,
            session: self.session,
            partial: self.read,
            opened: self.opened.into(),
            unsent: self.unsent,
            incoming: self.incoming,
            over: false,
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        self.tcp.write_all(&self.unsent).await?;
        self.unsent = BytesMut::new();
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        if matches!(self.incoming, Incoming::Closed) {
            return Err(left());
        }
        if self.read.len() >= MOST {
            return Err(invalid(Error::PeerSentOversizedRecord));
        }
        self.read.reserve(READ);
        match self.tcp.read_buf(&mut self.read).await? {
            0 => Err(left()),
            _ => Ok(()),
        }
    }
}

fn left() -> io::Error {
    let text = "the peer left during the TLS handshake";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
