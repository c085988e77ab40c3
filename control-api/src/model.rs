//! The one picture of the mesh. A `Model` is immutable once published and shares structure with the
//! one before it, so that a change costs what it touches; what proxies need is computed by key, on
//! demand, once for all of them, and kept encoded in cells that a change replaces only where it
//! matters. Nothing here knows a stream, a file system or a clock.

mod address;
mod apply;
mod candidates;
mod dirty;
mod dns;
mod encoded;
mod endpoints;
mod entries;
pub mod gateway;
mod headless;
mod hosts;
mod judge;
mod locality;
mod mtls;
mod networks;
mod outbound;
mod policies;
mod protocol;
mod routes;
mod sharded;
mod subsets;
mod telemetry;
mod warnings;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use heddle_identity::TrustDomain;

pub use self::{
    dirty::{Dirty, Scope},
    encoded::Encoded,
    outbound::Sight,
    routes::RouteView,
};
use self::{
    hosts::Hosts,
    sharded::{Names, ShardedMap},
};
use crate::{
    name::{Kind, NsName, ObjectKey},
    resources::{
        destination_rule::DestinationRule, endpoint_slice::EndpointSlice,
        gateway as gateway_resources, labels::Labels, network::Network, node::Node,
        peer_authentication::PeerAuthentication, pod::Pod, service::Service,
        service_entry::ServiceEntry, sidecar::Sidecar, telemetry::Telemetry,
        virtual_service::VirtualService,
    },
    source::{Object, Refusal, Resource},
};

/// What is the same for the whole mesh and known at the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose identities these are.
    pub trust_domain: TrustDomain,
    /// What names of services end with.
    pub cluster_domain: String,
    /// Where policies for the whole mesh live.
    pub system_namespace: String,
    /// Of requests without an inbound decision.
    pub sampling_ppm: u32,
    /// Where spans go; empty: nowhere.
    pub otlp_endpoint: String,
    /// Who must be there.
    pub otlp_identity: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            cluster_domain: "cluster.local".into(),
            system_namespace: "heddle-system".into(),
            sampling_ppm: 10_000,
            otlp_endpoint: String::new(),
            otlp_identity: String::new(),
        }
    }
}

/// For whom a resource is computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its pod's labels.
    pub labels: Labels,
}

/// The picture.
#[derive(Clone)]
pub struct Model {
    /// One more for each published picture.
    pub version: u64,
    settings: Arc<Settings>,
    roots: Arc<[Vec<u8>]>,
    services: ShardedMap<NsName, Arc<Known>>,
    pods: ShardedMap<NsName, Arc<Object>>,
    nodes: ShardedMap<NsName, Arc<Object>>,
    /// By service, then by slice.
    slices: ShardedMap<NsName, Arc<BTreeMap<NsName, Arc<Object>>>>,
    /// Service of a slice, by slice.
    slice_service: ShardedMap<NsName, NsName>,
    /// Services whose slices name a pod, by pod.
    slice_pods: ShardedMap<NsName, Names<NsName>>,
    /// Pods that a service's selector selects, by service.
    members: ShardedMap<NsName, Arc<BTreeSet<NsName>>>,
    /// Services by one label of their selector: "NAMESPACE/KEY=VALUE".
    selectors: ShardedMap<Box<str>, Names<NsName>>,
    addresses: ShardedMap<IpAddr, Arc<address::Owners>>,
    /// ServiceEntries, and by the service that a host of theirs is.
    entries: ShardedMap<NsName, Arc<Object>>,
    entries_of: ShardedMap<NsName, Names<NsName>>,
    /// Services of ServiceEntries, by host.
    externals: ShardedMap<Box<str>, Names<NsName>>,
    /// Ranges of addresses, and whose they are.
    networks: Arc<[(Network, NsName)]>,
    /// Numbers from which the addresses of hosts without any are made.
    allotted: ShardedMap<NsName, u16>,
    /// Who has such a number, and since when it is there.
    slots: ShardedMap<u16, (i64, NsName)>,
    routes: ShardedMap<NsName, Arc<RouteEntry>>,
    /// Routes in force, by service whose host they name.
    routes_of: ShardedMap<NsName, Names<NsName>>,
    /// Routes in force for hosts with a `*`: suffix after it, and who.
    wildcard_routes: Arc<Vec<(Box<str>, NsName)>>,
    /// Routes (as last written) by service that they name anywhere.
    mentions: ShardedMap<NsName, Names<NsName>>,
    /// Routes in force by the VirtualService that they delegate to.
    delegating: ShardedMap<NsName, Names<NsName>>,
    /// Gateway API's routes, of both kinds.
    gateway_routes: ShardedMap<ObjectKey, Arc<Object>>,
    /// The same by the Services that they are attached to.
    gateway_of: ShardedMap<NsName, Names<ObjectKey>>,
    /// The same by every Service that they name.
    gateway_mentions: ShardedMap<NsName, Names<ObjectKey>>,
    /// DestinationRules in force.
    rules: ShardedMap<NsName, Arc<Object>>,
    /// Those of which something else is written.
    held_rules: Arc<BTreeMap<NsName, HeldRule>>,
    /// DestinationRules by the service that their host names.
    rules_of: ShardedMap<NsName, Names<NsName>>,
    wildcard_rules: Arc<Vec<(Box<str>, NsName)>>,
    /// PeerAuthentications by namespace, oldest first.
    authentications: ShardedMap<Box<str>, Arc<[Arc<Object>]>>,
    /// Telemetries by namespace, oldest first.
    telemetries: ShardedMap<Box<str>, Arc<[Arc<Object>]>>,
    /// Sidecars by namespace, oldest first.
    sidecars: ShardedMap<Box<str>, Arc<[Arc<Object>]>>,
    network_policies: ShardedMap<NsName, Arc<Object>>,
    /// Objects that are in force and would not be after a restart.
    held_back: Arc<BTreeSet<ObjectKey>>,
    /// What was in force when the process before this one ended, until the first batch.
    last_good: Arc<HashMap<ObjectKey, Arc<Object>>>,
}

/// A service and what has been computed for it.
struct Known {
    /// Where it is written.
    object: Arc<Object>,
    service: Arc<Service>,
    wire: encoded::Cell<Option<Arc<str>>, Arc<Encoded>>,
    endpoints: encoded::Cell<Option<Arc<str>>, Arc<Encoded>>,
    routes: encoded::Cell<Option<Client>, Arc<RouteView>>,
}

/// A VirtualService as last written, and as in force.
#[derive(Debug)]
struct RouteEntry {
    written: Arc<Object>,
    in_force: Option<Arc<Object>>,
    refusals: Arc<[Refusal]>,
}

/// A DestinationRule as last written, which is not in force.
#[derive(Clone, Debug)]
struct HeldRule {
    written: Arc<Object>,
    refusals: Arc<[Refusal]>,
}

impl Model {
    /// An empty picture.
    pub fn new(settings: Settings) -> Self {
        Self {
            version: 0,
            settings: Arc::new(settings),
            roots: Arc::new([]),
            services: ShardedMap::default(),
            pods: ShardedMap::default(),
            nodes: ShardedMap::default(),
            slices: ShardedMap::default(),
            slice_service: ShardedMap::default(),
            slice_pods: ShardedMap::default(),
            members: ShardedMap::default(),
            selectors: ShardedMap::default(),
            addresses: ShardedMap::default(),
            entries: ShardedMap::default(),
            entries_of: ShardedMap::default(),
            externals: ShardedMap::default(),
            networks: Arc::new([]),
            allotted: ShardedMap::default(),
            slots: ShardedMap::default(),
            routes: ShardedMap::default(),
            routes_of: ShardedMap::default(),
            wildcard_routes: Arc::default(),
            mentions: ShardedMap::default(),
            delegating: ShardedMap::default(),
            gateway_routes: ShardedMap::default(),
            gateway_of: ShardedMap::default(),
            gateway_mentions: ShardedMap::default(),
            rules: ShardedMap::default(),
            held_rules: Arc::default(),
            rules_of: ShardedMap::default(),
            wildcard_rules: Arc::default(),
            authentications: ShardedMap::default(),
            telemetries: ShardedMap::default(),
            sidecars: ShardedMap::default(),
            network_policies: ShardedMap::default(),
            held_back: Arc::default(),
            last_good: Arc::default(),
        }
    }

    /// Holds back, in the first batch, what the process before this one did ([`Self::kept`]).
    pub fn with_last_good(mut self, objects: Vec<Arc<Object>>) -> Self {
        let by_key = objects
            .into_iter()
            .map(|object| (object.key.clone(), object));
        self.last_good = Arc::new(by_key.collect());
        self
    }

    /// Objects that are in force though what is written of them now may not be.
    pub fn kept(&self) -> Vec<Arc<Object>> {
        let in_force = |key: &ObjectKey| match key.kind {
            Kind::VirtualService => self.routes.get(&key.name)?.in_force.clone(),
            Kind::DestinationRule => self.rules.get(&key.name).cloned(),
            _ => None,
        };
        self.held_back.iter().filter_map(in_force).collect()
    }

    /// What is the same for the whole mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// How many endpoints all services have together, ready or not.
    pub fn endpoint_count(&self) -> usize {
        let of_slices: usize = self
            .slices
            .iter()
            .flat_map(|(_, slices)| slices.values())
            .filter_map(|object| object.slice())
            .map(|slice| slice.endpoints.len())
            .sum();
        let selected = self
            .members
            .iter()
            .filter(|(service, _)| self.slices.get(*service).is_none());
        let listed = self
            .externals
            .iter()
            .flat_map(|(_, services)| services.iter())
            .filter_map(|name| self.service(name)?.entry.as_ref())
            .map(|entry| entry.endpoints.len());
        of_slices + selected.map(|(_, pods)| pods.len()).sum::<usize>() + listed.sum::<usize>()
    }

    /// Whether this object is there, in force or not. Of a kind that decides about requests.
    pub fn has(&self, key: &ObjectKey) -> bool {
        let within = |objects: &ShardedMap<Box<str>, Arc<[Arc<Object>]>>| {
            let objects = objects.get(key.name.namespace());
            objects.is_some_and(|objects| objects.iter().any(|object| object.key == *key))
        };
        match key.kind {
            Kind::VirtualService => self.routes.get(&key.name).is_some(),
            Kind::HttpRoute | Kind::GrpcRoute => self.gateway_routes.get(key).is_some(),
            Kind::DestinationRule => {
                self.rules.get(&key.name).is_some() || self.held_rules.contains_key(&key.name)
            }
            Kind::ServiceEntry => self.entries.get(&key.name).is_some(),
            Kind::PeerAuthentication => within(&self.authentications),
            Kind::Telemetry => within(&self.telemetries),
            Kind::Sidecar => within(&self.sidecars),
            Kind::NetworkPolicy => self.network_policies.get(&key.name).is_some(),
            Kind::Service => self.services.get(&key.name).is_some(),
            Kind::Pod => self.pods.get(&key.name).is_some(),
            _ => false,
        }
    }

    /// The service of this name.
    pub fn service(&self, name: &NsName) -> Option<&Service> {
        Some(&self.services.get(name)?.service)
    }

    /// The pod of this name.
    pub fn pod(&self, name: &NsName) -> Option<&Pod> {
        self.pods.get(name)?.pod()
    }

    /// Every pod, in no order.
    pub fn pod_names(&self) -> impl Iterator<Item = &NsName> {
        self.pods.iter().map(|(name, _)| name)
    }

    /// Every service, in no order.
    pub fn service_names(&self) -> impl Iterator<Item = &NsName> {
        self.services.iter().map(|(name, _)| name)
    }

    /// What refuses to be in force though it could be read. The last good version of each is.
    pub fn refusals(&self) -> Vec<Refusal> {
        let of_routes = self.routes.iter().map(|(_, entry)| &entry.refusals);
        let of_rules = self.held_rules.values().map(|held| &held.refusals);
        of_routes
            .chain(of_rules)
            .flat_map(|refusals| refusals.iter().cloned())
            .chain(self.gateway_refusals())
            .collect()
    }

    fn hosts(&self) -> Hosts<'_> {
        Hosts {
            cluster_domain: &self.settings.cluster_domain,
        }
    }
}

macro_rules! accessors {
    ($($method:ident $variant:ident $type:ty;)*) => {
        impl Object {
            $(pub(crate) fn $method(&self) -> Option<&$type> {
                match &self.resource {
                    Resource::$variant(resource) => Some(resource),
                    _ => None,
                }
            })*

            /// Oldest first, then by name: who wins where only one can.
            pub(crate) fn seniority(&self) -> (i64, &NsName) {
                (self.created.unwrap_or(i64::MAX), &self.key.name)
            }
        }
    };
}

accessors! {
    entry ServiceEntry ServiceEntry;
    node Node Node;
    pod Pod Pod;
    slice EndpointSlice EndpointSlice;
    route VirtualService VirtualService;
    gateway_route GatewayRoute gateway_resources::Route;
    rule DestinationRule DestinationRule;
    authentication PeerAuthentication PeerAuthentication;
    telemetry Telemetry Telemetry;
    sidecar Sidecar Sidecar;
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
