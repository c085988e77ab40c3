//! The kinds the command line knows: plural and short names as kubectl takes them, and which are
//! namespaced. Kinds that are not listed are carried as they are and taken as namespaced.

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the mesh as a whole.
    Cluster,
}

/// A kind and the names people type for it.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As in manifests: `VirtualService`.
    pub(crate) name: &'static str,
    /// `virtualservices`.
    pub(crate) plural: &'static str,
    short: &'static [&'static str],
    /// Namespaced or not.
    pub(crate) scope: Scope,
}

const fn kind(name: &'static str, plural: &'static str, short: &'static [&'static str]) -> Kind {
    Kind {
        name,
        plural,
        short,
        scope: Scope::Namespaced,
    }
}

const KINDS: &[Kind] = &[
    Kind {
        name: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        scope: Scope::Cluster,
    },
    kind("Pod", "pods", &["po"]),
    kind("Service", "services", &["svc"]),
    kind("ServiceAccount", "serviceaccounts", &["sa"]),
    kind("Deployment", "deployments", &["deploy"]),
    kind("ReplicaSet", "replicasets", &["rs"]),
    kind("StatefulSet", "statefulsets", &["sts"]),
    kind("DaemonSet", "daemonsets", &["ds"]),
    kind("Job", "jobs", &[]),
    kind("CronJob", "cronjobs", &["cj"]),
    kind("ConfigMap", "configmaps", &["cm"]),
    kind("Secret", "secrets", &[]),
    kind("EndpointSlice", "endpointslices", &["eps"]),
    kind("NetworkPolicy", "networkpolicies", &["netpol"]),
    kind("Ingress", "ingresses", &["ing"]),
    kind("VirtualService", "virtualservices", &["vs"]),
    kind("DestinationRule", "destinationrules", &["dr"]),
    kind("ServiceEntry", "serviceentries", &["se"]),
    kind("Sidecar", "sidecars", &[]),
    kind("PeerAuthentication", "peerauthentications", &["pa"]),
    kind("AuthorizationPolicy", "authorizationpolicies", &["ap"]),
    kind("Telemetry", "telemetries", &["telemetry"]),
    kind("HTTPRoute", "httproutes", &[]),
    kind("GRPCRoute", "grpcroutes", &[]),
];

/// The kind a person means by `word`: kind, plural, singular or short name, in any case.
pub(crate) fn resolve(word: &str) -> Option<&'static Kind> {
    // `virtualservices.networking.istio.io` is the full form that kubectl accepts too.
    let word = word.split('.').next().unwrap_or(word).to_ascii_lowercase();
    KINDS.iter().find(|kind| {
        kind.name.to_ascii_lowercase() == word
            || kind.plural == word
            || kind.short.contains(&word.as_str())
    })
}

/// The scope of a kind by its manifest name.
pub(crate) fn scope(kind: &str) -> Scope {
    match kind {
        "ClusterRole"
        | "ClusterRoleBinding"
        | "CustomResourceDefinition"
        | "GatewayClass"
        | "Node" => Scope::Cluster,
        _ => KINDS
            .iter()
            .find(|known| known.name == kind)
            .map_or(Scope::Namespaced, |known| known.scope),
    }
}

/// Every name `get` accepts, for messages.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.plural)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_kubectl() {
        for (word, kind) in [
            ("po", "Pod"),
            ("Pods", "Pod"),
            ("deploy", "Deployment"),
            ("vs", "VirtualService"),
            ("virtualservice.networking.istio.io", "VirtualService"),
            ("dr", "DestinationRule"),
            ("ns", "Namespace"),
            ("httproutes", "HTTPRoute"),
            ("grpcroute.gateway.networking.k8s.io", "GRPCRoute"),
        ] {
            assert_eq!(resolve(word).unwrap().name, kind);
        }
        assert!(resolve("pudding").is_none());
        assert_eq!(scope("Namespace"), Scope::Cluster);
        assert_eq!(scope("Widget"), Scope::Namespaced);
    }
}
