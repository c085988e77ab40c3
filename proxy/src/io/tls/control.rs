//! What TLS says to itself after the handshake (RFC 8446 §4.6, §6): closing, alerts, new keys. All
//! else is refused, and so is a peer that does nothing but that.

use std::{io, mem};

use rustls::AlertDescription;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

use super::Tls;
use super::record::{self, Cipher, Fault, Kind};

/// Records in a row that may carry nothing (BoringSSL's bounds of empty records and of changes of
/// keys).
const MOST_IDLE: u8 = 32;
/// Most bytes of a message.
const MOST: usize = 64 * 1024;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Whether more may come.
pub(super) enum Incoming {
    Open,
    Closed,
    Broken(Why),
}

/// Why not.
pub(super) struct Why(Option<io::Error>);

impl Why {
    /// The whole reason for who asks first.
    pub(super) fn again(&mut self) -> io::Error {
        self.0
            .take()
            .unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

/// From which rustls makes the next keys.
pub(crate) enum Keys {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

impl Keys {
    /// How many records one key may seal.
    pub(super) fn limit(&self) -> u64 {
        let suite = match self {
            Keys::Client(keys) => keys.negotiated_cipher_suite(),
            Keys::Server(keys) => keys.negotiated_cipher_suite(),
        };
        suite
            .tls13()
            .map_or(0, |suite| suite.common.confidentiality_limit)
    }

    pub(super) fn opener(&mut self) -> Result<Cipher, rustls::Error> {
        Cipher::new(match self {
            Keys::Client(keys) => keys.update_rx_secret(),
            Keys::Server(keys) => keys.update_rx_secret(),
        }?)
    }

    pub(super) fn sealer(&mut self) -> Result<Cipher, rustls::Error> {
        Cipher::new(match self {
            Keys::Client(keys) => keys.update_tx_secret(),
            Keys::Server(keys) => keys.update_tx_secret(),
        }?)
    }
}

impl Tls {
    /// Opens the first record, if it is whole, and does what it says; how long it was, and how many
    /// bytes it carried for the reader.
    pub(super) fn open_next(
        &mut self,
        wire: &[u8],
        plain: &mut [u8],
    ) -> Result<Option<(usize, usize)>, Fault> {
        let Some(length) = record::length(wire)? else {
            return Ok(None);
        };
        let (kind, size) = self.opener.open(&wire[..length], plain)?;
        if kind != Kind::Handshake && !self.message.is_empty() {
            return Err(Fault::Unexpected);
        }
        if kind == Kind::Data && size > 0 {
            self.idle = 0;
            return Ok(Some((length, size)));
        }
        if self.idle == MOST_IDLE {
            return Err(Fault::Idle);
        }
        self.idle += 1;
        match kind {
            Kind::Data => {}
            Kind::Alert => self.heed_alert(&plain[..size])?,
            Kind::Handshake => self.heed_messages(&plain[..size])?,
        }
        Ok(Some((length, 0)))
    }

    fn heed_alert(&mut self, alert: &[u8]) -> Result<(), Fault> {
        let &[_, description] = alert else {
            return Err(Fault::Malformed);
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => self.incoming = Incoming::Closed,
            // Comes before a close, and says nothing.
            AlertDescription::UserCanceled => {}
            other => return Err(Fault::Alert(rustls::Error::AlertReceived(other))),
        }
        Ok(())
    }

    fn heed_messages(&mut self, part: &[u8]) -> Result<(), Fault> {
        let mut messages = mem::take(&mut self.message);
        messages.extend_from_slice(part);
        let mut rest = &messages[..];
        while let [kind, high, middle, low, ref behind @ ..] = *rest {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MOST {
                return Err(Fault::Malformed);
            }
            let Some((body, behind)) = behind.split_at_checked(length) else {
                break;
            };
            match (kind, body) {
                (KEY_UPDATE, [asked @ (0 | 1)]) => {
                    if !behind.is_empty() {
                        return Err(Fault::Unexpected);
                    }
                    self.rekey |= *asked == 1;
                    self.opener = self.keys.opener().map_err(Fault::Keys)?;
                }
                (KEY_UPDATE, _) => return Err(Fault::Malformed),
                // Each connection proves both identities anew.
                (NEW_SESSION_TICKET, _) if matches!(self.keys, Keys::Client(_)) => {}
                _ => return Err(Fault::Unexpected),
            }
            rest = behind;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    /// Seals with new keys from now on, and says so under the old; how long that is.
    pub(super) fn renew(&mut self, wire: &mut [u8]) -> io::Result<usize> {
        let update = [KEY_UPDATE, 0, 0, 1, 0];
        let said = self.sealer.seal(Kind::Handshake, &update, wire);
        let said = said.map_err(io::Error::other)?;
        self.sealer = self.keys.sealer().map_err(io::Error::other)?;
        self.rekey = false;
        Ok(said)
    }

    pub(super) fn give_up(&mut self, fault: Fault) {
        if let Some(alert) = fault.alert() {
            const FATAL: u8 = 2;
            self.say_last(FATAL, alert);
        }
        self.over = true;
        let error = io::Error::new(io::ErrorKind::InvalidData, fault);
        self.incoming = Incoming::Broken(Why(Some(error)));
    }

    pub(super) fn say_goodbye(&mut self) {
        const WARNING: u8 = 1;
        self.say_last(WARNING, AlertDescription::CloseNotify);
    }

    fn say_last(&mut self, level: u8, alert: AlertDescription) {
        if self.over {
            return;
        }
        self.over = true;
        let mut wire = [0; record::OVERHEAD + 2];
        let alert = [level, alert.into()];
        if let Ok(length) = self.sealer.seal(Kind::Alert, &alert, &mut wire) {
            self.unsent.extend_from_slice(&wire[..length]);
        }
    }
}
