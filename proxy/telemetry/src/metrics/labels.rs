//! The labels that the data path knows per destination, parsed once when configuration changes.
//! Names and meanings are Istio's; what is not known is `unknown`, as there.

use heddle_identity::SpiffeId;
use std::sync::Arc;

/// Which side reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reporter {
    /// Outbound.
    Source,
    /// Inbound.
    Destination,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestProtocol {
    /// HTTP/1 or HTTP/2.
    Http,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
}

/// How the hop was protected, as far as the reporter can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// Mesh mutual TLS.
    MutualTls,
    /// Plain text.
    None,
    /// Istio's value where the source reports.
    Unknown,
}

/// One end of the hop. Empty fields read `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Deployment or the like.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// SPIFFE id.
    pub principal: String,
    /// Label `app`.
    pub app: String,
    /// Label `version`.
    pub version: String,
}

impl Peer {
    /// What an identity alone tells: the namespace and the principal.
    pub fn from_identity(id: &SpiffeId) -> Self {
        Self {
            namespace: id
                .service_account()
                .map(|(namespace, _)| namespace.to_owned())
                .unwrap_or_default(),
            principal: id.to_string(),
            ..Self::default()
        }
    }
}

/// The service that was called. Empty fields read `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Fully qualified host, e.g. `reviews.default.svc.cluster.local`.
    pub host: String,
    /// Short name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// Everything but the outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// Which side reports.
    pub reporter: Reporter,
    /// Who called.
    pub source: Arc<Peer>,
    /// Who was called.
    pub destination: Arc<Peer>,
    /// As what it was called.
    pub service: Arc<Service>,
    /// What was spoken.
    pub protocol: RequestProtocol,
    /// How it was protected.
    pub security: Security,
}
