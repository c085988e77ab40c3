//! The webhooks: configured, with an authority that is the mesh's, and answering. The last is tried by a
//! pod that asks for the mesh and is never kept (`dryRun`): so it is the API server that calls, and that
//! judges the certificate.

use heddle_control::check::Code;
use heddle_identity::workload::trust_config_map;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::ask::{Cluster, within};
use super::pods::Injected;
use super::{Finding, Severity, finding};

const STATUS: &str = "heddle.io/status";

/// Answers what a pod would get now.
pub(super) async fn look(cluster: &Cluster, findings: &mut Vec<Finding>) -> Option<Injected> {
    let roots = roots(cluster, findings).await;
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = format!("heddle-injector-{}", cluster.namespace);
    let found = within(mutating.get_opt(&name)).await;
    let found = found.map(|found| found.map(|one| one.webhooks.unwrap_or_default()));
    let clients = found.map(|found| {
        found.map(|webhooks| webhooks.into_iter().map(|one| one.client_config).collect())
    });
    let is_there = judge(&name, clients, roots.as_deref(), Severity::Error, findings);

    let validating: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = format!("heddle-control-{}", cluster.namespace);
    let found = within(validating.get_opt(&name)).await;
    let clients = found.map(|found| {
        found.map(|one| {
            let webhooks = one.webhooks.unwrap_or_default();
            webhooks.into_iter().map(|one| one.client_config).collect()
        })
    });
    // It fails open.
    judge(
        &name,
        clients,
        roots.as_deref(),
        Severity::Warning,
        findings,
    );
    former(cluster, findings).await;
    match is_there {
        true => call(cluster, findings).await,
        false => None,
    }
}

/// Of an installation before webhook configurations were called after their mesh's namespace. Whoever applies
/// what is printed now leaves them behind.
async fn former(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let injector = within(mutating.get_opt("heddle-injector")).await;
    let control = within(validating.get_opt("heddle-control")).await;
    let injector = injector.ok().flatten().map(|one| {
        let webhooks = one.webhooks.into_iter().flatten();
        webhooks.map(|one| one.client_config).collect::<Vec<_>>()
    });
    let control = control.ok().flatten().map(|one| {
        let webhooks = one.webhooks.into_iter().flatten();
        webhooks.map(|one| one.client_config).collect::<Vec<_>>()
    });
    let is_ours = |client: &WebhookClientConfig| {
        let service = client.service.as_ref();
        service.is_some_and(|service| service.namespace == cluster.namespace)
    };
    for (name, clients) in [
        ("mutatingwebhookconfiguration/heddle-injector", injector),
        ("validatingwebhookconfiguration/heddle-control", control),
    ] {
        if clients.is_some_and(|clients| clients.iter().any(is_ours)) {
            findings.push(finding(
                Code::FormerWebhook,
                Severity::Warning,
                name,
                "is of a former version, and nobody keeps its caBundle: it fails from the next root on",
                format!("kubectl delete {name}"),
            ));
        }
    }
}

async fn roots(cluster: &Cluster, findings: &mut Vec<Finding>) -> Option<String> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = trust_config_map(&cluster.namespace);
    let found = within(maps.get_opt(&name)).await.ok().flatten();
    let roots = found.and_then(|map| map.data?.remove("root-cert.pem"));
    if roots.is_none() {
        findings.push(finding(
            Code::NoBundle,
            Severity::Error,
            format!("ConfigMap {name}"),
            "is not there: pods of the mesh cannot start",
            format!(
                "kubectl -n {} logs deploy/heddle-identity",
                cluster.namespace
            ),
        ));
    }
    roots
}

/// Whether it is configured at all.
fn judge(
    name: &str,
    clients: Result<Option<Vec<WebhookClientConfig>>, super::ask::Refused>,
    roots: Option<&str>,
    severity: Severity,
    findings: &mut Vec<Finding>,
) -> bool {
    let subject = format!("webhook {name}");
    let clients = match clients {
        Ok(Some(clients)) => clients,
        Ok(None) => {
            let reason = "is not configured";
            let suggestion = "heddle install | kubectl apply --server-side -f -";
            findings.push(finding(
                Code::NoWebhook,
                severity,
                subject,
                reason,
                suggestion,
            ));
            return false;
        }
        Err(refused) => {
            let reason = format!("cannot be read: {refused}");
            findings.push(finding(
                Code::NoWebhook,
                Severity::Warning,
                subject,
                reason,
                "",
            ));
            return true;
        }
    };
    let bundles = clients.iter().map(|client| {
        let bundle = client.ca_bundle.as_ref();
        bundle.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned())
    });
    let bundles: Vec<_> = bundles.collect();
    if bundles
        .iter()
        .any(|bundle| bundle.as_ref().is_none_or(String::is_empty))
    {
        findings.push(finding(
            Code::NoCaBundle,
            severity,
            subject,
            "has no caBundle yet: the API server cannot call it",
            "the injector writes it; its log says what keeps it: kubectl logs deploy/heddle-injector",
        ));
    } else if let Some(roots) = roots
        && bundles
            .iter()
            .flatten()
            .any(|bundle| bundle.trim() != roots.trim())
    {
        findings.push(finding(
            Code::OldCaBundle,
            Severity::Warning,
            subject,
            "its caBundle is not the mesh's trust bundle",
            "it follows within seconds; otherwise: kubectl rollout restart deploy/heddle-injector",
        ));
    }
    true
}

/// Through the API server, in the namespace `default`.
async fn call(cluster: &Cluster, findings: &mut Vec<Finding>) -> Option<Injected> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let pod = serde_json::from_value(json!({
        "metadata": {"generateName": "heddle-check-", "labels": {"heddle.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "heddle-check"}]},
    }));
    // It is a pod.
    let pod: Pod = pod.unwrap_or_default();
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let name = format!("heddle-injector-{}", cluster.namespace);
    let subject = format!("webhook {name}");
    match within(api.create(&params, &pod)).await {
        Ok(pod) => {
            let annotations = pod.metadata.annotations.unwrap_or_default();
            let status = annotations.get(STATUS);
            if status.is_none() {
                findings.push(finding(
                    Code::NotCalled,
                    Severity::Error,
                    subject,
                    "was not called for a pod that asks for the mesh, or skipped it",
                    format!("kubectl get mutatingwebhookconfiguration {name} -o yaml"),
                ));
            }
            serde_json::from_str(status?).ok()
        }
        Err(refused) if refused.code == 403 => {
            let reason = format!("cannot be tried: {refused}");
            findings.push(finding(
                Code::WebhookFails,
                Severity::Note,
                subject,
                reason,
                "",
            ));
            None
        }
        Err(refused) => {
            findings.push(finding(
                Code::WebhookFails,
                Severity::Error,
                subject,
                format!("the API server cannot use it: {refused}"),
                "pods that ask for the mesh are not made until it can",
            ));
            None
        }
    }
}
