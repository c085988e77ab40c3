//! The immutable picture of the mesh that one sidecar holds. A push makes a new [`Snapshot`] that
//! shares every unchanged part with the one before, so a worker can tell what changed by pointer.

mod place;
mod pod;
mod policy;
mod redirect;
mod rule;
mod treatment;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use heddle_identity::SpiffeId;

pub use self::place::{Locality, Placement};
pub use self::pod::{Headless, Named, Pod};
pub use self::policy::{
    Algorithm, ClientTls, ConnectionPool, Cookie, Distribute, HashKey, HashTable, Keepalive,
    LocalityPolicy, OutlierDetection, RetryBudget, ScopedPolicy, TlsOrigin, TrafficPolicy,
};
pub use self::rule::{GrpcCode, HttpRule, RetryOn, RetryPolicy};
pub use self::treatment::{
    Abort, AbortStatus, Answer, Changes, Cors, CorsMeaning, Delay, DestinationTreatment,
    DirectResponse, Fault, HeaderChanges, Mirror, Redirect, Rewrite, Treatment,
};
use crate::route::HttpTable;

/// `NAMESPACE/NAME` of a service or a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Wraps a name that the control plane gave; it is opaque here, and compared whole.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash; empty when there is none.
    pub fn namespace(&self) -> &str {
        self.0
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that the data path may ask.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What each IP that this pod has connected to stands for.
    pub addresses: HashMap<IpAddr, Arc<Address>>,
    /// Services in use.
    pub services: HashMap<Name, Arc<Service>>,
    /// Endpoints of those services.
    pub endpoints: HashMap<Name, Arc<Endpoints>>,
    /// Services of which an endpoint is a host that nobody has been asked for yet.
    pub unresolved: HashSet<Name>,
    /// Routes of those services; absent: plain balancing.
    pub routes: HashMap<Name, Arc<RouteTable>>,
    /// This pod; absent until the first answer.
    pub workload: Option<Arc<Workload>>,
    /// How much to trace, and where to.
    pub telemetry: Arc<Telemetry>,
    /// Version of the last push that was accepted, for people.
    pub version: Arc<str>,
}

/// What an IP stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Service IP.
    Service(Name),
    /// A pod IP: its identity applies, and routes only of headless services that are named.
    Workload(Arc<Pod>),
    /// The mesh does not know it.
    Unknown,
    /// To this pod it is as if the mesh did not know it.
    Hidden(Arc<Hidden>),
}

/// A service that a Sidecar hides from this pod: for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The service.
    pub service: Name,
    /// What an `egress` would name it by: `NAMESPACE/HOST`.
    pub host: Arc<str>,
    /// The Sidecar, with its file and line where they are known.
    pub by: Arc<str>,
}

/// Application protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// Undeclared: look at the first bytes.
    #[default]
    Detect,
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
    /// Opaque bytes.
    Tcp,
    /// The application's own TLS, passed through.
    Tls,
}

/// A port that declares something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Port number.
    pub number: u16,
    /// Name in the Service; may be empty.
    pub name: Arc<str>,
    /// Declared protocol.
    pub protocol: Protocol,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Every host it answers to, fully qualified first.
    pub hosts: Vec<Arc<str>>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// How this sidecar connects to it.
    pub policies: Vec<ScopedPolicy>,
    /// Where its endpoints come from.
    pub resolution: Resolution,
}

/// Where the endpoints of a service come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resolution {
    /// The control plane lists them.
    #[default]
    Listed,
    /// They have host names, which this sidecar resolves.
    Dns,
    /// The address that was called is the endpoint.
    Called,
}

impl Service {
    /// The policy for a subset and a port of it: the most specific one.
    pub fn policy(&self, subset: Option<&str>, port: u16) -> Option<&Arc<TrafficPolicy>> {
        policy::find(&self.policies, subset, port)
    }
}

/// The endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Port numbers of the service, parallel to [`Endpoint::target_ports`].
    pub service_ports: Vec<u16>,
    /// Subsets defined for it.
    pub subset_names: Vec<Arc<str>>,
    /// Ready endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl Endpoints {
    /// The endpoints of a subset that serve a port, with their addresses for it.
    pub fn members(
        &self,
        subset: Option<&str>,
        port: u16,
    ) -> impl Iterator<Item = (SocketAddr, &Arc<Endpoint>)> {
        let slot = self.service_ports.iter().position(|p| *p == port);
        let subset = subset.map(|name| self.subset_names.iter().position(|n| &**n == name));
        let is_member = move |endpoint: &&Arc<Endpoint>| match subset {
            None => true,
            Some(None) => false,
            Some(Some(index)) => endpoint.subsets.contains(&index),
        };
        let all = self.endpoints.iter().filter(is_member);
        all.filter_map(move |endpoint| {
            let target = (*endpoint.target_ports.get(slot?)?)?;
            Some((SocketAddr::new(endpoint.ip, target), endpoint))
        })
    }
}

/// One pod, or another address that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub ip: IpAddr,
    /// Target port for each of [`Endpoints::service_ports`]; `None`: not offered there.
    pub target_ports: Vec<Option<u16>>,
    /// Indexes into [`Endpoints::subset_names`].
    pub subsets: Vec<usize>,
    /// Identity to expect; `None`: no sidecar there, plain text.
    pub identity: Option<SpiffeId>,
    /// Its ports that speak plain text all the same.
    pub plain_ports: Box<[u16]>,
    /// The pod.
    pub workload: Name,
    /// `app` label, for telemetry; may be empty.
    pub app: Arc<str>,
    /// `version` label, for telemetry; may be empty.
    pub version: Arc<str>,
    /// Name of the Deployment or the like, for telemetry; may be empty.
    pub owner: Arc<str>,
    /// What matters for the choice among several.
    pub placement: Placement,
}

/// The routes of one service, compiled.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// First match wins.
    pub http: HttpTable,
    /// For opaque connections; the first whose port and name fit.
    pub tcp: Vec<TcpRule>,
    /// Ports that `http` is for; empty: every port.
    pub http_ports: Vec<u16>,
}

impl RouteTable {
    /// The rules for a port of the service; `None`: its requests are balanced plainly.
    pub fn http_for(&self, port: u16) -> Option<&HttpTable> {
        let is_for = self.http_ports.is_empty() || self.http_ports.contains(&port);
        (is_for && !self.http.rules().is_empty()).then_some(&self.http)
    }
}

/// What a TCP rule does with the connections it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRule {
    /// The user's resource, rule, file and line.
    pub origin: Arc<str>,
    /// Port of the service; `None`: any.
    pub port: Option<u16>,
    /// Where to, by weight. Not empty.
    pub destinations: Vec<Destination>,
    /// Names that a TLS client asks for, one of these; empty: every connection.
    pub sni_hosts: Vec<SniHost>,
}

/// A name that a TLS client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SniHost {
    /// This one, in lower case.
    Exact(Box<str>),
    /// Any that ends with this: a dot and a name, in lower case. With nothing: any at all.
    EndsWith(Box<str>),
}

impl SniHost {
    /// Whether it names this, which is in lower case.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            SniHost::Exact(exact) => **exact == *name,
            SniHost::EndsWith(end) => name.len() > end.len() && name.ends_with(&**end),
        }
    }
}

impl TcpRule {
    /// Whether a connection whose client asked for this name, in lower case, is the rule's.
    pub fn takes(&self, name: Option<&str>) -> bool {
        self.sni_hosts.is_empty()
            || name.is_some_and(|name| self.sni_hosts.iter().any(|host| host.takes(name)))
    }
}

/// A weighted destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The service.
    pub service: Name,
    /// A subset of it; `None`: all of it.
    pub subset: Option<Arc<str>>,
    /// Port of the service; `None`: the one that was called.
    pub port: Option<u16>,
    /// Relative weight.
    pub weight: u32,
}

/// Whether inbound connections must be mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MtlsMode {
    /// Mutual TLS and plain text are both accepted.
    #[default]
    Permissive,
    /// Only mutual TLS.
    Strict,
    /// Only plain text: TLS is the application's own.
    Disable,
}

/// What a sidecar must know of its own pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `NAMESPACE/POD`.
    pub name: Name,
    /// Its identity.
    pub identity: SpiffeId,
    /// Ports that are known, in the pod's numbers.
    pub ports: HashMap<u16, InboundPort>,
    /// For every other port.
    pub mtls: MtlsMode,
    /// The policy that says so, with its file and line; empty: it is the default.
    pub mtls_origin: Arc<str>,
    /// The same of ports of which another policy decides, or another line.
    pub port_mtls_origins: HashMap<u16, Arc<str>>,
    /// `app` label; may be empty.
    pub app: Arc<str>,
    /// `version` label; may be empty.
    pub version: Arc<str>,
    /// Name of the Deployment or the like; may be empty.
    pub owner: Arc<str>,
    /// Where it is; may be unknown.
    pub locality: Locality,
    /// Connections to addresses that the mesh does not know are refused.
    pub registry_only: bool,
    /// Its labels, for policies that prefer endpoints with the same.
    pub priority_labels: Vec<(Arc<str>, Arc<str>)>,
}

/// A port of this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPort {
    /// Declared protocol.
    pub protocol: Protocol,
    /// Whether it must be mutual TLS.
    pub mtls: MtlsMode,
    /// The service that targets it, for telemetry.
    pub service: Option<Name>,
}

/// How much to trace, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Telemetry {
    /// Parts in a million of the requests that carry no decision.
    pub sampling_ppm: u32,
    /// Collector; `None`: spans are not kept.
    pub collector: Option<Collector>,
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// `http://…`, `https://…`, or `spiffe+https://HOST:PORT`.
    pub endpoint: Arc<str>,
    /// Identity to expect of a `spiffe+https` endpoint.
    pub identity: Option<SpiffeId>,
}
