//! A certificate with its key, checked to be ours before it is ever presented.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::{Refusal, State, leaf, provider, roots::Trust, verify};
use crate::SpiffeId;

/// What rustls says when the resolver has nothing for a server to present.
pub(super) const NOTHING_TO_PRESENT: &str = "no server certificate chain resolved";

/// Why a certificate cannot be presented.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The chain is empty.
    #[error("the certificate chain is empty")]
    Empty,
    /// It names somebody else.
    #[error("the certificate is for {got} and we are {own}")]
    NotOurs {
        /// Whose it is.
        got: SpiffeId,
        /// Who we are.
        own: SpiffeId,
    },
    /// The key cannot be used, or is of another certificate.
    #[error("the private key does not fit the certificate: {0}")]
    Key(rustls::Error),
    /// Peers would refuse it.
    #[error("peers would refuse our certificate: {0}")]
    Refused(Refusal),
}

/// How much earlier than the moment of issue a certificate is valid, for peers whose clocks are
/// behind.
pub const BACKDATED: Duration = Duration::from_secs(60);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: UnixTime,
    /// The last moment.
    pub not_after: UnixTime,
}

impl Validity {
    /// Is the certificate valid at `now`?
    pub fn holds_at(&self, now: UnixTime) -> bool {
        self.not_before.as_secs() <= now.as_secs() && now.as_secs() <= self.not_after.as_secs()
    }

    /// When both are.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// The last moment, as a wall-clock time.
    pub fn expires(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.not_after.as_secs())
    }
}

pub(super) struct Credential {
    pub(super) validity: Validity,
    pub(super) generation: u64,
    certified: Arc<CertifiedKey>,
}

impl Credential {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        own: &SpiffeId,
    ) -> Result<Self, CredentialError> {
        let first = chain.first().ok_or(CredentialError::Empty)?;
        let got = leaf::id_of(first, &own.own_trust_domain()).map_err(CredentialError::Refused)?;
        if got != *own {
            return Err(CredentialError::NotOurs {
                got,
                own: own.clone(),
            });
        }
        let validity = leaf::validity_of(first).map_err(CredentialError::Refused)?;
        let certified = CertifiedKey::from_der(chain, key, &provider::provider())
            .map_err(CredentialError::Key)?;
        Ok(Self {
            validity,
            generation: 0,
            certified: Arc::new(certified),
        })
    }

    /// Would a peer that trusts the same roots accept it in both directions?
    pub(super) fn check_against(
        &self,
        trust: &Trust,
        own: &SpiffeId,
    ) -> Result<(), CredentialError> {
        let Some((first, others)) = self.certified.cert.split_first() else {
            return Err(CredentialError::Empty);
        };
        for purpose in [verify::Purpose::Server, verify::Purpose::Client] {
            verify::chain(first, others, trust, purpose, UnixTime::now(), own)
                .map_err(CredentialError::Refused)?;
        }
        Ok(())
    }
}

/// Hands rustls the certificate of the moment.
pub(super) struct PresentOwn(Arc<State>);

impl PresentOwn {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0
            .credential
            .load()
            .as_ref()
            .map(|held| held.certified.clone())
    }
}

impl ResolvesServerCert for PresentOwn {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl ResolvesClientCert for PresentOwn {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current()
    }

    fn has_certs(&self) -> bool {
        self.0.credential.load().is_some()
    }
}

impl fmt::Debug for PresentOwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentOwn")
    }
}
