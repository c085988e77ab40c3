//! Names of objects. `NsName` ("NAMESPACE/NAME", one shared allocation) is what resources are
//! called on the wire and what every index is keyed by; `ObjectKey` adds the kind.
//! Invariant: both halves are non-empty and neither holds a `/`.

use std::{borrow::Borrow, fmt, sync::Arc};

/// "NAMESPACE/NAME".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NsName(Arc<str>);

impl NsName {
    /// None when a half is empty or holds a `/`.
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let fits = |part: &str| !part.is_empty() && !part.contains('/');
        (fits(namespace) && fits(name)).then(|| Self(format!("{namespace}/{name}").into()))
    }

    /// Reads the wire form.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Self::new(namespace, name)
    }

    /// The wire form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The wire form, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The half before the `/`.
    pub fn namespace(&self) -> &str {
        self.0
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The half after the `/`.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

/// Whether something can be the name of a namespace (RFC 1123, a label in small letters).
pub(crate) fn is_label(text: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_good)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl Borrow<str> for NsName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds that the control plane reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A namespace.
    Namespace,
    /// A service account.
    ServiceAccount,
    /// A Service.
    Service,
    /// A machine of the cluster.
    Node,
    /// A pod.
    Pod,
    /// A part of a service's endpoints.
    EndpointSlice,
    /// Istio's services of elsewhere.
    ServiceEntry,
    /// Istio's subsets of a host.
    DestinationRule,
    /// Istio's routes of a host.
    VirtualService,
    /// Gateway API's routes for HTTP.
    HttpRoute,
    /// Gateway API's routes for gRPC.
    GrpcRoute,
    /// Istio's mutual-TLS mode of workloads.
    PeerAuthentication,
    /// Istio's telemetry settings.
    Telemetry,
    /// Istio's bounds of what pods may call.
    Sidecar,
    /// Kubernetes' rules of who may connect to a pod; read, so that nobody believes them in force.
    NetworkPolicy,
}

impl Kind {
    /// Of these the last good version survives a restart: they are written by people. The others are
    /// filled in by servers, which write them again.
    pub fn is_kept(self) -> bool {
        matches!(
            self,
            Self::Service
                | Self::ServiceEntry
                | Self::DestinationRule
                | Self::VirtualService
                | Self::HttpRoute
                | Self::GrpcRoute
                | Self::PeerAuthentication
                | Self::Telemetry
                | Self::Sidecar
        )
    }

    /// The kind that is spelt so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    const ALL: [Self; 15] = [
        Self::Namespace,
        Self::ServiceAccount,
        Self::Service,
        Self::Node,
        Self::Pod,
        Self::EndpointSlice,
        Self::ServiceEntry,
        Self::DestinationRule,
        Self::VirtualService,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::PeerAuthentication,
        Self::Telemetry,
        Self::Sidecar,
        Self::NetworkPolicy,
    ];

    /// As `kind:` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceEntry => "ServiceEntry",
            Self::DestinationRule => "DestinationRule",
            Self::VirtualService => "VirtualService",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Telemetry => "Telemetry",
            Self::Sidecar => "Sidecar",
            Self::NetworkPolicy => "NetworkPolicy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind, namespace and name: what makes two documents the same object. Objects of kinds
/// without namespaces carry the namespace `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: NsName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_back_and_slashes_are_refused() {
        let name = NsName::parse("shop/reviews").expect("valid");
        assert_eq!((name.namespace(), name.name()), ("shop", "reviews"));
        for bad in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(NsName::parse(bad).is_none(), "{bad}");
        }
    }
}
