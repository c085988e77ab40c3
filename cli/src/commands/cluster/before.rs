//! What has to be so before an installation: the version, the clocks, what we may do, the definitions.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use heddle_control::check::Code;
use heddle_deploy::{OLDEST_KUBERNETES, Settings};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde::Deserialize;

use super::ask::{Cluster, within};
use super::{Finding, Severity, finding};
use crate::failure::{Failure, Outcome};

/// Tokens are refused whose times are further off than this, in seconds.
const SKEW: i64 = 10;
/// Certificates are.
const FAR: i64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    major: String,
    minor: String,
    git_version: String,
}

/// Answers what it is.
pub(super) async fn version(cluster: &Cluster, findings: &mut Vec<Finding>) -> Outcome<String> {
    let asked = cluster.raw::<Version>("/version").await;
    let (version, date) = asked.map_err(|reason| {
        Failure::new(format!("the cluster's API does not answer: {reason}"))
            .advise("kubectl version  shows whether it does for kubectl")
    })?;
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().unwrap_or(0);
    if (number(&version.major), number(&version.minor)) < OLDEST_KUBERNETES {
        let (major, minor) = OLDEST_KUBERNETES;
        findings.push(finding(
            Code::OldKubernetes,
            Severity::Error,
            &version.git_version,
            format!(
                "Kubernetes is older than {major}.{minor}: no native sidecars, no matchConditions"
            ),
            "update the cluster",
        ));
    }
    if let Some(date) = date {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0));
        skew(now - date, findings);
    }
    Ok(version.git_version)
}

fn skew(seconds: i64, findings: &mut Vec<Finding>) {
    if seconds.abs() <= SKEW {
        return;
    }
    let severity = match seconds.abs() > FAR {
        true => Severity::Error,
        false => Severity::Warning,
    };
    findings.push(finding(
        Code::Clock,
        severity,
        "clock",
        format!(
            "the API server's clock is {} s from this machine's",
            seconds.abs()
        ),
        "if the nodes differ as much, tokens and certificates are refused: run NTP",
    ));
}

/// Group and plural of each kind that is installed.
fn kinds() -> BTreeSet<(String, String)> {
    let objects = heddle_deploy::manifests(&Settings::default());
    let of = |object: &serde_json::Value| {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => kind + "s",
        };
        (group.to_owned(), plural)
    };
    objects.iter().map(of).collect()
}

/// Whether we may install. When it is installed already, it is only good to know.
pub(super) async fn permissions(cluster: &Cluster, installed: bool, findings: &mut Vec<Finding>) {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut denied = Vec::new();
    for (group, resource) in kinds() {
        for verb in ["create", "patch"] {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        group: Some(group.clone()),
                        resource: Some(resource.clone()),
                        verb: Some(verb.into()),
                        namespace: Some(cluster.namespace.clone()),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            match within(api.create(&PostParams::default(), &review)).await {
                Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
                Ok(_) => denied.push(format!("{verb} {resource}")),
                Err(refused) => {
                    denied.push(format!("{verb} {resource} ({refused})"));
                }
            }
        }
    }
    if !denied.is_empty() {
        findings.push(finding(
            Code::NotAllowed,
            if installed {
                Severity::Note
            } else {
                Severity::Error
            },
            "permissions",
            format!("you may not {}", denied.join(", ")),
            "install as a cluster administrator",
        ));
    }
}

/// Those of the Istio kinds that are read, and Gateway API's.
pub(super) async fn definitions(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let there = match cluster.definitions().await {
        Ok(there) => there,
        Err(refused) => {
            findings.push(finding(
                Code::NoIstioKinds,
                Severity::Warning,
                "definitions",
                format!("cannot be listed: {refused}"),
                "",
            ));
            return;
        }
    };
    let wanted = heddle_deploy::definitions();
    let names = wanted
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str());
    let missing: Vec<_> = names.filter(|name| !there.contains(*name)).collect();
    if !missing.is_empty() {
        findings.push(finding(
            Code::NoIstioKinds,
            Severity::Warning,
            "definitions",
            format!("the cluster does not know {}", missing.join(", ")),
            "heddle install --crds missing  brings them",
        ));
    }
    let gateway = ["httproutes", "grpcroutes"];
    let missing: Vec<_> = gateway
        .into_iter()
        .filter(|name| !there.contains(&format!("{name}.gateway.networking.k8s.io")))
        .collect();
    if !missing.is_empty() {
        findings.push(finding(
            Code::NoGatewayKinds,
            Severity::Note,
            "definitions",
            format!("Gateway API's {} are not there", missing.join(" and ")),
            "https://gateway-api.sigs.k8s.io/guides/ says how, if you want them",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_the_api_calls_them() {
        let kinds = kinds();
        for (group, plural) in [
            ("", "namespaces"),
            ("networking.k8s.io", "networkpolicies"),
            ("apps", "deployments"),
            (
                "admissionregistration.k8s.io",
                "mutatingwebhookconfigurations",
            ),
        ] {
            assert!(
                kinds.contains(&(group.to_owned(), plural.to_owned())),
                "{plural}"
            );
        }
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let found = |seconds| {
            let mut findings = Vec::new();
            skew(seconds, &mut findings);
            findings.first().map(|one: &Finding| one.severity)
        };
        assert_eq!(found(10), None);
        assert_eq!(found(-11), Some(Severity::Warning));
        assert_eq!(found(61), Some(Severity::Error));
    }
}
