//! The labels that the data path knows per destination, parsed once when configuration changes.
//! Names and meanings are Istio's; what is not known is `unknown`, as there. The canonical service
//! and revision, which Kiali draws its graph by, are the `app` and `version` labels.

use super::render::escape;
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

impl Labels {
    /// As they stand between the braces.
    pub(super) fn text(&self) -> String {
        let mut out = String::with_capacity(768);
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        let protocol = match self.protocol {
            RequestProtocol::Http => "http",
            RequestProtocol::Grpc => "grpc",
            RequestProtocol::Tcp => "tcp",
        };
        let security = match self.security {
            Security::MutualTls => "mutual_tls",
            Security::None => "none",
            Security::Unknown => "unknown",
        };
        label(&mut out, "reporter", reporter);
        peer(&mut out, &self.source, SOURCE);
        peer(&mut out, &self.destination, DESTINATION);
        label(&mut out, "destination_service", &self.service.host);
        label(&mut out, "destination_service_name", &self.service.name);
        label(
            &mut out,
            "destination_service_namespace",
            &self.service.namespace,
        );
        label(&mut out, "request_protocol", protocol);
        label(&mut out, "connection_security_policy", security);
        out
    }
}

/// Names of a peer's labels, in the order of [`peer`].
type PeerNames = [&'static str; 7];

const SOURCE: PeerNames = [
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
];
const DESTINATION: PeerNames = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
];

fn peer(out: &mut String, peer: &Peer, names: PeerNames) {
    let canonical = if peer.app.is_empty() {
        &peer.workload
    } else {
        &peer.app
    };
    let revision = match (peer.version.as_str(), canonical.is_empty()) {
        ("", false) => "latest",
        (version, _) => version,
    };
    let values = [
        &peer.workload,
        &peer.namespace,
        &peer.principal,
        &peer.app,
        &peer.version,
        canonical.as_str(),
        revision,
    ];
    for (name, value) in names.iter().zip(values) {
        label(out, name, value);
    }
}

fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    escape(out, if value.is_empty() { "unknown" } else { value });
    out.push('"');
}
