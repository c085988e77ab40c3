//! The loop that obtains, presents, keeps and renews a certificate.
//!
//! States: waiting until the certificate in use is due; trying; waiting a backoff after a failure.
//! While waiting it also follows the trust bundle's file. It waits no longer when the roots in use do
//! not vouch for the certificate, and not much longer when another root than it is of signs now.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rand::RngExt;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::{debug, info, warn};

use super::{IssueError, Issuer, Order, Status, Wanted, replacement::Replacement, store::Store};
use crate::{
    MeshTls,
    backoff::Backoff,
    channel::explain,
    private_file,
    tls::{BACKDATED, CredentialError, RootsError, Standing, Validity, parse_pem_bundle, rfc3339},
};

/// Part of a certificate's life after which it is renewed, drawn evenly from this range.
const RENEW_AFTER: std::ops::Range<f64> = 0.5..0.7;
/// Waits are cut to this, so that a clock that jumps or a machine that slept is noticed, and so that a
/// bundle that was replaced is in use everywhere long before a new root signs.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Within this time a certificate of an outgoing root is replaced; spread, so that not every workload
/// of the mesh asks at once.
const REPLACE_WITHIN: Duration = Duration::from_secs(10);
/// 64 roots of 4 KiB, in PEM.
const MAX_BUNDLE_BYTES: u64 = 512 * 1024;
/// Attempts after a failure: quickly at first, because a starting pod waits for it.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("cannot make a key or a certificate request")]
    Request(#[from] rcgen::Error),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("the identity service sent an unusable trust bundle")]
    Roots(#[from] RootsError),
    #[error("the identity service sent an unusable certificate")]
    Credential(#[from] CredentialError),
    #[error("{0}")]
    Bundle(Arc<str>),
}

pub(super) struct Renewal {
    tls: MeshTls,
    issuer: Box<dyn Issuer>,
    wanted: Wanted,
    store: Option<Store>,
    bundle: Option<Bundle>,
    status: watch::Sender<Status>,
    bells: Bells,
    replacement: Replacement,
    roots: watch::Receiver<()>,
    due: Option<UnixTime>,
}

/// What is rung from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Bells {
    /// To renew without waiting for the time to come.
    pub(super) nudge: Arc<Notify>,
    /// A peer does not accept the certificate.
    pub(super) refused: Arc<Notify>,
}

impl Renewal {
    pub(super) fn new(
        tls: MeshTls,
        issuer: Box<dyn Issuer>,
        wanted: Wanted,
        store: Option<Store>,
        bundle: Option<PathBuf>,
        status: watch::Sender<Status>,
        bells: Bells,
    ) -> Self {
        let bundle = bundle.map(|file| Bundle {
            file,
            last: Vec::new(),
            problem: None,
        });
        Self {
            roots: tls.roots_changed(),
            tls,
            issuer,
            wanted,
            store,
            bundle,
            status,
            bells,
            replacement: Replacement::new(),
            due: None,
        }
    }

    /// Puts what an earlier run left into use, when it is still good.
    pub(super) fn restore(&mut self) {
        self.follow_bundle();
        let Some(store) = &self.store else { return };
        let restored = match store.load() {
            Ok(None) => return,
            Ok(Some((chain, key))) => self
                .tls
                .set_credential(chain, key)
                .map_err(|error| explain(&error)),
            Err(error) => Err(explain(&error)),
        };
        match restored {
            Ok(validity) => {
                self.due = Some(due(validity));
                info!(id = %self.tls.own_id(), expires = rfc3339(&validity.not_after), "using the certificate of an earlier run");
                self.report(None);
            }
            Err(reason) => warn!(%reason, "not using the certificate of an earlier run"),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY);
        loop {
            self.wait_until_due().await;
            self.replacement.asked();
            match self.attempt().await {
                Ok(validity) => {
                    backoff.reset();
                    self.due = Some(due(validity));
                    info!(id = %self.tls.own_id(), generation = self.tls.generation(), expires = rfc3339(&validity.not_after), "certificate issued");
                    self.report(None);
                }
                Err(error) => {
                    self.complain(explain(&error).into());
                    // Also a renewal that was asked for before its time is tried until it is done.
                    self.due = None;
                    let pause = backoff.next();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.bells.nudge.notified() => {}
                    }
                }
            }
        }
    }

    async fn wait_until_due(&mut self) {
        while let Some(due) = self.due {
            let now = now().as_secs();
            let Some(left) = due.as_secs().checked_sub(now).filter(|left| *left > 0) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(left).min(LONGEST_WAIT)) => {}
                () = self.bells.nudge.notified() => return,
                () = self.replacement.due() => return,
                () = self.bells.refused.notified() => self.heed_refusal(),
                // It ends with the TLS, which is ours.
                _ = self.roots.changed() => self.heed_roots(),
            }
            self.follow_bundle();
        }
    }

    fn heed_refusal(&mut self) {
        let Some(wait) = self.replacement.refused(Instant::now()) else {
            return;
        };
        warn!(
            id = %self.tls.own_id(), ?wait,
            "the control plane does not accept our certificate; another is asked for. If this goes on, one of us has \
             another trust bundle than the identity service: compare them (in a cluster: `heddle check --cluster`)"
        );
    }

    /// Roots have changed: the certificate may have to be replaced before its time.
    fn heed_roots(&mut self) {
        match self.tls.standing() {
            Standing::Current => {}
            Standing::Outgoing => {
                let wait = REPLACE_WITHIN.mul_f64(rand::rng().random());
                let soon = UnixTime::since_unix_epoch(now() + wait);
                self.due = self.due.map(|due| due.min(soon));
            }
            Standing::Lost => self.due = None,
        }
    }

    async fn attempt(&mut self) -> Result<Validity, AttemptError> {
        self.follow_bundle();
        if self.tls.roots().is_empty()
            && let Some(problem) = self
                .bundle
                .as_ref()
                .and_then(|bundle| bundle.problem.clone())
        {
            return Err(AttemptError::Bundle(problem));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let order = Order {
            csr: self.request(&key)?,
            ttl: self.wanted.ttl,
        };
        let issued = self.issuer.issue(order).await?;
        self.tls.learn_roots(issued.roots)?;
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let validity = self
            .tls
            .set_credential(issued.chain.clone(), PrivateKeyDer::Pkcs8(der.clone_key()))?;
        if let Some(store) = &self.store
            && let Err(error) = store.save(&issued.chain, &der)
        {
            warn!(reason = %explain(&error), "the certificate will not survive a restart");
        }
        Ok(validity)
    }

    fn request(&self, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(self.tls.own_id().as_str().try_into()?)];
        for name in &self.wanted.dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into()?));
        }
        Ok(params.serialize_request(key)?.der().to_vec())
    }

    fn follow_bundle(&mut self) {
        if let Some(bundle) = &mut self.bundle {
            bundle.follow(&self.tls);
        }
    }

    fn report(&self, last_error: Option<Arc<str>>) {
        self.status.send_replace(Status {
            validity: self.tls.validity(),
            generation: self.tls.generation(),
            last_error,
        });
    }

    /// One line for each new reason; the rest of a long outage is at debug level.
    fn complain(&self, reason: Arc<str>) {
        let known = self.status.borrow().last_error.as_ref() == Some(&reason);
        let valid = self.tls.is_ready();
        if known {
            debug!(id = %self.tls.own_id(), %reason, valid, "still no new certificate");
        } else {
            warn!(id = %self.tls.own_id(), %reason, valid, "cannot get a certificate; trying again");
        }
        self.report(Some(reason));
    }
}

fn now() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs())
}

/// When to renew. Life begins when the certificate was issued, which is later than the moment
/// from which it is valid.
fn due(validity: Validity) -> UnixTime {
    let not_after = validity.not_after.as_secs();
    let not_before = validity.not_before.as_secs();
    let issued = match not_before.saturating_add(BACKDATED.as_secs()) {
        issued if issued < not_after => issued,
        _ => not_before,
    };
    let life = Duration::from_secs(not_after.saturating_sub(issued));
    let wait = life.mul_f64(rand::rng().random_range(RENEW_AFTER));
    UnixTime::since_unix_epoch(Duration::from_secs(issued) + wait)
}

/// The trust bundle's file, and what it held last.
struct Bundle {
    file: PathBuf,
    last: Vec<u8>,
    problem: Option<Arc<str>>,
}

impl Bundle {
    fn follow(&mut self, tls: &MeshTls) {
        let problem = match private_file::read(&self.file, MAX_BUNDLE_BYTES) {
            Ok(pem) if pem == self.last => return,
            Ok(pem) => parse_pem_bundle(&pem)
                .and_then(|roots| tls.suggest_roots(roots))
                .map(|()| self.last = pem)
                .err()
                .map(|error| format!("{}: {}", self.file.display(), explain(&error))),
            Err(error) => Some(explain(&error)),
        };
        let problem: Option<Arc<str>> = problem.map(Into::into);
        if let Some(reason) = &problem
            && self.problem != problem
        {
            warn!(%reason, "cannot read the trust bundle; keeping what we have");
        }
        self.problem = problem;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_between_half_and_seven_tenths_of_a_life_and_is_spread() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let issued = 1_800_000_000;
        for life in [10, 3600, 86_400] {
            let validity = Validity {
                not_before: at(issued - 60),
                not_after: at(issued + life),
            };
            let dues: Vec<u64> = (0..500).map(|_| due(validity).as_secs() - issued).collect();
            assert!(
                dues.iter()
                    .all(|due| (life / 2..=life * 7 / 10).contains(due)),
                "{dues:?}"
            );
            assert!(dues.iter().any(|due| *due <= life * 11 / 20));
            assert!(dues.iter().any(|due| *due >= life * 13 / 20 - 1));
        }
    }

    #[test]
    fn a_certificate_that_is_not_backdated_has_a_life_too() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let due = due(Validity {
            not_before: at(1000),
            not_after: at(1040),
        })
        .as_secs();
        assert!((1020..=1028).contains(&due), "{due}");
    }
}
