//! The certificate authority: the P-256 roots of a trust domain, kept in a directory, and the
//! certificates that the one of them signs whose turn it is.
//!
//! It signs only for an identity that the caller has proved, only requests that ask for exactly
//! that identity, and takes nothing else from a request but its public key. The root key is never
//! readable by others and never leaves this module.

mod brought;
mod chain;
pub mod mirror;
mod request;
mod root;
mod rotation;

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rand::RngExt;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use self::{
    brought::Brought,
    request::CertificateRequest,
    rotation::{Disk, Roots, Times},
};
pub use self::{
    request::RequestError,
    root::RootError,
    rotation::{announce, drop_retired},
};
use heddle_identity::{
    SpiffeId, TrustDomain,
    tls::{BACKDATED, Validity},
};

/// What certificates may be like.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// The namespace whose service accounts may have DNS names.
    pub system_namespace: String,
    /// The lifetime when a request names none.
    pub default_ttl: Duration,
    /// The longest lifetime; a longer one is cut.
    pub max_ttl: Duration,
    /// How long a new root is in the bundle before it signs: everybody has to have it by then.
    pub root_spread: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            system_namespace: "heddle-system".into(),
            default_ttl: Duration::from_secs(24 * 3600),
            max_ttl: Duration::from_secs(7 * 24 * 3600),
            root_spread: Duration::from_secs(5 * 60),
        }
    }
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// From when until when it is valid.
    pub validity: Validity,
    /// Its serial number, in hexadecimal.
    pub serial: String,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is not acceptable.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The root is about to expire.
    #[error("the root certificate has expired; a new root is needed")]
    RootExpired,
    /// Signing failed.
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
}

/// Signs certificates for proved identities.
pub struct Authority {
    roots: ArcSwap<Roots>,
    disk: Mutex<Disk>,
    policy: Policy,
}

impl Authority {
    /// Uses the root in `directory`, or makes one when there is none.
    ///
    /// # Errors
    /// When the directory cannot be written, the root is half there, open to others, of another
    /// trust domain, or expired.
    pub fn load_or_create(directory: &Path, policy: Policy) -> Result<Self, RootError> {
        Self::open(directory, policy, None)
    }

    /// The same with an authority that is brought along, in the directory `brought`: `tls.crt` (what
    /// signs, and what stands between it and its root), `tls.key` and `ca.crt` (its root). It signs
    /// from the beginning, or is taken up as a new root is; when it changes, likewise.
    ///
    /// # Errors
    /// As before, or when what was brought along cannot be used.
    pub fn open(
        directory: &Path,
        policy: Policy,
        brought: Option<&Path>,
    ) -> Result<Self, RootError> {
        let times = Times {
            spread: policy.root_spread,
            // The clock of a peer may be behind.
            overlap: policy.max_ttl.saturating_add(BACKDATED),
        };
        let (disk, roots) = Disk::open(
            directory,
            &policy.trust_domain,
            times,
            brought.map(Brought::new),
        )?;
        Ok(Self {
            roots: ArcSwap::from_pointee(roots),
            disk: Mutex::new(disk),
            policy,
        })
    }

    /// The roots of the trust domain; the first of them signs.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.roots.load().bundle()
    }

    /// Looks at the directory again: takes up a root that was announced, signs with it when its time
    /// has come, lets go of those whose time is over. True when anything of that happened. Blocks for
    /// a few file operations.
    ///
    /// # Errors
    /// When a file cannot be used; everything stays as it was.
    pub fn refresh(&self) -> Result<bool, RootError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(roots) = disk.refresh()? else {
            return Ok(false);
        };
        self.roots.store(roots.into());
        Ok(true)
    }

    /// The trust domain's rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Signs a certificate for `proven`, whose holder has sent the PKCS #10 request `csr`.
    ///
    /// # Errors
    /// When the request asks for anything that `proven` may not have.
    pub fn issue(
        &self,
        csr: &[u8],
        proven: &SpiffeId,
        ttl: Option<Duration>,
    ) -> Result<Certificate, IssueError> {
        let request = CertificateRequest::check(csr, proven, &self.policy)?;
        let now = UnixTime::now().as_secs();
        let ttl = ttl
            .unwrap_or(self.policy.default_ttl)
            .min(self.policy.max_ttl);
        let roots = self.roots.load();
        let root_ends = roots.signing.not_after().as_secs();
        if now >= root_ends {
            return Err(IssueError::RootExpired);
        }
        let not_before = now - BACKDATED.as_secs();
        let not_after = now.saturating_add(ttl.as_secs().max(1)).min(root_ends);
        let serial = random_serial();

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(proven.as_str().try_into()?)];
        for name in request.dns_names() {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.not_before = at(not_before);
        params.not_after = at(not_after);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(request.public_key(), roots.signing.issuer())?;

        let mut chain = vec![leaf.der().clone()];
        chain.extend_from_slice(roots.signing.sent());

        Ok(Certificate {
            chain,
            validity: Validity {
                not_before: UnixTime::since_unix_epoch(Duration::from_secs(not_before)),
                not_after: UnixTime::since_unix_epoch(Duration::from_secs(not_after)),
            },
            serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// 126 random bits; the two highest bits make it positive and of full length.
fn random_serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::rng().random();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// A time that X.509 can express; the latest for anything later.
fn at(seconds: u64) -> OffsetDateTime {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or_else(|| rcgen::date_time_ymd(9999, 12, 31))
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
