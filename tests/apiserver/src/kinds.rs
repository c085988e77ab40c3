//! The kinds that are served. Built in are those of the API server itself that a mesh meets; every other
//! comes and goes with its CustomResourceDefinition, as in a real cluster.

use serde_json::Value;

/// A kind, in all of its served versions. They share one storage; converting changes nothing but the
/// `apiVersion`, as with `conversion: {strategy: None}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its API group; empty: core.
    pub group: String,
    /// Served versions, the preferred one first.
    pub versions: Vec<String>,
    /// As in `kind:`.
    pub kind: String,
    /// As in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether `status` is a subresource: then nothing else writes it.
    pub status: bool,
    /// Of the server itself, not of a CustomResourceDefinition.
    pub built_in: bool,
}

impl Kind {
    /// A kind as a CustomResourceDefinition would add it, namespaced and with a status.
    pub fn custom(group: &str, versions: &[&str], kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            versions: versions
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced: true,
            status: true,
            built_in: false,
        }
    }

    /// `PLURAL.GROUP`, as in messages and as a CustomResourceDefinition is called.
    pub fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `apiVersion:` in a version.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// The CustomResourceDefinition that would add it.
    pub fn definition(&self) -> Value {
        let versions = self.versions.iter().enumerate().map(|(i, version)| {
            let mut entry = serde_json::json!({
                "name": version, "served": true, "storage": i == 0,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            });
            if self.status {
                entry["subresources"] = serde_json::json!({"status": {}});
            }
            entry
        });
        serde_json::json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.resource()},
            "spec": {
                "group": self.group,
                "names": {
                    "kind": self.kind, "plural": self.plural,
                    "singular": self.kind.to_lowercase(), "listKind": format!("{}List", self.kind),
                },
                "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "versions": versions.collect::<Vec<_>>(),
            },
        })
    }

    /// What a CustomResourceDefinition adds; why not, if it is not one.
    pub(crate) fn of_definition(definition: &Value) -> Result<Self, String> {
        let spec = &definition["spec"];
        let text = |value: &Value, field: &str| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!("{field}: Required value")),
        };
        let versions = spec["versions"].as_array().cloned().unwrap_or_default();
        let served = versions.iter().filter(|version| version["served"] == true);
        let names = served.filter_map(|version| version["name"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return Err("spec.versions: Required value: at least one must be served".into());
        }
        names.sort_by_key(|name| std::cmp::Reverse(priority(name)));
        let kind = Self {
            group: text(&spec["group"], "spec.group")?,
            versions: names,
            kind: text(&spec["names"]["kind"], "spec.names.kind")?,
            plural: text(&spec["names"]["plural"], "spec.names.plural")?,
            namespaced: match spec["scope"].as_str() {
                Some("Namespaced") => true,
                Some("Cluster") => false,
                _ => return Err("spec.scope: Unsupported value".into()),
            },
            status: versions
                .iter()
                .any(|version| version["subresources"]["status"].is_object()),
            built_in: false,
        };
        if definition["metadata"]["name"] != kind.resource() {
            return Err(format!(
                "metadata.name: Invalid value: must be {}",
                kind.resource()
            ));
        }
        Ok(kind)
    }
}

/// Stability first, then the number: v2 > v1 > v1beta2 > v1beta1 > v1alpha3.
fn priority(version: &str) -> (u8, u32, u32) {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let major = major.parse().unwrap_or(0);
    let (stability, minor) = if let Some(minor) = rest.strip_prefix("beta") {
        (1, minor)
    } else if let Some(minor) = rest.strip_prefix("alpha") {
        (0, minor)
    } else {
        (2, rest)
    };
    (stability, major, minor.parse().unwrap_or(0))
}

/// group, version, kind, plural, namespaced, status
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
);

const BUILT_IN: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", false, true),
    ("", "v1", "Node", "nodes", false, true),
    ("", "v1", "Pod", "pods", true, true),
    ("", "v1", "Service", "services", true, true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, false),
    ("", "v1", "ConfigMap", "configmaps", true, false),
    ("", "v1", "Secret", "secrets", true, false),
    ("", "v1", "Event", "events", true, false),
    ("", "v1", "Endpoints", "endpoints", true, false),
    (
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        true,
        true,
    ),
    ("apps", "v1", "Deployment", "deployments", true, true),
    ("apps", "v1", "ReplicaSet", "replicasets", true, true),
    ("apps", "v1", "StatefulSet", "statefulsets", true, true),
    ("apps", "v1", "DaemonSet", "daemonsets", true, true),
    ("batch", "v1", "Job", "jobs", true, true),
    ("batch", "v1", "CronJob", "cronjobs", true, true),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
        true,
    ),
    (
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "endpointslices",
        true,
        false,
    ),
    ("coordination.k8s.io", "v1", "Lease", "leases", true, false),
    ("events.k8s.io", "v1", "Event", "events", true, false),
    (
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        true,
        false,
    ),
    (
        "networking.k8s.io",
        "v1",
        "Ingress",
        "ingresses",
        true,
        true,
    ),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        true,
        true,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRole",
        "clusterroles",
        false,
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "Role",
        "roles",
        true,
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
        true,
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
        false,
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
        true,
    ),
    (
        "scheduling.k8s.io",
        "v1",
        "PriorityClass",
        "priorityclasses",
        false,
        false,
    ),
];

/// Kinds that only answer: (group, kind, plural, namespaced).
pub(crate) const REVIEWS: &[(&str, &str, &str, bool)] = &[
    (
        "authentication.k8s.io",
        "TokenReview",
        "tokenreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        false,
    ),
];

/// What the server has by itself.
pub(crate) fn built_in() -> Vec<Kind> {
    let kind = |row: &Row| Kind {
        group: row.0.to_owned(),
        versions: vec![row.1.to_owned()],
        kind: row.2.to_owned(),
        plural: row.3.to_owned(),
        namespaced: row.4,
        status: row.5,
        built_in: true,
    };
    BUILT_IN.iter().map(kind).collect()
}

/// The kinds of Istio that the mesh reads.
pub fn istio() -> Vec<Kind> {
    let networking = ["v1", "v1beta1", "v1alpha3"];
    vec![
        Kind::custom(
            "networking.istio.io",
            &networking,
            "VirtualService",
            "virtualservices",
        ),
        Kind::custom(
            "networking.istio.io",
            &networking,
            "DestinationRule",
            "destinationrules",
        ),
        Kind::custom(
            "networking.istio.io",
            &networking,
            "ServiceEntry",
            "serviceentries",
        ),
        Kind::custom("networking.istio.io", &networking, "Sidecar", "sidecars"),
        Kind::custom(
            "security.istio.io",
            &["v1", "v1beta1"],
            "PeerAuthentication",
            "peerauthentications",
        ),
        Kind::custom(
            "telemetry.istio.io",
            &["v1", "v1alpha1"],
            "Telemetry",
            "telemetries",
        ),
    ]
}

/// The routes of Gateway API.
pub fn gateway() -> Vec<Kind> {
    let group = "gateway.networking.k8s.io";
    vec![
        Kind::custom(group, &["v1", "v1beta1"], "HTTPRoute", "httproutes"),
        Kind::custom(group, &["v1"], "GRPCRoute", "grpcroutes"),
        Kind::custom(
            group,
            &["v1", "v1beta1"],
            "ReferenceGrant",
            "referencegrants",
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_definition_says_what_it_adds() {
        let mut kinds = istio();
        kinds.extend(gateway());
        for kind in kinds {
            assert_eq!(Kind::of_definition(&kind.definition()).unwrap(), kind);
        }
    }

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha3", "v1", "v2", "v1beta1", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha3"]);
    }
}
