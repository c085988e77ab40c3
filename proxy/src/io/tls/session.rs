//! rustls's session in either role, one step at a time. It owns no buffer: it is shown what was
//! read, says how much of that it is done with, and has to be shown the rest again.

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// How things stand after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do with the same bytes.
    More,
    /// The handshake needs more of the peer's.
    Blocked,
    /// What was read is done with; anything may be sent.
    Ready,
    /// The peer has ended its side.
    Closed,
}

impl Session {
    pub(super) fn agreed(&self) -> &CommonState {
        match self {
            Session::Client(session) => session,
            Session::Server(session) => session,
        }
    }

    /// Takes a step; how many of the bytes are done with. What it must send goes behind `unsent`,
    /// what the peer said to `heard`.
    pub(super) fn step(
        &mut self,
        read: &mut [u8],
        unsent: &mut BytesMut,
        heard: impl FnMut(&[u8]),
    ) -> (usize, Result<Step, Error>) {
        match self {
            Session::Client(session) => advance(session.process_tls_records(read), unsent, heard),
            Session::Server(session) => advance(session.process_tls_records(read), unsent, heard),
        }
    }

    /// Seals for the peer, once the last step was [`Step::Ready`] with the same bytes; how much it
    /// became.
    pub(super) fn seal(
        &mut self,
        read: &mut [u8],
        content: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, Error> {
        match self {
            Session::Client(session) => traffic(session.process_tls_records(read), |t| {
                t.encrypt(content, wire)
            }),
            Session::Server(session) => traffic(session.process_tls_records(read), |t| {
                t.encrypt(content, wire)
            }),
        }
    }

    /// The same for the end.
    pub(super) fn seal_end(&mut self, read: &mut [u8], wire: &mut [u8]) -> Result<usize, Error> {
        match self {
            Session::Client(session) => traffic(session.process_tls_records(read), |t| {
                t.queue_close_notify(wire)
            }),
            Session::Server(session) => traffic(session.process_tls_records(read), |t| {
                t.queue_close_notify(wire)
            }),
        }
    }

    /// What the peer must be told after an error. The session is not shown what it failed over
    /// again, and says no more than it already has to.
    pub(super) fn last_words(&mut self, unsent: &mut BytesMut) {
        while self.agreed().wants_write() {
            if self.step(&mut [], unsent, |_| {}).1 != Ok(Step::More) {
                return;
            }
        }
    }
}

fn advance<D>(
    UnbufferedStatus { discard, state }: UnbufferedStatus<'_, '_, D>,
    unsent: &mut BytesMut,
    mut heard: impl FnMut(&[u8]),
) -> (usize, Result<Step, Error>) {
    let step = match state {
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent).map(|()| Step::More),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::More)
        }
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                Some(Ok(record)) => heard(record.payload),
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::More),
            }
        },
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Ready),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(_) => Err(Error::General("a state of TLS that is not known".into())),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, unsent: &mut BytesMut) -> Result<(), Error> {
    let sent = unsent.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    {
        unsent.resize(sent + required_size, 0);
        data.encode(&mut unsent[sent..])
            .map_err(|error| Error::General(error.to_string()))?;
    }
    Ok(())
}

fn traffic<D, E: ToString>(
    status: UnbufferedStatus<'_, '_, D>,
    write: impl FnOnce(&mut WriteTraffic<'_, D>) -> Result<usize, E>,
) -> Result<usize, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            write(&mut traffic).map_err(|error| Error::General(error.to_string()))
        }
        _ => Err(Error::General("TLS is not ready to send".into())),
    }
}
