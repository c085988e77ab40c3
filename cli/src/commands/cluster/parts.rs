//! Our own parts: there, ready, all of one version; and what the control plane says that it cannot read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use heddle_control::check::Code;
use heddle_control::cluster::lease::TROUBLES;
use heddle_control::source::kubernetes::forbidden;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::ask::{Cluster, within};
use super::{Finding, Severity, finding};

const PARTS: [&str; 3] = ["heddle-identity", CONTROL, "heddle-injector"];
/// And its Lease.
const CONTROL: &str = "heddle-control";

/// Whether any of it is installed.
pub(super) async fn look(cluster: &Cluster, findings: &mut Vec<Finding>) -> bool {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for part in PARTS {
        match within(api.get_opt(part)).await {
            Ok(Some(deployment)) => there.push((part, deployment)),
            Ok(None) => missing.push(part),
            Err(refused) => findings.push(finding(
                Code::NoPart,
                Severity::Error,
                part,
                format!("cannot be read: {refused}"),
                "",
            )),
        }
    }
    if there.is_empty() {
        return false;
    }
    for part in missing {
        findings.push(finding(
            Code::NoPart,
            Severity::Error,
            part,
            format!("is not in the namespace {}", cluster.namespace),
            "heddle install | kubectl apply --server-side -f -",
        ));
    }
    unread(cluster, findings).await;
    unreadable(cluster, findings).await;
    let mut tags = BTreeSet::new();
    for (part, deployment) in &there {
        ready(cluster, part, deployment, findings);
        tags.extend(tag(deployment));
    }
    if tags.len() > 1 {
        let tags: Vec<_> = tags.into_iter().collect();
        findings.push(finding(
            Code::Versions,
            Severity::Warning,
            "versions",
            format!(
                "the mesh's parts are of several versions: {}",
                tags.join(", ")
            ),
            "an upgrade that has not come to its end? kubectl rollout status shows it",
        ));
    }
    true
}

/// A line for each kind that the control plane cannot follow, as the holder of its Lease tells.
async fn unread(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    // Without one, its replicas are not ready: that is told.
    let Ok(Some(lease)) = within(api.get_opt(CONTROL)).await else {
        return;
    };
    let annotations = lease.metadata.annotations.unwrap_or_default();
    for line in annotations
        .get(TROUBLES)
        .map(String::as_str)
        .unwrap_or_default()
        .lines()
    {
        findings.push(finding(
            Code::NotFollowed,
            Severity::Error,
            CONTROL,
            format!("cannot follow {line}"),
            "the ClusterRole of heddle install has what it needs; see its log",
        ));
    }
}

/// What a control plane that starts would wait for: its account may not read it. Who may not ask that is
/// told nothing: the Lease says it too, once it is so.
async fn unreadable(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let asked = forbidden(&cluster.client, &cluster.namespace, CONTROL);
    for kind in within(asked).await.into_iter().flatten() {
        let (name, rule) = (format!("{CONTROL}-{}", cluster.namespace), kind.rule);
        findings.push(finding(
            Code::NotFollowed,
            Severity::Error,
            CONTROL,
            format!(
                "may not list and watch {}: one that starts anew does not become ready",
                kind.resource
            ),
            format!(
                "heddle install | kubectl apply --server-side -f -, or add to the ClusterRole {name}: {rule}"
            ),
        ));
    }
}

fn tag(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let image = pod.containers.first()?.image.as_ref()?;
    Some(image.rsplit_once(':')?.1.to_owned())
}

fn ready(cluster: &Cluster, part: &str, deployment: &Deployment, findings: &mut Vec<Finding>) {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    // Beside those that stay until it is ready.
    let waited_for = status.unavailable_replicas.unwrap_or(0);
    if ready >= wanted && waited_for <= 0 {
        return;
    }
    let why = status
        .conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.status != "True");
    let why = why
        .and_then(|condition| condition.message)
        .unwrap_or_default();
    let severity = match ready {
        0 => Severity::Error,
        _ => Severity::Warning,
    };
    let mut reason = format!("{ready} of {wanted} replicas are ready");
    if ready >= wanted {
        // Writing to a String does not fail.
        let _ = write!(reason, ", {waited_for} of a new version not yet");
    }
    findings.push(finding(
        Code::PartNotReady,
        severity,
        part,
        match why.is_empty() {
            true => reason,
            false => format!("{reason}: {why}"),
        },
        format!("kubectl -n {} logs deploy/{part}", cluster.namespace),
    ));
}
