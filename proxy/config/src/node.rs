//! Which sidecar this is: the names under which it subscribes to what concerns its own pod.

use heddle_identity::TrustDomain;

use crate::kind::Kind;

/// The pod that this sidecar serves.
#[derive(Clone, Debug)]
pub struct ProxyNode {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The trust domain of its identity.
    pub trust_domain: TrustDomain,
}

impl ProxyNode {
    /// `NAMESPACE/POD`: the node id in discovery, and the name of the Workload resource.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }

    /// The one name under which this sidecar subscribes to resources of this type; `None` for
    /// types that have many.
    pub(crate) fn own_name(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Workload => Some(self.id()),
            Kind::TrustBundle => Some(self.trust_domain.to_string()),
            Kind::Telemetry => Some(self.namespace.clone()),
            Kind::Address | Kind::DnsName | Kind::Service | Kind::Endpoints | Kind::RouteTable => {
                None
            }
        }
    }
}
