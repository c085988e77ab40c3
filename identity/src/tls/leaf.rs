//! Reading a SPIFFE id out of a leaf certificate.
//!
//! Stricter than name matching in browsers: exactly one URI name counts, and names that cannot be
//! read count too, so nothing can hide a second identity.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{Refusal, Validity};
use crate::{SpiffeId, TrustDomain};

/// Context tag of a URI among general names (RFC 5280, 4.2.1.6).
const URI_TAG: u32 = 6;

/// The identity a certificate claims, when it is of `domain`. The chain is not checked here.
pub(super) fn id_of(leaf: &CertificateDer<'_>, domain: &TrustDomain) -> Result<SpiffeId, Refusal> {
    let certificate = parse(leaf)?;
    let id = claimed_id(&certificate)?;
    if !id.is_of(domain) {
        return Err(Refusal::ForeignTrustDomain { id });
    }
    let signs = match certificate.key_usage() {
        Ok(usage) => {
            usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign())
        }
        Err(error) => return Err(Refusal::Malformed(error.to_string())),
    };
    if signs || certificate.is_ca() {
        return Err(Refusal::SigningCertificate);
    }
    Ok(id)
}

/// From when until when a certificate is valid.
pub(super) fn validity_of(leaf: &CertificateDer<'_>) -> Result<Validity, Refusal> {
    let certificate = parse(leaf)?;
    let seconds = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    Ok(Validity {
        not_before: seconds(certificate.validity().not_before),
        not_after: seconds(certificate.validity().not_after),
    })
}

fn parse<'a>(leaf: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    match X509Certificate::from_der(leaf) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Refusal::Malformed("bytes follow it".into())),
        Err(error) => Err(Refusal::Malformed(error.to_string())),
    }
}

fn claimed_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, Refusal> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| Refusal::Malformed(format!("subject alternative names: {error}")))?
        .ok_or(Refusal::NoUri)?;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            GeneralName::Invalid(tag, bytes) if tag.0 == URI_TAG => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        });
    let uri = uris.next().ok_or(Refusal::NoUri)?;
    match uris.count() {
        0 => {}
        more => return Err(Refusal::ManyUris(more + 1)),
    }
    uri.parse().map_err(|reason| Refusal::BadUri {
        uri: uri.chars().take(256).collect(),
        reason,
    })
}
