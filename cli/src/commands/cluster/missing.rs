//! Pods that ask for the mesh, or whose namespace does, and have no sidecar; and why, by the injector's own
//! decision with the injector's own configuration.

use std::collections::{BTreeMap, HashMap};

use heddle_control::check::Code;
use heddle_injector::{InjectConfig, Missing, NamespaceMeta, PodContext, may_miss, missing};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, ListParams, PartialObjectMeta};

use super::ask::{Cluster, Refused, within};
use super::pods::some;
use super::{Finding, Severity, finding};

/// Of the installation: the ConfigMap's name and its key.
const CONFIG: (&str, &str) = ("heddle-injector", "injector.yaml");
/// Pods that are asked for one by one, to say why; it would be the same for more.
const CLOSELY: usize = 200;

pub(super) async fn look(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let found = match find(cluster).await {
        Ok(found) => found,
        Err(refused) => {
            let reason = format!("cannot be looked at for missing sidecars: {refused}");
            findings.push(finding(
                Code::NoSidecar,
                Severity::Warning,
                "pods",
                reason,
                "",
            ));
            return;
        }
    };
    for ((namespace, reason), (severity, names)) in found {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let suggestion = match severity {
            Severity::Warning => format!("kubectl -n {namespace} rollout restart deploy"),
            _ => String::new(),
        };
        findings.push(finding(
            Code::NoSidecar,
            severity,
            format!("pods in {namespace}"),
            format!("no sidecar in {}: {reason}", some(&names)),
            suggestion,
        ));
    }
}

/// Names by namespace and reason.
type Found = BTreeMap<(String, String), (Severity, Vec<String>)>;

async fn find(cluster: &Cluster) -> Result<Found, Refused> {
    let config = config(cluster).await?;
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(cluster.client.clone());
    let namespaces = cluster.list(&namespaces, ListParams::default()).await?;
    let contexts: HashMap<_, _> = namespaces.into_iter().filter_map(context).collect();
    let pods: Api<PartialObjectMeta<Pod>> = Api::all(cluster.client.clone());
    let pods = cluster.list(&pods, ListParams::default()).await?;
    let candidates = pods.into_iter().filter_map(|pod| {
        let context = contexts.get(pod.metadata.namespace.as_ref()?)?;
        let labels = pod.metadata.labels.unwrap_or_default();
        let annotations = pod.metadata.annotations.unwrap_or_default();
        may_miss(&labels, &annotations, context, &config).then_some((context, pod.metadata.name?))
    });
    let mut found = Found::new();
    for (context, name) in candidates.take(CLOSELY) {
        let api = Api::<Pod>::namespaced(cluster.client.clone(), &context.namespace);
        let pod = within(api.get_opt(&name)).await?;
        let Some(Ok(pod)) = pod.map(serde_json::to_value) else {
            continue;
        };
        if let Some(missing) = missing(&pod, context, &config) {
            let severity = match missing {
                // As its author wants it, or as it has to be.
                Missing::Skipped(_) => Severity::Note,
                Missing::Refused(_) | Missing::Missed => Severity::Warning,
            };
            let key = (context.namespace.clone(), missing.to_string());
            let (_, names) = found.entry(key).or_insert((severity, Vec::new()));
            names.push(name);
        }
    }
    Ok(found)
}

/// As the injector has it; the defaults where it is somebody else's to give.
async fn config(cluster: &Cluster) -> Result<InjectConfig, Refused> {
    let (name, key) = CONFIG;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let map = within(maps.get_opt(name)).await?;
    let text = map.and_then(|map| map.data?.remove(key));
    let config = text.and_then(|text| InjectConfig::from_yaml(&text).ok());
    Ok(config.unwrap_or_else(|| InjectConfig {
        system_namespace: cluster.namespace.clone(),
        ..InjectConfig::default()
    }))
}

fn context(namespace: PartialObjectMeta<Namespace>) -> Option<(String, PodContext)> {
    let name = namespace.metadata.name?;
    let context = PodContext {
        namespace_meta: NamespaceMeta {
            labels: namespace.metadata.labels.unwrap_or_default(),
            annotations: namespace.metadata.annotations.unwrap_or_default(),
        },
        ..PodContext::new(&name)
    };
    Some((name, context))
}
