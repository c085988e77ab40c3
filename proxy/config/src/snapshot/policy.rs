//! How a sidecar connects to a service: what a DestinationRule says, checked, with its defaults
//! filled in. The control plane has merged and chosen already; nothing is merged here.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::place::Locality;

/// A policy, and what of a service it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedPolicy {
    /// `None`: every subset.
    pub subset: Option<Arc<str>>,
    /// Port of the service; `None`: any.
    pub port: Option<u16>,
    /// What it says.
    pub policy: Arc<TrafficPolicy>,
}

/// How this sidecar connects to endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrafficPolicy {
    /// The user's resource, file and line.
    pub origin: Arc<str>,
    /// Which endpoint is next.
    pub algorithm: Algorithm,
    /// How long a new endpoint takes to get its whole share.
    pub warmup: Option<Duration>,
    /// Shares by place; `None`: places do not matter.
    pub locality: Option<LocalityPolicy>,
    /// Below this share of healthy endpoints, in percent, all are used. 0: never.
    pub panic_percent: u32,
    /// Bounds of connections and requests.
    pub pool: ConnectionPool,
    /// When an endpoint that fails is left out.
    pub outlier: Option<OutlierDetection>,
    /// How connections are protected.
    pub tls: ClientTls,
    /// Bound of retries under way; before [`ConnectionPool::max_retries`].
    pub retry_budget: Option<RetryBudget>,
}

/// Which endpoint is next.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The less loaded of two.
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one that was called.
    Passthrough,
    /// The same for the same key, found in a table.
    Hash(HashKey, HashTable),
}

/// What of a request stays with one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// A header's values.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(Cookie),
    /// The caller's address.
    SourceIp,
    /// The value of a parameter in the query.
    QueryParameter(Arc<str>),
}

/// A cookie that keeps a client where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: Arc<str>,
    /// Its path; empty: none is said.
    pub path: Arc<str>,
    /// How long one lives that the sidecar sets for a client without it; `None`: it sets none; zero:
    /// for the session.
    pub ttl: Option<Duration>,
}

/// How keys are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// A ring with at least so many points.
    Ring(u32),
    /// A Maglev table of so many places, a prime.
    Maglev(u32),
}

/// Shares of traffic by place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LocalityPolicy {
    /// Prefer the own place, then wider ones, then others.
    pub failover_enabled: bool,
    /// Shares by the caller's place; the first that fits.
    pub distribute: Vec<Distribute>,
    /// Region to go to next when the own one falls short: from, to.
    pub failover: Vec<(Arc<str>, Arc<str>)>,
    /// Labels that an endpoint should share with this pod, in order; a value asked for in place of
    /// the pod's own.
    pub priority_labels: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// Where the traffic of one place goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribute {
    /// Callers of this place.
    pub from: Locality,
    /// Relative shares.
    pub to: Vec<(Locality, u32)>,
}

/// Bounds of connections and requests; `None`: no bound of its own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConnectionPool {
    /// Connections that are open, over all workers.
    pub max_connections: Option<u32>,
    /// For a connection to be made, TLS included.
    pub connect_timeout: Option<Duration>,
    /// Probes of a connection on which nothing happens.
    pub keepalive: Option<Keepalive>,
    /// Requests that wait for a connection, over all workers.
    pub max_pending_requests: Option<u32>,
    /// Requests under way, over all workers.
    pub max_requests: Option<u32>,
    /// Requests before a connection is ended.
    pub max_requests_per_connection: Option<u32>,
    /// Retries under way, over all workers.
    pub max_retries: Option<u32>,
    /// For a connection without a request.
    pub idle_timeout: Option<Duration>,
    /// Age at which a connection takes no more requests.
    pub max_connection_duration: Option<Duration>,
}

/// TCP keepalive; `None`: the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Until the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
    /// Unanswered ones before the connection is given up.
    pub probes: Option<u32>,
}

/// When an endpoint that fails is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Answers 5xx in a row; 0: off.
    pub consecutive_5xx: u32,
    /// Answers 502, 503 or 504 in a row; 0: off.
    pub consecutive_gateway_errors: u32,
    /// Failures to connect or to be answered at all, in a row, told apart from answers (0: off);
    /// `None`: they count as gateway errors.
    pub consecutive_local_failures: Option<u32>,
    /// How often an endpoint's earlier ejections are forgotten by one.
    pub interval: Duration,
    /// How long an endpoint is left out, times how often it was.
    pub base_ejection_time: Duration,
    /// Most that may be left out at a time.
    pub max_ejection_percent: u32,
}

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ClientTls {
    /// The mesh's mutual TLS to every endpoint that has an identity.
    #[default]
    Auto,
    /// Never.
    Disable,
    /// The mesh's mutual TLS; an endpoint without an identity is not connected to.
    Mesh,
    /// TLS to servers outside the mesh.
    Originate(Arc<TlsOrigin>),
}

/// TLS to servers outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct TlsOrigin {
    /// Server name; empty: the service's first host.
    pub sni: Arc<str>,
    /// Names of which the server's certificate must have one; empty: the server name.
    pub subject_alt_names: Vec<Arc<str>>,
    /// File of the roots, PEM; `None`: the machine's.
    pub roots: Option<Arc<str>>,
    /// The server's certificate is not verified.
    pub skip_verify: bool,
    /// Files of our own certificate and its key, PEM.
    pub own: Option<(Arc<str>, Arc<str>)>,
}

/// Retries under way, as a share of requests under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// In percent.
    pub percent: u32,
    /// Allowed however few requests there are.
    pub min_retries: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            min_retries: 3,
        }
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            consecutive_local_failures: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
        }
    }
}

/// The most specific of the policies for a subset and a port: both, then the subset, then the port,
/// then neither.
pub(super) fn find<'a>(
    policies: &'a [ScopedPolicy],
    subset: Option<&str>,
    port: u16,
) -> Option<&'a Arc<TrafficPolicy>> {
    let fits =
        |scoped: &&ScopedPolicy| scoped.subset.is_none() || scoped.subset.as_deref() == subset;
    policies
        .iter()
        .filter(fits)
        .filter(|scoped| scoped.port.is_none_or(|only| only == port))
        .max_by_key(|scoped| (scoped.subset.is_some(), scoped.port.is_some()))
        .map(|scoped| &scoped.policy)
}
