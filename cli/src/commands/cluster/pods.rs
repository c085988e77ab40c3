//! What pods have: the trust bundle in their namespace, and a sidecar of the version that is installed.

use std::collections::BTreeMap;

use heddle_control::check::Code;
use heddle_identity::workload::trust_config_map;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, ListParams, PartialObjectMeta};
use serde::Deserialize;

use super::ask::Cluster;
use super::{Finding, Severity, finding};

const STATUS: &str = "heddle.io/status";

/// What the injector writes down of what it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub(super) struct Injected {
    version: String,
    revision: String,
}

/// Every namespace has the bundle, and the same.
pub(super) async fn bundles(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(cluster.client.clone());
    let maps: Api<ConfigMap> = Api::all(cluster.client.clone());
    let name = trust_config_map(&cluster.namespace);
    let ours = ListParams::default().fields(&format!("metadata.name={name}"));
    let namespaces = cluster.list(&namespaces, ListParams::default()).await;
    let maps = cluster.list(&maps, ours).await;
    let (Ok(namespaces), Ok(maps)) = (namespaces, maps) else {
        return;
    };
    let bundles: BTreeMap<_, _> = maps
        .into_iter()
        .filter_map(|map| Some((map.metadata.namespace?, map.data?.remove("root-cert.pem")?)))
        .collect();
    let Some(right) = bundles.get(&cluster.namespace) else {
        // Told already.
        return;
    };
    let stays = |one: &&PartialObjectMeta<Namespace>| one.metadata.deletion_timestamp.is_none();
    let names = namespaces
        .iter()
        .filter(stays)
        .filter_map(|one| one.metadata.name.as_ref());
    let wrong: Vec<_> = names
        .filter(|name| bundles.get(*name) != Some(right))
        .map(String::as_str)
        .collect();
    if !wrong.is_empty() {
        findings.push(finding(
            Code::OldBundle,
            Severity::Warning,
            "trust bundle",
            format!("is missing or old in {}", some(&wrong)),
            format!(
                "kubectl -n {} logs deploy/heddle-identity",
                cluster.namespace
            ),
        ));
    }
}

/// Pods whose sidecar is of another version or revision than new ones get.
pub(super) async fn stale(
    cluster: &Cluster,
    current: Option<Injected>,
    findings: &mut Vec<Finding>,
) {
    let Some(current) = current else { return };
    let api: Api<PartialObjectMeta<Pod>> = Api::all(cluster.client.clone());
    let pods = match cluster.list(&api, ListParams::default()).await {
        Ok(pods) => pods,
        Err(refused) => {
            let reason = format!("cannot be listed: {refused}");
            findings.push(finding(
                Code::OldSidecars,
                Severity::Warning,
                "pods",
                reason,
                "",
            ));
            return;
        }
    };
    let mut old: BTreeMap<(String, Injected), Vec<String>> = BTreeMap::new();
    for pod in pods {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let Some(status) = annotations.get(STATUS) else {
            continue;
        };
        let injected: Injected = serde_json::from_str(status).unwrap_or_default();
        if injected != current {
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let name = pod.metadata.name.unwrap_or_default();
            old.entry((namespace, injected)).or_default().push(name);
        }
    }
    for ((namespace, injected), names) in old {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        findings.push(finding(
            Code::OldSidecars,
            Severity::Warning,
            format!("pods in {namespace}"),
            format!(
                "{} have a sidecar of version {} (revision {}), new ones get {} ({})",
                some(&names),
                injected.version,
                injected.revision,
                current.version,
                current.revision
            ),
            format!("kubectl -n {namespace} rollout restart deploy  when it suits"),
        ));
    }
}

/// The first few, and how many more.
pub(super) fn some(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
