//! TLS 1.3 records (RFC 8446 §5): found in what was read, sealed and opened from one buffer into
//! another, each under its own number. Nothing here is allocated.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{Iv, Nonce};
use rustls::{AlertDescription, ConnectionTrafficSecrets};

/// Most bytes that a record carries.
pub(crate) const PLAIN: usize = 16 * 1024;
/// What a record adds to them: header, type, tag.
pub(crate) const OVERHEAD: usize = HEADER + 1 + TAG;
/// A record that changes the sender's keys.
pub(crate) const KEY_UPDATE: usize = OVERHEAD + 5;

const HEADER: usize = 5;
const TAG: usize = 16;
/// Most bytes behind a header: the type, the tag, and padding may add so many.
const MOST: usize = PLAIN + 256;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

/// What a peer did that ends its connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the peer sent a TLS record that the connection's keys do not open")]
    Unopened,
    #[error("the peer sent a TLS record longer than TLS allows")]
    Oversized,
    #[error("the peer sent a TLS message that has no place after the handshake")]
    Unexpected,
    #[error("the peer sent a malformed TLS message")]
    Malformed,
    #[error("the peer sent too many TLS records in a row that carry nothing")]
    Idle,
    #[error("{0}")]
    Alert(#[source] rustls::Error),
    #[error("cannot renew the keys of a TLS connection: {0}")]
    Keys(#[source] rustls::Error),
}

impl Fault {
    /// What the peer is told, unless it was the one to tell.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        match self {
            Fault::Unopened => Some(AlertDescription::BadRecordMac),
            Fault::Oversized => Some(AlertDescription::RecordOverflow),
            Fault::Unexpected | Fault::Idle => Some(AlertDescription::UnexpectedMessage),
            Fault::Malformed => Some(AlertDescription::DecodeError),
            Fault::Keys(_) => Some(AlertDescription::InternalError),
            Fault::Alert(_) => None,
        }
    }
}

/// The length of the record that bytes begin with; `None`: more of it must come.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    match *bytes {
        [kind, ..] if kind != Kind::Data as u8 => Err(Fault::Unexpected),
        [_, _, _, high, low, ref body @ ..] => match usize::from(u16::from_be_bytes([high, low])) {
            0..=TAG => Err(Fault::Unopened),
            length if length > MOST => Err(Fault::Oversized),
            length if length > body.len() => Ok(None),
            length => Ok(Some(HEADER + length)),
        },
        _ => Ok(None),
    }
}

/// Whether bytes may be the beginning of a record, and no more than that.
pub(super) fn is_partial(bytes: &[u8]) -> bool {
    bytes.is_empty() || matches!(length(bytes), Ok(None))
}

/// One direction's key, and how many records it has sealed or opened.
pub(super) struct Cipher {
    key: LessSafeKey,
    iv: Iv,
    number: u64,
}

impl Cipher {
    pub(super) fn new(
        (number, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(rustls::Error::General("a cipher that is not known".into())),
        };
        let key = UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| rustls::Error::General("a key of the wrong length".into()))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv,
            number,
        })
    }

    /// How many records this key has protected.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Each is used once: the number goes up with it.
    fn nonce(&mut self) -> aead::Nonce {
        let nonce = Nonce::new(&self.iv, self.number);
        self.number += 1;
        aead::Nonce::assume_unique_for_key(nonce.0)
    }

    /// Seals at most [`PLAIN`] bytes as one record at the front of `wire`; how long it is.
    pub(super) fn seal(
        &mut self,
        kind: Kind,
        content: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, rustls::Error> {
        let length = content.len() + 1 + TAG;
        let [high, low] = (length as u16).to_be_bytes();
        let header = [Kind::Data as u8, 3, 3, high, low];
        let (front, body) = wire[..HEADER + length].split_at_mut(HEADER);
        front.copy_from_slice(&header);
        let (sealed, end) = body.split_at_mut(content.len());
        let nonce = self.nonce();
        self.key
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                content,
                sealed,
                &[kind as u8],
                end,
            )
            .map_err(|_| rustls::Error::EncryptError)?;
        Ok(HEADER + length)
    }

    /// Opens a whole record to the front of `plain`; what it carries, and how much of it.
    pub(super) fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<(Kind, usize), Fault> {
        let (header, body) = record
            .split_first_chunk::<HEADER>()
            .ok_or(Fault::Unopened)?;
        let (sealed, tag) = body.split_last_chunk::<TAG>().ok_or(Fault::Unopened)?;
        let inner = &mut plain[..sealed.len()];
        let nonce = self.nonce();
        self.key
            .open_separate_gather(nonce, Aad::from(*header), sealed, tag, inner)
            .map_err(|_| Fault::Unopened)?;
        // The type is the last byte that is not padding.
        let size = inner.iter().rposition(|&byte| byte != 0);
        let size = size.ok_or(Fault::Unexpected)?;
        let kind = match inner[size] {
            21 => Kind::Alert,
            22 => Kind::Handshake,
            23 => Kind::Data,
            _ => return Err(Fault::Unexpected),
        };
        if size > PLAIN {
            return Err(Fault::Oversized);
        }
        Ok((kind, size))
    }
}
