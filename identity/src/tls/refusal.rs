//! Why a handshake was refused, in words for a log line.
//!
//! The verifiers make these; [`Refusal::of`] finds them again inside the error that rustls or
//! tokio-rustls reports, and puts every other handshake failure into the same words.

use std::{error::Error as StdError, io, sync::Arc};

use rustls::{AlertDescription, CertificateError, Error, OtherError};
use rustls_pki_types::UnixTime;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{SpiffeId, spiffe};

/// Why a peer, or its certificate, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its identity is of another trust domain.
    #[error("certificate of foreign trust domain {} ({id})", .id.trust_domain())]
    ForeignTrustDomain {
        /// Who came.
        id: SpiffeId,
    },
    /// Somebody else answered.
    #[error("expected {expected} got {got}")]
    OtherIdentity {
        /// Who should be there.
        expected: SpiffeId,
        /// Who is there.
        got: SpiffeId,
    },
    /// Its certificate has expired.
    #[error("certificate expired at {}", rfc3339(.0))]
    Expired(UnixTime),
    /// Its certificate is not valid yet.
    #[error("certificate not valid before {}; compare the clocks of both machines", rfc3339(.0))]
    NotYetValid(UnixTime),
    /// No root in use has signed its certificate.
    #[error(
        "certificate that claims {0} is signed by an authority that is not in our trust bundle; compare it with the \
         identity service's (in a cluster: `heddle check --cluster`)"
    )]
    UnknownAuthority(SpiffeId),
    /// The certificate has no URI name.
    #[error("certificate has no SPIFFE id: no URI among its subject alternative names")]
    NoUri,
    /// It has several.
    #[error("certificate has {0} URIs among its subject alternative names; exactly one is allowed")]
    ManyUris(usize),
    /// The URI is not a SPIFFE id.
    #[error("certificate names {uri:?}, which is no SPIFFE id: {reason}")]
    BadUri {
        /// What it names.
        uri: String,
        /// What is wrong with it.
        reason: spiffe::ParseError,
    },
    /// It may sign certificates, so it cannot identify a workload.
    #[error("certificate may sign others; a workload's may not")]
    SigningCertificate,
    /// Extended key usage.
    #[error("certificate is not for TLS {0} authentication (extended key usage)")]
    WrongPurpose(&'static str),
    /// It cannot be read.
    #[error("certificate is malformed: {0}")]
    Malformed(String),
    /// Another defect of the chain.
    #[error("certificate chain is not acceptable: {0}")]
    BadChain(String),
    /// We trust nobody yet.
    #[error("our trust bundle is empty: no peer can be verified yet")]
    NoRoots,
    /// The peer showed no certificate.
    #[error("peer presented no certificate")]
    NoCertificate,
    /// We have nothing to show.
    #[error("we have no certificate of our own yet")]
    NoOwnCertificate,
    /// The peer refused us.
    #[error("peer refused us with the TLS alert {0}")]
    ByPeer(String),
    /// The peer does not speak TLS.
    #[error("peer does not speak TLS")]
    NotTls,
    /// Any other failure of the handshake.
    #[error("{0}")]
    Handshake(String),
}

impl Refusal {
    /// What a failed handshake, as tokio-rustls reports it, was about. `None` when it was about
    /// the network and not about the peer.
    pub fn of(error: &io::Error) -> Option<Self> {
        let mut source: Option<&(dyn StdError + 'static)> = error
            .get_ref()
            .map(|inner| inner as &(dyn StdError + 'static));
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<Error>() {
                return Some(Self::of_tls(error));
            }
            source = error.source();
        }
        None
    }

    /// Whether what failed was asked over a connection whose peer does not accept our certificate. In
    /// TLS 1.3 a client hears of that only after its handshake, so that it is deep in the error of
    /// whatever it asked first; and h2 keeps no more of it than its words.
    pub fn is_of_our_certificate(error: &(dyn StdError + 'static)) -> bool {
        let alerts = [
            AlertDescription::BadCertificate,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnknownCA,
        ];
        let words = alerts.map(|alert| Error::AlertReceived(alert).to_string());
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref().and_then(io::Error::get_ref);
            if inner.is_some_and(|inner| words.contains(&inner.to_string())) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// What an error of rustls was about.
    pub fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) | Error::Other(other) => {
                other
                    .0
                    .downcast_ref::<Self>()
                    .cloned()
                    .unwrap_or_else(|| Self::Handshake(other.to_string()))
            }
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                Self::Expired(*not_after)
            }
            Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before, ..
            }) => Self::NotYetValid(*not_before),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::NoOwnCertificate,
            Error::AlertReceived(alert) => Self::ByPeer(format!("{alert:?}")),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::General(text) if text == super::credential::NOTHING_TO_PRESENT => {
                Self::NoOwnCertificate
            }
            other => Self::Handshake(other.to_string()),
        }
    }

    pub(super) fn of_chain(
        error: webpki::Error,
        claimed: &SpiffeId,
        purpose: &'static str,
    ) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Self::Expired(not_after),
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid(not_before),
            // A root of ours by name whose key did not sign it is a stranger all the same.
            E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
                Self::UnknownAuthority(claimed.clone())
            }
            E::CaUsedAsEndEntity => Self::SigningCertificate,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::WrongPurpose(purpose),
            other => Self::BadChain(other.to_string()),
        }
    }

    /// As rustls takes it. Where TLS has an alert of its own for the case, the peer gets that.
    pub(super) fn into_tls(self) -> Error {
        let time = UnixTime::now();
        Error::InvalidCertificate(match self {
            Self::Expired(not_after) => CertificateError::ExpiredContext { time, not_after },
            Self::NotYetValid(not_before) => {
                CertificateError::NotValidYetContext { time, not_before }
            }
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}

/// A time as people and log stores read it, for example `2026-11-21T07:55:25Z`.
pub fn rfc3339(time: &UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", time.as_secs()))
}
