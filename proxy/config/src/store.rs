//! The one place where configuration lives: what was accepted, the snapshot that workers read,
//! which addresses are wanted, and how the control plane is doing.
//!
//! Workers, on any thread and runtime, read the snapshot, hold addresses and wait for new ones;
//! the ADS client and the disk write. Locks are short and never held across an await; the snapshot
//! itself is read without one. A waiter wakes after the snapshot that answers it is published.

mod error;
mod hosts;
mod interest;
mod resources;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use heddle_identity::MeshTls;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::kind::Kind;
use crate::names::HostName;
use crate::node::ProxyNode;
use crate::snapshot::{Address, Snapshot};
pub use error::ResolveError;
pub use interest::AddressUse;
use interest::Interests;
pub(crate) use interest::Wanted;
use resources::Resources;
pub(crate) use resources::{Push, Raw, Refused};
pub use status::ConfigStatus;
use status::Link;

/// Bounds of what a sidecar keeps and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection to an unknown address waits for the control plane.
    pub resolve_timeout: Duration,
    /// Addresses subscribed to at once.
    pub addresses: usize,
    /// Host names subscribed to at once.
    pub names: usize,
    /// How long an address or a name stays subscribed to after its last use.
    pub idle: Duration,
    /// Resources of all types.
    pub resources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve_timeout: Duration::from_secs(5),
            addresses: 10_000,
            // With search domains an application asks for each name in several forms.
            names: 4_000,
            idle: Duration::from_secs(600),
            // An address brings three more resources; its routes may bring other services.
            resources: 50_000,
        }
    }
}

/// Takes the roots of the trust domain, or says why not.
pub type RootsSink = Box<dyn Fn(Vec<CertificateDer<'static>>) -> Result<(), String> + Send + Sync>;

/// Gives the roots to `tls`, which checks them.
pub fn roots_into(tls: MeshTls) -> RootsSink {
    Box::new(move |roots| tls.set_roots(roots).map_err(|error| error.to_string()))
}

/// What the sidecar knows. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct ConfigStore(Arc<Shared>);

struct Shared {
    node: ProxyNode,
    limits: Limits,
    roots: RootsSink,
    snapshot: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<u64>,
    interests: Interests<IpAddr>,
    names: Interests<HostName>,
    resources: Mutex<Resources>,
    link: Mutex<Link>,
}

impl ConfigStore {
    /// An empty store for this pod. `roots` is called with every trust bundle that is accepted
    /// (see [`roots_into`]); what it refuses is refused to the control plane.
    pub fn new(node: ProxyNode, limits: Limits, roots: RootsSink) -> Self {
        Self(Arc::new(Shared {
            interests: Interests::new(limits.addresses),
            names: Interests::new(limits.names),
            node,
            limits,
            roots,
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            changed: watch::Sender::new(0),
            resources: Mutex::new(Resources::new(limits.resources)),
            link: Mutex::new(Link::starting()),
        }))
    }

    /// The current snapshot. A worker reads it through
    /// `arc_swap::Cache::new(store.snapshot().clone())`.
    pub fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.0.snapshot
    }

    /// Counts published snapshots; each is readable before its number is seen.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The pod that this store is for.
    pub fn node(&self) -> &ProxyNode {
        &self.0.node
    }

    /// What `ip` stands for: at once when it is known, else after one answer of the control plane.
    /// Counts as a use of the address.
    ///
    /// # Errors
    /// When the control plane does not answer in time or its answer was refused.
    pub async fn resolve(&self, ip: IpAddr) -> Result<Arc<Address>, ResolveError> {
        let ip = ip.to_canonical();
        let held = self.hold(ip);
        if let Some(known) = self.lookup(ip) {
            return Ok(self.with_hosts(known).await);
        }
        if !held.is_subscribed() {
            return Err(ResolveError::TooManyAddresses {
                ip,
                limit: self.0.limits.addresses,
            });
        }
        let waited = self.0.limits.resolve_timeout;
        match tokio::time::timeout(waited, self.answer(ip, &held)).await {
            Ok(answer) => Ok(self.with_hosts(answer?).await),
            Err(_) => Err(self.link().unanswered(ip, waited)),
        }
    }

    /// Says that `ip` is in use until the guard is dropped: it stays subscribed to, and becomes so
    /// when it was not. One lock and one reference count; meant for each connection.
    pub fn hold(&self, ip: IpAddr) -> AddressUse {
        self.0.interests.hold(ip.to_canonical())
    }

    /// How the configuration is doing, for people.
    pub fn status(&self) -> ConfigStatus {
        let link = self.link().clone();
        let resources = self.resources();
        ConfigStatus {
            connected: link.connected,
            since: link.since,
            last_error: link.last_error,
            version: resources.version().to_owned(),
            resources: resources.len(),
            nacks: resources.refusals(),
        }
    }

    /// What it stands for, once its service's endpoints that are hosts have been resolved. A branch
    /// for whom none is to be.
    async fn with_hosts(&self, known: Arc<Address>) -> Arc<Address> {
        if !self.0.snapshot.load().unresolved.is_empty() {
            let resolved = Box::pin(self.hosts_resolved(&known));
            // Past the bound there may be other endpoints; without any, the request says so.
            let _ = tokio::time::timeout(self.0.limits.resolve_timeout, resolved).await;
        }
        known
    }

    async fn answer(&self, ip: IpAddr, held: &AddressUse) -> Result<Arc<Address>, ResolveError> {
        loop {
            let answered = held.answered();
            tokio::pin!(answered);
            answered.as_mut().enable(); // before looking, so that no answer falls between
            if let Some(known) = self.lookup(ip) {
                return Ok(known);
            }
            if let Some(reason) = self.resources().refusal(Kind::Address, &ip.to_string()) {
                return Err(ResolveError::Refused { ip, reason });
            }
            answered.await;
        }
    }

    fn lookup(&self, ip: IpAddr) -> Option<Arc<Address>> {
        self.0.snapshot.load().addresses.get(&ip).cloned()
    }

    fn resources(&self) -> MutexGuard<'_, Resources> {
        self.0
            .resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
