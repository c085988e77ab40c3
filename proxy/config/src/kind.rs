//! The resource types that the control plane pushes, in the order in which they must arrive.

use std::fmt;

use heddle_proto::mesh::type_url;

/// A resource type. Ordered by dependency: what an address needs comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Endpoints of a service.
    Endpoints,
    /// A service.
    Service,
    /// Routes of a service.
    RouteTable,
    /// The own pod.
    Workload,
    /// Roots of the trust domain.
    TrustBundle,
    /// How much to trace.
    Telemetry,
    /// What an IP stands for.
    Address,
    /// What a host name stands for.
    DnsName,
}

impl Kind {
    /// Every type, in order.
    pub const ALL: [Self; 8] = [
        Self::Endpoints,
        Self::Service,
        Self::RouteTable,
        Self::Workload,
        Self::TrustBundle,
        Self::Telemetry,
        Self::Address,
        Self::DnsName,
    ];

    /// The type's URL in discovery.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Endpoints => type_url::ENDPOINTS,
            Self::Service => type_url::SERVICE,
            Self::RouteTable => type_url::ROUTE_TABLE,
            Self::Workload => type_url::WORKLOAD,
            Self::TrustBundle => type_url::TRUST_BUNDLE,
            Self::Telemetry => type_url::TELEMETRY,
            Self::Address => type_url::ADDRESS,
            Self::DnsName => type_url::DNS_NAME,
        }
    }

    /// The type that has this URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_url().rsplit('.').next().unwrap_or_default())
    }
}
