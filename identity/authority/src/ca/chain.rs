//! The certificates of an authority: the one that signs, what stands between, and the root that
//! everybody trusts, in this order. A root of our own is alone.
//!
//! What does not fit is refused by name: each certificate is looked at for what an authority must
//! have, and then a trial certificate is signed and checked as peers will check it, which finds the
//! rest (signatures, name constraints, usages).

use std::time::Duration;

use heddle_identity::{
    MeshTls, SpiffeId, TrustDomain,
    tls::{BACKDATED, parse_pem_bundle},
};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::at;

/// Deeper ones exist nowhere, and every handshake carries them.
const MAX_LENGTH: usize = 5;

pub(super) struct Chain {
    /// Never empty.
    certificates: Vec<CertificateDer<'static>>,
    not_after: UnixTime,
}

impl Chain {
    /// Of PEM; `key` is the key of the first.
    pub(super) fn parse(pem: &[u8], key: &KeyPair, domain: &TrustDomain) -> Result<Self, String> {
        let certificates = parse_pem_bundle(pem).map_err(|error| error.to_string())?;
        Self::new(certificates, key, domain)
    }

    /// Checks everything but the trial, which needs the key as well: [`Self::try_out`].
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        key: &KeyPair,
        domain: &TrustDomain,
    ) -> Result<Self, String> {
        if certificates.is_empty() {
            return Err("it holds no certificate".into());
        }
        if certificates.len() > MAX_LENGTH {
            return Err(format!("its chain is longer than {MAX_LENGTH}"));
        }
        let mut not_after = u64::MAX;
        for (below, der) in certificates.iter().enumerate() {
            let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
            if below == 0 && parsed.public_key().raw != key.subject_public_key_info() {
                return Err("the key beside it is of another certificate".into());
            }
            let ends =
                check(&parsed, below, domain).map_err(|reason| match certificates.len() {
                    1 => reason,
                    _ => format!("{} in its chain: {reason}", parsed.subject()),
                })?;
            not_after = not_after.min(ends);
        }
        Ok(Self {
            certificates,
            not_after: UnixTime::since_unix_epoch(Duration::from_secs(not_after)),
        })
    }

    /// Signs a certificate as for a workload, and checks it as a peer does.
    pub(super) fn try_out(
        &self,
        issuer: &Issuer<'static, KeyPair>,
        domain: &TrustDomain,
    ) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("a certificate that it signs is refused by peers: {error}")
        };
        let id = SpiffeId::for_service_account(domain, "trial", "trial")
            .map_err(|error| failed(&error))?;
        let (leaf, key) = trial(&id, issuer).map_err(|error| failed(&error))?;
        let tls = MeshTls::new(id);
        tls.set_roots(vec![self.anchor().clone()])
            .map_err(|error| failed(&error))?;
        let chain = [leaf].into_iter().chain(self.sent().iter().cloned());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        tls.set_credential(chain.collect(), key.into())
            .map_err(|error| failed(&heddle_identity::channel::explain(&error)))?;
        Ok(())
    }

    /// The one whose key signs.
    pub(super) fn signing(&self) -> &CertificateDer<'static> {
        &self.certificates[0]
    }

    /// What goes with every certificate, after it.
    pub(super) fn sent(&self) -> &[CertificateDer<'static>] {
        &self.certificates[..self.certificates.len() - 1]
    }

    /// What everybody trusts.
    pub(super) fn anchor(&self) -> &CertificateDer<'static> {
        &self.certificates[self.certificates.len() - 1]
    }

    pub(super) fn all(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// When the first of them ends.
    pub(super) fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

fn trial(
    id: &SpiffeId,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<(CertificateDer<'static>, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let now = UnixTime::now().as_secs();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    params.not_before = at(now - BACKDATED.as_secs());
    params.not_after = at(now + BACKDATED.as_secs());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok((params.signed_by(&key, issuer)?.der().clone(), key))
}

/// Can this certificate, with `below` others between it and a leaf, vouch for the trust domain?
/// Answers until when, in seconds since 1970.
fn check(
    certificate: &X509Certificate<'_>,
    below: usize,
    domain: &TrustDomain,
) -> Result<u64, String> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|error| error.to_string())?
        .map(|constraints| constraints.value);
    let Some(constraints) = constraints.filter(|constraints| constraints.ca) else {
        return Err("it is not a certificate of an authority (CA:TRUE is missing)".into());
    };
    if let Some(allowed) = constraints.path_len_constraint
        && usize::try_from(allowed).is_ok_and(|allowed| allowed < below)
    {
        return Err(format!(
            "its path length {allowed} allows no {below} authorities below it"
        ));
    }
    let usage = certificate.key_usage().map_err(|error| error.to_string())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key usage does not include certificate signing (keyCertSign)".into());
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let expected = format!("spiffe://{domain}");
    let other = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find(|name| {
            matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe://") && *uri != expected)
        });
    if let Some(other) = other {
        return Err(format!(
            "it is of another trust domain: {other} instead of {expected}"
        ));
    }
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let now = UnixTime::now().as_secs();
    let begins = seconds(certificate.validity().not_before.timestamp());
    if begins > now {
        return Err(format!(
            "it is not valid for another {} s; compare the clocks",
            begins - now
        ));
    }
    let ends = seconds(certificate.validity().not_after.timestamp());
    if ends <= now {
        return Err("it has expired; a new root must be made and distributed".into());
    }
    Ok(ends)
}
