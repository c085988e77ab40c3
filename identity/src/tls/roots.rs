//! The roots a workload trusts, ready for path building, and their PEM form.
//!
//! All or nothing: one certificate that cannot be a root refuses the whole list, so a half-written
//! bundle never replaces a good one. An empty list is refused too.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use super::known::Known;

/// Most roots in a bundle. Overlapping rotations need two or three.
pub const MAX_ROOTS: usize = 64;

/// Why a list of roots was refused.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There is none.
    #[error("the trust bundle holds no certificate")]
    Empty,
    /// There are more than [`MAX_ROOTS`].
    #[error("the trust bundle holds {0} certificates; at most {MAX_ROOTS} are allowed")]
    TooMany(usize),
    /// One of them cannot be a root.
    #[error("certificate {0} of the trust bundle cannot be a root: {1}")]
    Bad(usize, webpki::Error),
    /// The PEM text is broken.
    #[error("the trust bundle is not PEM: {0}")]
    Pem(rustls_pki_types::pem::Error),
}

pub(super) struct Trust {
    certificates: Arc<[CertificateDer<'static>]>,
    anchors: Vec<TrustAnchor<'static>>,
    known: Known,
}

impl Trust {
    pub(super) fn none() -> Self {
        Self {
            certificates: Arc::from([]),
            anchors: Vec::new(),
            known: Known::default(),
        }
    }

    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, RootsError> {
        match certificates.len() {
            0 => return Err(RootsError::Empty),
            count if count > MAX_ROOTS => return Err(RootsError::TooMany(count)),
            _ => {}
        }
        let anchors = certificates
            .iter()
            .enumerate()
            .map(|(index, certificate)| {
                webpki::anchor_from_trusted_cert(certificate)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|error| RootsError::Bad(index + 1, error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            certificates: certificates.into(),
            anchors,
            known: Known::default(),
        })
    }

    pub(super) fn certificates(&self) -> Arc<[CertificateDer<'static>]> {
        self.certificates.clone()
    }

    /// The first alone.
    pub(super) fn first(&self) -> Option<Self> {
        Some(Self {
            certificates: self.certificates.get(..1)?.into(),
            anchors: self.anchors.get(..1)?.to_vec(),
            known: Known::default(),
        })
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The chains that these roots have vouched for.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }
}

/// Reads a PEM bundle. Text between the certificates is skipped.
///
/// # Errors
/// When it is not PEM, or holds no certificate or too many, or one that cannot be a root.
pub fn parse_pem_bundle(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(RootsError::Pem)?;
    Trust::new(certificates.clone())?;
    Ok(certificates)
}

/// Writes a PEM bundle.
pub fn to_pem_bundle<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> String {
    certificates
        .into_iter()
        .map(|der| to_pem("CERTIFICATE", der))
        .collect()
}

/// One PEM block (RFC 7468: lines of 64 characters).
pub fn to_pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use std::fmt::Write as _;

    let mut pem = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(pem, "-----END {label}-----");
    pem
}
