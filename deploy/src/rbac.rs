//! What our parts may do: the least that works, each verb for a reason. Where the API allows it, only
//! for objects of our own names.

use heddle_identity::workload::trust_config_map;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use crate::{
    Settings, labels,
    parts::{CONTROL, IDENTITY, INJECTOR, ROOT_SECRET, of_cluster},
};

const RBAC: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn may(verbs: &[&str], group: &str, resources: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn named(names: &[&str], rule: PolicyRule) -> PolicyRule {
    PolicyRule {
        resource_names: Some(owned(names)),
        ..rule
    }
}

pub(crate) fn cluster_roles(settings: &Settings) -> Vec<ClusterRole> {
    let role = |part: &str, rules| ClusterRole {
        metadata: labels::cluster(settings, &of_cluster(settings, part), part),
        rules: Some(rules),
        ..ClusterRole::default()
    };
    vec![
        role(IDENTITY, identity(settings)),
        role(CONTROL, control()),
        role(INJECTOR, injector(settings)),
    ]
}

/// Whose tokens are good; the bundle in every namespace.
fn identity(settings: &Settings) -> Vec<PolicyRule> {
    vec![
        may(&["create"], "authentication.k8s.io", &["tokenreviews"]),
        may(&["list", "watch"], "", &["namespaces"]),
        // Who creates cannot be asked for a name.
        may(&["create"], "", &["configmaps"]),
        named(
            &[&trust_config_map(&settings.namespace)],
            may(&["list", "watch", "patch"], "", &["configmaps"]),
        ),
    ]
}

/// What the model is made of; the status of routes; what users are told.
fn control() -> Vec<PolicyRule> {
    let watch = |group, resources| may(&["list", "watch"], group, resources);
    vec![
        watch(
            "",
            &["services", "pods", "nodes", "namespaces", "serviceaccounts"],
        ),
        watch("discovery.k8s.io", &["endpointslices"]),
        watch("networking.k8s.io", &["networkpolicies"]),
        watch(
            "networking.istio.io",
            &[
                "virtualservices",
                "destinationrules",
                "serviceentries",
                "sidecars",
            ],
        ),
        watch("security.istio.io", &["peerauthentications"]),
        watch("telemetry.istio.io", &["telemetries"]),
        watch("gateway.networking.k8s.io", &["httproutes", "grpcroutes"]),
        may(
            &["patch"],
            "gateway.networking.k8s.io",
            &["httproutes/status", "grpcroutes/status"],
        ),
        may(&["create"], "events.k8s.io", &["events"]),
    ]
}

/// What namespaces say; pods that miss a sidecar; the webhooks' authority; what users are told.
fn injector(settings: &Settings) -> Vec<PolicyRule> {
    let names = [INJECTOR, CONTROL].map(|part| of_cluster(settings, part));
    let webhooks = &[
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ];
    vec![
        may(READ, "", &["namespaces", "pods"]),
        may(&["list", "watch"], "admissionregistration.k8s.io", webhooks),
        named(
            &names.each_ref().map(String::as_str),
            may(&["get", "patch"], "admissionregistration.k8s.io", webhooks),
        ),
        may(&["create"], "events.k8s.io", &["events"]),
    ]
}

pub(crate) fn roles(settings: &Settings) -> Vec<Role> {
    let role = |part: &str, rules| Role {
        metadata: labels::local(settings, part, part),
        rules: Some(rules),
    };
    vec![
        role(
            IDENTITY,
            vec![
                may(&["create"], "", &["secrets"]),
                named(
                    &[ROOT_SECRET],
                    may(&["get", "list", "watch", "update"], "", &["secrets"]),
                ),
            ],
        ),
        // Who writes status is one of them.
        role(
            CONTROL,
            vec![
                may(&["create"], "coordination.k8s.io", &["leases"]),
                named(
                    &[CONTROL],
                    may(&["get", "update"], "coordination.k8s.io", &["leases"]),
                ),
            ],
        ),
    ]
}

fn subject(settings: &Settings, part: &str) -> Vec<Subject> {
    vec![Subject {
        kind: "ServiceAccount".into(),
        name: part.to_owned(),
        namespace: Some(settings.namespace.clone()),
        ..Subject::default()
    }]
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: Some(RBAC.into()),
        kind: kind.into(),
        name: name.into(),
    }
}

pub(crate) fn cluster_role_bindings(settings: &Settings) -> Vec<ClusterRoleBinding> {
    let binding = |part: &str, name: &str, role: &str| ClusterRoleBinding {
        metadata: labels::cluster(settings, name, part),
        role_ref: role_ref("ClusterRole", role),
        subjects: Some(subject(settings, part)),
    };
    let mut bindings: Vec<_> = [IDENTITY, CONTROL, INJECTOR]
        .into_iter()
        .map(|part| {
            let name = of_cluster(settings, part);
            binding(part, &name, &name)
        })
        .collect();
    // The cluster's own role for reading the token issuer's keys.
    bindings.push(binding(
        IDENTITY,
        &format!("{IDENTITY}-issuer-{}", settings.namespace),
        "system:service-account-issuer-discovery",
    ));
    bindings
}

pub(crate) fn role_bindings(settings: &Settings) -> Vec<RoleBinding> {
    [IDENTITY, CONTROL]
        .into_iter()
        .map(|part| RoleBinding {
            metadata: labels::local(settings, part, part),
            role_ref: role_ref("Role", part),
            subjects: Some(subject(settings, part)),
        })
        .collect()
}
