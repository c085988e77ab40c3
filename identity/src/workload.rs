//! One workload's certificate, kept fresh.
//!
//! A new key is made for every certificate and never leaves the process, except to the state
//! directory with mode 0600 so that a restart while the identity service is away comes back with
//! what is still valid. A valid certificate is presented until it expires, whatever fails
//! meanwhile; renewal begins at 50 to 70 % of its life and is retried with jittered backoff.

mod issuer;
mod renewal;
mod replacement;
mod store;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

pub use self::issuer::{IssueError, Issued, Issuer, Order, RemoteIssuer};
use self::{
    renewal::{Bells, Renewal},
    store::Store,
};
use crate::{MeshTls, SpiffeId, tls::Validity};

/// Where a mesh's parts are unless somebody says otherwise.
const DEFAULT_NAMESPACE: &str = "heddle-system";

/// The ConfigMap that holds a mesh's trust bundle in every namespace. Of several meshes in one cluster each
/// has its own, by the namespace of its parts.
pub fn trust_config_map(system_namespace: &str) -> String {
    match system_namespace {
        DEFAULT_NAMESPACE => "heddle-trust-bundle".to_owned(),
        other => format!("heddle-trust-bundle-{other}"),
    }
}

/// Where a workload's certificate comes from, and how it asks for it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the identity service, `host:port`.
    pub identity_address: String,
    /// Who the identity service must be.
    pub identity_id: SpiffeId,
    /// Who we are.
    pub own_id: SpiffeId,
    /// The service-account token that proves it; read anew for each request.
    pub token_file: PathBuf,
    /// Roots to begin with, PEM; read anew when it changes.
    pub trust_bundle_file: PathBuf,
    /// Where the key and the certificate survive a restart.
    pub state_dir: Option<PathBuf>,
    /// Wanted lifetime; `None`: the identity service's default.
    pub ttl: Option<Duration>,
    /// DNS names to ask for as well. Only system service accounts get any.
    pub dns_names: Vec<String>,
}

/// How the certificate is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// From when until when the certificate in use is valid.
    pub validity: Option<Validity>,
    /// How many certificates there have been since the start.
    pub generation: u64,
    /// Why the last attempt to get one failed; `None` after a success.
    pub last_error: Option<Arc<str>>,
}

/// Keeps one workload's certificate fresh for as long as it lives.
#[derive(Debug)]
pub struct Workload {
    tls: MeshTls,
    status: watch::Receiver<Status>,
    bells: Bells,
    _renewing: JoinSet<()>,
}

impl Workload {
    /// Begins to obtain and renew a certificate from the identity service. A certificate in the
    /// state directory that is still valid is in use when this returns. Must be called within a
    /// tokio runtime.
    pub fn start(settings: Settings) -> Self {
        let tls = MeshTls::new(settings.own_id.clone());
        let issuer = RemoteIssuer::new(
            tls.clone(),
            settings.identity_address,
            settings.identity_id,
            settings.token_file,
        );
        let order = Wanted {
            ttl: settings.ttl,
            dns_names: settings.dns_names,
        };
        let store = settings.state_dir.map(Store::new);
        Self::run(
            tls,
            Box::new(issuer),
            order,
            store,
            Some(settings.trust_bundle_file),
        )
    }

    /// The same with another source of certificates, without files.
    pub fn with_issuer(
        own_id: SpiffeId,
        issuer: Box<dyn Issuer>,
        ttl: Option<Duration>,
        dns_names: Vec<String>,
    ) -> Self {
        Self::run(
            MeshTls::new(own_id),
            issuer,
            Wanted { ttl, dns_names },
            None,
            None,
        )
    }

    fn run(
        tls: MeshTls,
        issuer: Box<dyn Issuer>,
        wanted: Wanted,
        store: Option<Store>,
        bundle: Option<PathBuf>,
    ) -> Self {
        let (sender, status) = watch::channel(Status::default());
        let bells = Bells::default();
        let mut renewal = Renewal::new(
            tls.clone(),
            issuer,
            wanted,
            store,
            bundle,
            sender,
            bells.clone(),
        );
        renewal.restore();
        let mut renewing = JoinSet::new();
        renewing.spawn(renewal.run());
        Self {
            tls,
            status,
            bells,
            _renewing: renewing,
        }
    }

    /// The TLS that presents the certificate.
    pub fn tls(&self) -> &MeshTls {
        &self.tls
    }

    /// Returns once there is a valid certificate.
    pub async fn ready(&self) {
        let mut status = self.status.clone();
        // It fails only when the renewal is gone, and that lives as long as we do.
        let _ = status.wait_for(|_| self.tls.is_ready()).await;
    }

    /// Changes whenever a certificate comes, or an attempt to get one fails.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Renews now, without waiting for the time to come.
    pub fn renew(&self) {
        self.bells.nudge.notify_one();
    }

    /// A peer does not accept the certificate. Another is asked for, soon and then ever more seldom: this may
    /// be all that ever tells of a root that was dropped, where the news of it came over that peer.
    pub fn refused(&self) {
        self.bells.refused.notify_one();
    }
}

/// What the certificate shall be like.
#[derive(Debug, Clone)]
struct Wanted {
    ttl: Option<Duration>,
    dns_names: Vec<String>,
}
