//! What a change may have changed, so that only those interested are woken. It may name too much
//! (versions are compared before anything is sent), never too little.

use std::{collections::HashSet, net::IpAddr};

use crate::{name::NsName, resources::network::Network};

/// Which proxies' own resources (Workload, Telemetry) may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// All of them.
    pub all: bool,
    /// Those of these namespaces.
    pub namespaces: HashSet<Box<str>>,
    /// Those of these pods.
    pub pods: HashSet<NsName>,
}

impl Scope {
    /// Whether the proxy of `pod` is concerned.
    pub fn covers(&self, pod: &NsName) -> bool {
        self.all || self.pods.contains(pod) || self.namespaces.contains(pod.namespace())
    }

    /// Whether nobody is concerned.
    pub fn is_empty(&self) -> bool {
        !self.all && self.namespaces.is_empty() && self.pods.is_empty()
    }
}

/// Keys whose resources may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Service, Endpoints and RouteTable of these.
    pub services: HashSet<NsName>,
    /// Addresses.
    pub addresses: HashSet<IpAddr>,
    /// And all within these.
    pub networks: HashSet<Network>,
    /// What host names stand for.
    pub names: HashSet<Box<str>>,
    /// And all names that end so.
    pub suffixes: HashSet<Box<str>>,
    /// Proxies' own resources.
    pub own: Scope,
}

impl Dirty {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.addresses.is_empty()
            && self.networks.is_empty()
            && self.names.is_empty()
            && self.suffixes.is_empty()
            && self.own.is_empty()
    }
}
