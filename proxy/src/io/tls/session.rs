//! rustls's session in either role, one step at a time. It owns no buffer: it is shown what was
//! read, says how much of that it is done with, and has to be shown the rest again.

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What is to be sealed.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Content(&'a [u8]),
    /// `close_notify`.
    End,
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

    /// Seals for the peer; how many of the bytes are done with, and how much it became. `None`: that
    /// was a step that had to be taken first. The bytes are those that the session is not done with.
    pub(super) fn seal(
        &mut self,
        read: &mut [u8],
        unsent: &mut BytesMut,
        what: What<'_>,
        wire: &mut [u8],
    ) -> (usize, Result<Option<usize>, Error>) {
        match self {
            Session::Client(session) => {
                write(session.process_tls_records(read), unsent, what, wire)
            }
            Session::Server(session) => {
                write(session.process_tls_records(read), unsent, what, wire)
            }
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

fn write<D>(
    UnbufferedStatus { discard, state }: UnbufferedStatus<'_, '_, D>,
    unsent: &mut BytesMut,
    what: What<'_>,
    wire: &mut [u8],
) -> (usize, Result<Option<usize>, Error>) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
        let sealed = match what {
            What::Content(content) => traffic.encrypt(content, wire),
            What::End => traffic.queue_close_notify(wire),
        };
        let sealed = sealed.map_err(|error| Error::General(error.to_string()));
        return (discard, sealed.map(Some));
    }
    // What was read last was done with as far as it can be, so nothing can be heard here; if it
    // were, it would be lost.
    let mut lost = false;
    let heard = |said: &[u8]| lost |= !said.is_empty();
    let (done, step) = advance(UnbufferedStatus { discard, state }, unsent, heard);
    let sealed = match step {
        _ if lost => Err(Error::General("TLS opened a record out of turn".into())),
        Ok(Step::More) => Ok(None),
        Ok(step) => Err(Error::General(format!("TLS is {step:?} and cannot send"))),
        Err(error) => Err(error),
    };
    (done, sealed)
}
