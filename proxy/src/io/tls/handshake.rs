//! The handshake, in either role. rustls decides everything; its buffers are let go of with the
//! handshake, and what it agreed on, with what was read too much, becomes a [`Tls`].

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{ClientConfig, CommonState, Error, ExtractedSecrets, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Keys, Tls};

/// What is read at a time: a flight of ours is less.
const READ: usize = 4096;
/// Most bytes of the peer's that wait for more of theirs (what rustls allows a message).
const MOST: usize = 64 * 1024;

/// Proves who we are to a server, and has it prove itself.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tcp: TcpStream,
) -> io::Result<Tls> {
    let session = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
    Ok(Handshake::new(session, tcp, Vec::new())
        .run(|_| ())
        .await?
        .0)
}

/// The same for a client, of which some bytes were read ahead. `told` sees what was agreed on.
pub(crate) async fn accept<T>(
    config: Arc<ServerConfig>,
    tcp: TcpStream,
    ahead: Bytes,
    told: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Tls, T)> {
    let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
    Handshake::new(session, tcp, ahead.into()).run(told).await
}

/// As tokio-rustls gives them, so that the reason is found again.
fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What rustls's two roles share.
trait Session {
    type Data;

    fn process<'c, 'i>(&'c mut self, read: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn agreed(&self) -> &CommonState;

    fn finish(self) -> Result<(ExtractedSecrets, Keys), Error>;
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, read: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(read)
    }

    fn agreed(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, keys) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Client(Box::new(keys))))
    }
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, read: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(read)
    }

    fn agreed(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, keys) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Server(Box::new(keys))))
    }
}

struct Handshake<S> {
    session: S,
    tcp: TcpStream,
    /// Read, and not understood yet.
    read: Vec<u8>,
    unsent: Vec<u8>,
    /// What the peer sent right behind its handshake.
    opened: Vec<u8>,
    /// The peer has also closed already.
    closed: bool,
}

/// What must be done before there can be more.
enum Step {
    Read,
    Write,
    Done,
}

impl<S: Session> Handshake<S> {
    fn new(session: S, tcp: TcpStream, read: Vec<u8>) -> Self {
        Self {
            session,
            tcp,
            read,
            unsent: Vec::new(),
            opened: Vec::new(),
            closed: false,
        }
    }

    async fn run<T>(mut self, told: impl FnOnce(&CommonState) -> T) -> io::Result<(Tls, T)> {
        loop {
            match self.step() {
                Ok(Step::Read) => self.read().await?,
                Ok(Step::Write) => self.write().await?,
                Ok(Step::Done) => break,
                Err(error) => {
                    self.gather_alert();
                    // The reason is the handshake's, also when the peer cannot be told.
                    let _ = self.write().await;
                    return Err(invalid(error));
                }
            }
        }
        let told = told(self.session.agreed());
        let (secrets, keys) = self.session.finish().map_err(invalid)?;
        let mut tls = Tls::new(self.tcp, secrets, keys).map_err(invalid)?;
        tls.begin(self.read, self.opened.into(), self.closed);
        Ok((tls, told))
    }

    fn step(&mut self) -> Result<Step, Error> {
        loop {
            let UnbufferedStatus { discard, state } = self.session.process(&mut self.read);
            let step = match state? {
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.unsent)?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    Some(Step::Write)
                }
                ConnectionState::BlockedHandshake => Some(Step::Read),
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        self.opened.extend_from_slice(record?.payload);
                    }
                    None
                }
                ConnectionState::PeerClosed => {
                    self.closed = true;
                    None
                }
                ConnectionState::WriteTraffic(_) => Some(Step::Done),
                _ => return Err(Error::General("the handshake has no such state".into())),
            };
            self.read.drain(..discard);
            match step {
                None => {}
                // A server may be allowed to speak before its client is known.
                Some(Step::Done) if self.session.agreed().is_handshaking() => {
                    return Ok(Step::Read);
                }
                Some(step) => return Ok(step),
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.read.len() >= MOST {
            return Err(invalid(Error::PeerSentOversizedRecord));
        }
        self.read.reserve(READ);
        match self.tcp.read_buf(&mut self.read).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer left during the TLS handshake",
            )),
            _ => Ok(()),
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        self.tcp.write_all(&self.unsent).await?;
        self.unsent.clear();
        Ok(())
    }

    /// What rustls wants the peer to be told. It has failed: it must not be shown more of the peer's.
    fn gather_alert(&mut self) {
        while self.session.agreed().wants_write() {
            let state = self.session.process(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(data)) = state else {
                return;
            };
            if encode(data, &mut self.unsent).is_err() {
                return;
            }
        }
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, unsent: &mut Vec<u8>) -> Result<(), Error> {
    let used = unsent.len();
    let required_size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        _ => 0,
    };
    unsent.resize(used + required_size, 0);
    data.encode(&mut unsent[used..])
        .map(drop)
        .map_err(|error| Error::General(error.to_string()))
}
