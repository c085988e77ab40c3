//! What the sidecar's DNS and its resolver do with a store: ask what a name stands for, and say
//! what the hosts stand for that services name as their endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ConfigStore;
use crate::names::{DnsName, HostName};
use crate::snapshot::{Address, Name, Snapshot};

impl ConfigStore {
    /// What a name is known to stand for. Counts as a use of the name.
    pub fn name(&self, name: &HostName) -> Option<Arc<DnsName>> {
        let known = self.resources().name(name)?;
        drop(self.0.names.hold(name.clone()));
        Some(known)
    }

    /// The same after one answer of the control plane, when there is one within `patience`; without
    /// a stream to it nobody waits.
    pub async fn resolve_name(&self, name: &HostName, patience: Duration) -> Option<Arc<DnsName>> {
        let held = self.0.names.hold(name.clone());
        if !held.is_subscribed() || !self.link().connected {
            return self.resources().name(name);
        }
        let answer = async {
            loop {
                let answered = held.answered();
                tokio::pin!(answered);
                answered.as_mut().enable(); // before looking, so that no answer falls between
                if let Some(known) = self.resources().name(name) {
                    return known;
                }
                answered.await;
            }
        };
        tokio::time::timeout(patience, answer).await.ok()
    }

    /// Every host that a service names as an endpoint.
    pub fn hosts(&self) -> BTreeSet<HostName> {
        self.resources().named_hosts()
    }

    /// Says what a host stands for now. The addresses should come in a fixed order.
    pub fn set_host(&self, host: &HostName, ips: Vec<IpAddr>) {
        let mut resources = self.resources();
        if resources.resolve_host(host, ips) {
            self.publish(&resources);
        }
    }

    /// Waits until every host that the services behind an address, or their routes, name has been
    /// asked for once. Whoever calls bounds the time.
    pub(super) async fn hosts_resolved(&self, address: &Address) {
        let mut changed = self.changed();
        while is_waiting(&self.0.snapshot.load(), address) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn is_waiting(snapshot: &Snapshot, address: &Address) -> bool {
    match address {
        Address::Service(name) => is_unresolved(snapshot, name),
        Address::Workload(pod) => {
            let mut services = pod.headless.iter().map(|headless| &headless.service);
            services.any(|name| is_unresolved(snapshot, name))
        }
        Address::Unknown | Address::Hidden(_) => false,
    }
}

fn is_unresolved(snapshot: &Snapshot, service: &Name) -> bool {
    let waits = |name: &Name| snapshot.unresolved.contains(name);
    waits(service)
        || snapshot.routes.get(service).is_some_and(|table| {
            let tcp = table.tcp.iter().flat_map(|rule| &rule.destinations);
            table.http.services().iter().any(waits) || tcp.map(|to| &to.service).any(waits)
        })
}
