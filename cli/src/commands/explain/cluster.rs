//! Sidecars of a cluster: their loopback admin is asked through the API server's port-forward, with the
//! rights of whoever asks. Nothing listens on this machine, and nothing is changed.

use std::io;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::client::UpgradeConnectionError;
use serde_json::Value;

use super::running::Found;
use crate::api::{Ask, Failed};
use crate::commands::cluster::ask::{Cluster, WITHIN, within};
use crate::daemon::sidecar::{ADMIN_PORT, explain_over};
use crate::failure::{Failure, Outcome};
use crate::manifests::resolve;
use crate::node::status::PROXY_CONTAINER;

const NOT_FOUND: u16 = 404;

/// The pod of that name, else one of a workload of that name: a ready one, if there is any.
pub(super) async fn find(cluster: &Cluster, namespace: &str, asked: &str) -> Outcome<Found> {
    let (kind, name) = match asked.split_once('/') {
        None => (None, asked),
        Some((word, name)) => {
            let kind = resolve(word)
                .ok_or_else(|| Failure::new(format!("`{word}` is not a kind of `{asked}`")))?;
            (Some(kind.name), name)
        }
    };
    let cannot = |reason: String| {
        Failure::new(format!("cannot look for {asked} in namespace {namespace}"))
            .why(reason)
            .advise("heddle check --cluster  says what you may do there")
            .not_asked()
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    if kind.is_none_or(|kind| kind == "Pod") {
        match within(pods.get(name)).await {
            Ok(pod) => return found(&pod),
            Err(refused) if refused.code == NOT_FOUND => {}
            Err(refused) => return Err(cannot(refused.reason)),
        }
    }
    let all = cluster.list(&pods, ListParams::default()).await;
    let all = all.map_err(|refused| cannot(refused.reason))?;
    let mut own: Vec<&Pod> = all
        .iter()
        .filter(|pod| {
            workload(pod).is_some_and(|(of_kind, of_name)| {
                of_name == name && kind.is_none_or(|kind| kind == of_kind)
            })
        })
        .collect();
    own.sort_by_key(|pod| (pod.metadata.deletion_timestamp.is_some(), !is_ready(pod)));
    match own.first() {
        Some(pod) => found(pod),
        None => Err(Failure::new(format!(
            "no pod or workload `{asked}` in namespace `{namespace}`"
        ))
        .advise(format!("kubectl -n {namespace} get pods  lists them"))),
    }
}

fn found(pod: &Pod) -> Outcome<Found> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if let Some(phase) = phase.filter(|phase| *phase != "Running") {
        return Err(Failure::new(format!("pod {namespace}/{name} is {phase}"))
            .why("its sidecar can only be asked while it runs")
            .advise(format!("kubectl -n {namespace} describe pod {name}")));
    }
    let spec = pod.spec.as_ref();
    let is_proxy = |name: &str| name == PROXY_CONTAINER;
    let has_sidecar = spec.is_some_and(|spec| {
        let native = spec.init_containers.iter().flatten();
        let mut all = spec.containers.iter().chain(native);
        all.any(|container| is_proxy(&container.name))
    });
    if !has_sidecar {
        return Err(
            Failure::new(format!("pod {namespace}/{name} has no sidecar"))
                .why("no route applies to what it sends")
                .advise("name a pod that has one; docs/kubernetes.md says how pods get it"),
        );
    }
    let ip = status.and_then(|status| status.pod_ip.as_deref());
    Ok(Found {
        ip: ip.and_then(|ip| ip.parse().ok()),
        namespace,
        name,
    })
}

/// Kind and name of what a person wrote: a Deployment in the place of its ReplicaSet.
fn workload(pod: &Pod) -> Option<(&str, &str)> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref()?.get("pod-template-hash");
    match (owner.kind.as_str(), hash) {
        ("ReplicaSet", Some(hash)) => {
            let name = owner.name.strip_suffix(hash.as_str())?;
            Some(("Deployment", name.strip_suffix('-')?))
        }
        (kind, _) => Some((kind, &owner.name)),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut ready = conditions.into_iter().flatten();
    ready.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Asks the sidecar of a pod.
pub(super) async fn explain(cluster: &Cluster, ask: &Ask) -> Outcome<Value> {
    let pod = format!("{}/{}", ask.namespace, ask.pod);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &ask.namespace);
    let forwarding = tokio::time::timeout(WITHIN, pods.portforward(&ask.pod, &[ADMIN_PORT])).await;
    let late = || {
        Failure::new(format!(
            "the API server did not open a way to pod {pod} in time"
        ))
        .not_asked()
    };
    let mut forwarded = forwarding
        .map_err(|_| late())?
        .map_err(|error| not_forwarded(&pod, &ask.namespace, &error))?;
    let stream = forwarded.take_stream(ADMIN_PORT);
    let trouble = forwarded.take_error(ADMIN_PORT);
    let connected = std::future::ready(stream.ok_or_else(|| io::ErrorKind::NotConnected.into()));
    let answered = explain_over(connected, &ask.question).await;
    // What the kubelet says is nearer to the cause. It has been said by now, if it is said at all.
    let answered = match (answered, trouble) {
        (Err(failed), Some(trouble)) => {
            let told = tokio::time::timeout(std::time::Duration::ZERO, trouble).await;
            Err(match told.ok().flatten() {
                Some(reason) => Failed {
                    error: format!("its sidecar cannot be reached: {reason}"),
                    ..failed
                },
                None => failed,
            })
        }
        (answered, _) => answered,
    };
    forwarded.abort();
    answered.map_err(|failed| {
        let failure = Failure::new(format!("pod {pod}: {}", failed.error));
        let logs = format!(
            "kubectl -n {} logs {} -c {PROXY_CONTAINER}",
            ask.namespace, ask.pod
        );
        failure.advise(logs).not_asked()
    })
}

fn not_forwarded(pod: &str, namespace: &str, error: &kube::Error) -> Failure {
    let failure = Failure::new(format!("cannot reach the sidecar of pod {pod}")).not_asked();
    let status = match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
            Some(status.as_u16())
        }
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    };
    match status {
        Some(401 | 403) => failure
            .why("you may not forward ports of pods there")
            .advise(format!(
                "ask for the rights `get` and `create` of `pods/portforward` in {namespace}; or explain from files with -f"
            )),
        Some(NOT_FOUND) => failure.why("it is gone").advise("the same command again"),
        _ => failure.because(error),
    }
}

#[cfg(test)]
mod tests;
