//! A signing key and its certificates: those that sign now, in two files of one directory, or those
//! that are announced, in one file. Ours is a root by itself; one that was brought along may be an
//! intermediate with its chain.
//!
//! Made once and used until it is rotated out. Anything doubtful (one file without the other, a key
//! that others can read or that does not fit, another trust domain, an expired root) is refused
//! with what to do about it: replacing a root on a guess would cut off every workload.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use tracing::info;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{at, chain::Chain, mirror, random_serial};
use heddle_identity::{
    TrustDomain,
    private_file::{self, FileError, PUBLIC, SECRET},
    tls::{BACKDATED, to_pem, to_pem_bundle},
};

pub(super) const KEY_FILE: &str = "root-key.pem";
pub(super) const CERTIFICATE_FILE: &str = "root-cert.pem";
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
    /// The key is not one that can sign for us.
    #[error("{} is not a private key in PEM (P-256, P-384 or RSA): {}. Restore it from a backup", .0.display(), .1)]
    Key(PathBuf, String),
    /// The certificate is not one that can sign for us.
    #[error("{} is not usable as our root certificate: {}. Restore it from a backup", .0.display(), .1)]
    Certificate(PathBuf, String),
    /// What was brought along does not fit.
    #[error("the certificate authority in {} cannot be used: {}", .0.display(), .1)]
    Brought(PathBuf, String),
    /// Making one failed.
    #[error("cannot make a root")]
    Make(#[from] rcgen::Error),
    /// A rotation has not come to its end.
    #[error(
        "{} exists: a root is announced already and begins to sign when its time has come. To call \
         it off, remove the file before",
        .0.display()
    )]
    UnderWay(PathBuf),
    /// Too many roots that no longer sign.
    #[error("{0} retired roots are still trusted; drop them before another is announced")]
    Retired(usize),
    /// There is nothing to rotate.
    #[error("{} holds no root yet: start the identity service on it once", .0.display())]
    None(PathBuf),
}

pub(super) struct Root {
    issuer: Issuer<'static, KeyPair>,
    chain: Chain,
    /// What kind of PEM the key is.
    key_label: &'static str,
}

impl Root {
    /// The root that signs; made when there is none.
    pub(super) fn load_or_create(
        directory: &Path,
        domain: &TrustDomain,
    ) -> Result<Self, RootError> {
        let files = Files::of(directory);
        if files.exist()? == (false, false) {
            let (key, certificate) = Self::make(domain)?;
            files.write(&key, &certificate)?;
            info!(file = %files.certificate.display(), trust_domain = %domain, "made a new root");
        }
        // A new root goes the way of an old one, so what was written is known to be readable.
        Self::load(directory, domain)
    }

    /// The root that signs.
    pub(super) fn load(directory: &Path, domain: &TrustDomain) -> Result<Self, RootError> {
        let files = Files::of(directory);
        let (present, missing) = match files.exist()? {
            (true, true) => {
                let key = private_file::read_secret(&files.key, MAX_BYTES)?;
                let certificate = private_file::read(&files.certificate, MAX_BYTES)?;
                let certificate = (files.certificate.as_path(), &*certificate);
                return Self::parse((&files.key, &key), certificate, domain);
            }
            (false, false) => return Err(RootError::None(directory.to_owned())),
            (true, false) => (files.key, files.certificate),
            (false, true) => (files.certificate, files.key),
        };
        Err(RootError::Incomplete { present, missing })
    }

    /// The root that signs, of a directory's files.
    pub(super) fn of_files(files: &mirror::Files, domain: &TrustDomain) -> Result<Self, RootError> {
        let file = |name: &'static str| {
            let content = files.get(name).map(Vec::as_slice).unwrap_or_default();
            (Path::new(name), content)
        };
        Self::parse(file(KEY_FILE), file(CERTIFICATE_FILE), domain)
    }

    /// A root whose key and certificate are in one file.
    pub(super) fn load_pair(file: &Path, domain: &TrustDomain) -> Result<Self, RootError> {
        let pem = private_file::read_secret(file, MAX_BYTES)?;
        Self::parse((file, &pem), (file, &pem), domain)
    }

    /// Makes a root in one file.
    pub(super) fn make_pair(file: &Path, domain: &TrustDomain) -> Result<(), RootError> {
        let (key, certificate) = Self::make(domain)?;
        let pair = key + &certificate;
        Ok(private_file::write(file, pair.as_bytes(), SECRET)?)
    }

    /// Puts this root where the one that signs is; what was there is gone.
    pub(super) fn write_as_signing(&self, directory: &Path) -> Result<(), RootError> {
        Files::of(directory).write(&self.key_pem(), &to_pem_bundle(self.chain.all()))
    }

    /// Announces this root: puts it where [`Self::load_pair`] finds it.
    pub(super) fn write_pair(&self, file: &Path) -> Result<(), RootError> {
        let pair = self.key_pem() + &to_pem_bundle(self.chain.all());
        Ok(private_file::write(file, pair.as_bytes(), SECRET)?)
    }

    fn key_pem(&self) -> String {
        to_pem(self.key_label, self.issuer.key().serialized_der())
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// What everybody trusts.
    pub(super) fn anchor(&self) -> &CertificateDer<'static> {
        self.chain.anchor()
    }

    /// What goes with every certificate that it signs.
    pub(super) fn sent(&self) -> &[CertificateDer<'static>] {
        self.chain.sent()
    }

    /// Is it the same authority, with the same certificates?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.chain.all() == other.chain.all()
    }

    /// The first digits of its serial number.
    pub(super) fn serial(&self) -> String {
        let parsed = X509Certificate::from_der(self.chain.signing());
        let serial = parsed.map(|(_, parsed)| parsed.raw_serial().to_vec());
        // What was parsed when it was loaded is parsed now.
        let serial = serial.unwrap_or_default();
        serial
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(super) fn not_after(&self) -> UnixTime {
        self.chain.not_after()
    }

    /// Key and certificate of a new one, PEM.
    fn make(domain: &TrustDomain) -> Result<(String, String), RootError> {
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
        Ok((key.serialize_pem(), to_pem_bundle([certificate.der()])))
    }

    /// Of PEM, each with the file that it is from.
    fn parse(
        (key_file, key): (&Path, &[u8]),
        (certificate_file, certificate): (&Path, &[u8]),
        domain: &TrustDomain,
    ) -> Result<Self, RootError> {
        let (key, key_label) =
            signing_key(key).map_err(|reason| RootError::Key(key_file.to_owned(), reason))?;
        let bad = |reason: String| RootError::Certificate(certificate_file.to_owned(), reason);
        let chain = Chain::parse(certificate, &key, domain).map_err(bad)?;
        Self::new(chain, (key, key_label), domain).map_err(bad)
    }

    /// Of what was checked, tried out.
    pub(super) fn new(
        chain: Chain,
        (key, key_label): (KeyPair, &'static str),
        domain: &TrustDomain,
    ) -> Result<Self, String> {
        let issuer =
            Issuer::from_ca_cert_der(chain.signing(), key).map_err(|error| error.to_string())?;
        chain.try_out(&issuer, domain)?;
        Ok(Self {
            issuer,
            chain,
            key_label,
        })
    }
}

/// A key in PEM, and what kind of PEM it is.
pub(super) fn signing_key(pem: &[u8]) -> Result<(KeyPair, &'static str), String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let label = match &key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_RSA_SHA256,
    ]
    .into_iter()
    .find_map(|algorithm| KeyPair::from_der_and_sign_algo(&key, algorithm).ok())
    .map(|key| (key, label))
    .ok_or_else(|| "it is of another kind".to_owned())
}

/// Where the root that signs is.
struct Files {
    key: PathBuf,
    certificate: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        Self {
            key: directory.join(KEY_FILE),
            certificate: directory.join(CERTIFICATE_FILE),
        }
    }

    fn exist(&self) -> Result<(bool, bool), RootError> {
        let exists = |path: &PathBuf| {
            path.try_exists()
                .map_err(|error| RootError::Directory(path.clone(), error))
        };
        Ok((exists(&self.key)?, exists(&self.certificate)?))
    }

    fn write(&self, key: &str, certificate: &str) -> Result<(), RootError> {
        private_file::write(&self.key, key.as_bytes(), SECRET)?;
        private_file::write(&self.certificate, certificate.as_bytes(), PUBLIC)?;
        Ok(())
    }
}

/// Whether the directory has a root that signs.
pub(super) fn is_there(directory: &Path) -> Result<bool, RootError> {
    Ok(Files::of(directory).exist()? == (true, true))
}
