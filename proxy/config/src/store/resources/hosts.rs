//! Endpoints that are named by host: kept as they were listed, and expanded into addresses each
//! time that one of the hosts is resolved anew. The data path sees addresses only.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Resources;
use super::share::share_endpoints;
use crate::compile::HostEndpoint;
use crate::names::HostName;
use crate::snapshot::{Endpoint, Endpoints, Name};

#[derive(Default)]
pub(super) struct Hosts {
    listed: HashMap<Name, Listed>,
    /// What each host that is named stands for; absent: nobody has been asked yet.
    resolved: HashMap<HostName, Vec<IpAddr>>,
}

/// The endpoints of one service of which some are hosts.
struct Listed {
    addresses: Endpoints,
    hosts: Vec<HostEndpoint>,
}

impl Hosts {
    fn expand(&self, listed: &Listed) -> Endpoints {
        let mut all = listed.addresses.clone();
        for HostEndpoint { host, like } in &listed.hosts {
            let ips = self.resolved.get(host).map_or(&[][..], Vec::as_slice);
            let endpoint = |ip: &IpAddr| Endpoint {
                ip: *ip,
                ..like.clone()
            };
            all.endpoints.extend(ips.iter().map(endpoint).map(Arc::new));
        }
        all
    }

    fn is_whole(&self, listed: &Listed) -> bool {
        let mut hosts = listed.hosts.iter();
        hosts.all(|one| self.resolved.contains_key(&one.host))
    }

    fn names(&self) -> BTreeSet<HostName> {
        let hosts = self.listed.values().flat_map(|listed| &listed.hosts);
        hosts.map(|one| one.host.clone()).collect()
    }

    /// What no service names any more need not be remembered.
    fn prune(&mut self) {
        if !self.resolved.is_empty() {
            let named = self.names();
            self.resolved.retain(|host, _| named.contains(host));
        }
    }
}

impl Resources {
    pub(super) fn list_endpoints(
        &mut self,
        name: Name,
        endpoints: Endpoints,
        hosts: Vec<HostEndpoint>,
    ) {
        if hosts.is_empty() {
            if self.hosts.listed.remove(&name).is_some() {
                self.snapshot.unresolved.remove(&name);
                self.hosts.prune();
            }
            share_endpoints(&mut self.snapshot.endpoints, name, endpoints);
            return;
        }
        let listed = Listed {
            addresses: endpoints,
            hosts,
        };
        self.hosts.listed.insert(name.clone(), listed);
        self.hosts.prune();
        self.link_hosts(&name);
    }

    pub(super) fn remove_endpoints(&mut self, name: &Name) {
        self.snapshot.endpoints.remove(name);
        if self.hosts.listed.remove(name).is_some() {
            self.snapshot.unresolved.remove(name);
            self.hosts.prune();
        }
    }

    /// Every host that a service names.
    pub(in crate::store) fn named_hosts(&self) -> BTreeSet<HostName> {
        self.hosts.names()
    }

    /// Takes what a host stands for now; `false` when that changes nothing.
    pub(in crate::store) fn resolve_host(&mut self, host: &HostName, ips: Vec<IpAddr>) -> bool {
        let named = |listed: &Listed| listed.hosts.iter().any(|one| one.host == *host);
        let services: Vec<Name> = self
            .hosts
            .listed
            .iter()
            .filter(|(_, listed)| named(listed))
            .map(|(name, _)| name.clone())
            .collect();
        if services.is_empty() || self.hosts.resolved.get(host) == Some(&ips) {
            return false;
        }
        self.hosts.resolved.insert(host.clone(), ips);
        for name in services {
            self.link_hosts(&name);
        }
        true
    }

    fn link_hosts(&mut self, name: &Name) {
        let Some(listed) = self.hosts.listed.get(name) else {
            return;
        };
        let endpoints = self.hosts.expand(listed);
        if self.hosts.is_whole(listed) {
            self.snapshot.unresolved.remove(name);
        } else {
            self.snapshot.unresolved.insert(name.clone());
        }
        share_endpoints(&mut self.snapshot.endpoints, name.clone(), endpoints);
    }
}
