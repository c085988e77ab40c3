//! Istio's Sidecar (networking.istio.io): which services pods see, and what becomes of calls to
//! addresses that they do not know. A sidecar is told only what its own pod uses, so `egress` has no
//! memory to save; it restricts.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::virtual_service::bad_host;
use super::{
    at::{At, Unsupported},
    labels::Labels,
};
use crate::{check::Code, name::is_label, source::decode::Problem};

/// `spec:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Pods that it is for; absent: the namespace, or the mesh in the system namespace.
    pub workload_selector: Option<At<WorkloadSelector>>,
    /// What becomes of calls to unknown addresses.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// What its pods may see; nothing: everything.
    #[serde(default)]
    pub egress: Vec<At<Egress>>,
    ingress: Option<Unsupported>,
    inbound_connection_pool: Option<Unsupported>,
}

/// `workloadSelector:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct WorkloadSelector {
    /// All of these.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `outboundTrafficPolicy:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// The mode.
    #[serde(default)]
    pub mode: OutboundMode,
    egress_proxy: Option<Unsupported>,
}

/// `mode:`. Istio's default, where the policy is there and no mode, is the stricter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// They are refused.
    #[default]
    RegistryOnly,
    /// They are passed through.
    AllowAny,
}

/// `egress[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// "NAMESPACE/HOST"; `*/*` is everything.
    #[serde(default)]
    pub hosts: Vec<At<String>>,
    port: Option<Unsupported>,
    bind: Option<Unsupported>,
    capture_mode: Option<Unsupported>,
}

impl Sidecar {
    /// Pods that it is for; None: all of its scope.
    pub fn selector(&self) -> Option<Labels> {
        let labels = &self.workload_selector.as_ref()?.labels;
        (!labels.is_empty()).then(|| Labels::from(labels))
    }

    /// What its pods see of the mesh, as it is written; None: it does not say.
    pub fn seen(&self) -> Option<impl Iterator<Item = &At<String>>> {
        let hosts = || self.egress.iter().flat_map(|egress| &egress.hosts);
        (!self.egress.is_empty()).then(hosts)
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for (i, egress) in self.egress.iter().enumerate() {
            let path = format!("spec.egress[{i}].hosts");
            if egress.hosts.is_empty() {
                let reason = format!("{path}: nothing is named");
                let instead = "write `./*` for the pod's own namespace, `*/*` for everything";
                found.push(Problem::new(Code::Empty, egress.at, reason).suggest(instead));
            }
            for (j, host) in egress.hosts.iter().enumerate() {
                found.extend(bad_egress(&format!("{path}[{j}]"), host));
            }
        }
        found
    }
}

fn bad_egress(path: &str, host: &At<String>) -> Option<Problem> {
    let problem = |reason: String, suggestion: &str| {
        let reason = format!("{path}: {reason}");
        Some(Problem::new(Code::BadHost, host.at, reason).suggest(suggestion))
    };
    let Some((namespace, name)) = host.split_once('/') else {
        let reason = format!("`{}` names no namespace", host.escape_debug());
        return problem(reason, "write `NAMESPACE/HOST`, `./HOST` or `*/HOST`");
    };
    if !matches!(namespace, "*" | "." | "~") && !is_label(namespace) {
        let reason = format!(
            "`{}` cannot be the name of a namespace",
            namespace.escape_debug()
        );
        return problem(reason, "write a namespace, `.`, `*` or `~`");
    }
    if let Some(reason) = bad_host(name, true) {
        return problem(reason, "");
    }
    if !name.contains('.') && name != "*" {
        let reason = format!("`{name}` is not a full name, so it is nobody's");
        return problem(reason, "write `NAME.NAMESPACE.svc.cluster.local`");
    }
    None
}
