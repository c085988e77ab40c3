//! The root key and certificate, in two files of one directory.
//!
//! Made once and used again for ever after. Anything doubtful (one file without the other, a key
//! that others can read or that does not fit, another trust domain, an expired root) is refused
//! with what to do about it: replacing a root on a guess would cut off every workload.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use tracing::info;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{BACKDATED, at, random_serial};
use crate::{
    TrustDomain,
    private_file::{self, FileError, PUBLIC, SECRET},
    tls::to_pem_bundle,
};

const KEY_FILE: &str = "root-key.pem";
const CERTIFICATE_FILE: &str = "root-cert.pem";
const LOCK_FILE: &str = "lock";
/// A P-256 key and its certificate take less than 1 KiB each.
const MAX_BYTES: u64 = 64 * 1024;
/// Ten years.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why there is no root to sign with.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The directory cannot be used.
    #[error("cannot use {} as the data directory: {}", .0.display(), .1)]
    Directory(PathBuf, io::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// One file is there without the other.
    #[error(
        "{} exists but {} does not: the root is incomplete. Restore the missing file from a backup; \
         if no certificate was ever issued from it, remove both and start again",
        .present.display(), .missing.display()
    )]
    Incomplete {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// The key is not a P-256 key in PEM.
    #[error("{} is not a P-256 private key in PEM (PKCS #8): {}. Restore it from a backup", .0.display(), .1)]
    Key(PathBuf, String),
    /// The certificate is not one that can sign for us.
    #[error("{} is not usable as our root certificate: {}. Restore it from a backup", .0.display(), .1)]
    Certificate(PathBuf, String),
    /// Making one failed.
    #[error("cannot make a root")]
    Make(#[from] rcgen::Error),
}

pub(super) struct Root {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    not_after: UnixTime,
}

impl Root {
    pub(super) fn load_or_create(
        directory: &Path,
        domain: &TrustDomain,
    ) -> Result<Self, RootError> {
        let unusable = |error| RootError::Directory(directory.to_owned(), error);
        fs::create_dir_all(directory).map_err(unusable)?;
        // Two services that start on one directory at once must not make two roots.
        let lock = File::create(directory.join(LOCK_FILE)).map_err(unusable)?;
        lock.lock().map_err(unusable)?;

        let key_file = directory.join(KEY_FILE);
        let certificate_file = directory.join(CERTIFICATE_FILE);
        let exists = |path: &Path| path.try_exists().map_err(unusable);
        match (exists(&key_file)?, exists(&certificate_file)?) {
            (false, false) => Self::create(&key_file, &certificate_file, domain)?,
            (true, true) => {}
            (true, false) => {
                return Err(RootError::Incomplete {
                    present: key_file,
                    missing: certificate_file,
                });
            }
            (false, true) => {
                return Err(RootError::Incomplete {
                    present: certificate_file,
                    missing: key_file,
                });
            }
        }
        // A new root goes the way of an old one, so what was written is known to be readable.
        Self::load(&key_file, &certificate_file, domain)
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn not_after(&self) -> UnixTime {
        self.not_after
    }

    fn create(
        key_file: &Path,
        certificate_file: &Path,
        domain: &TrustDomain,
    ) -> Result<(), RootError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let now = UnixTime::now().as_secs();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Heddle");
        params.distinguished_name.push(DnType::CommonName, "root");
        params.subject_alt_names = vec![SanType::URI(
            format!("spiffe://{domain}").as_str().try_into()?,
        )];
        params.not_before = at(now - BACKDATED.as_secs());
        params.not_after = at(now + LIFETIME.as_secs());
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;

        private_file::write(key_file, key.serialize_pem().as_bytes(), SECRET)?;
        private_file::write(
            certificate_file,
            to_pem_bundle([certificate.der()]).as_bytes(),
            PUBLIC,
        )?;
        info!(file = %certificate_file.display(), trust_domain = %domain, "made a new root");
        Ok(())
    }

    fn load(
        key_file: &Path,
        certificate_file: &Path,
        domain: &TrustDomain,
    ) -> Result<Self, RootError> {
        let bad_key = |reason: String| RootError::Key(key_file.to_owned(), reason);
        let pem = private_file::read_secret(key_file, MAX_BYTES)?;
        let pem = String::from_utf8(pem).map_err(|_| bad_key("it is not text".into()))?;
        let key = KeyPair::from_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| bad_key(error.to_string()))?;

        let bad = |reason: String| RootError::Certificate(certificate_file.to_owned(), reason);
        let pem = private_file::read(certificate_file, MAX_BYTES)?;
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|error| bad(error.to_string()))?;
        let not_after = check(&certificate, &key, domain).map_err(bad)?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            issuer,
            certificate,
            not_after,
        })
    }
}

/// Can this certificate, with this key, sign for the trust domain? Answers until when.
fn check(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
    domain: &TrustDomain,
) -> Result<UnixTime, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err("the key beside it is of another certificate".into());
    }
    if !parsed.is_ca() {
        return Err("it is not a certificate of an authority".into());
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let expected = format!("spiffe://{domain}");
    let other = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find(|name| matches!(name, GeneralName::URI(uri) if *uri != expected));
    if let Some(other) = other {
        return Err(format!(
            "it is of another trust domain: {other} instead of {expected}"
        ));
    }
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let not_after = UnixTime::since_unix_epoch(Duration::from_secs(not_after));
    if not_after.as_secs() <= UnixTime::now().as_secs() {
        return Err("it has expired; a new root must be made and distributed".into());
    }
    Ok(not_after)
}
