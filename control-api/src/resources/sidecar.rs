//! Istio's Sidecar (networking.istio.io): what becomes of calls to addresses that the mesh does not
//! know. A sidecar is told only what its own pod uses, so `egress` has nothing to save; that it
//! should restrict is not supported, so only hosts that restrict nothing are taken.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    at::{At, Unsupported},
    labels::Labels,
};
use crate::{check::Code, source::decode::Problem};

/// `spec:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Pods that it is for; absent: the namespace, or the mesh in the system namespace.
    pub workload_selector: Option<At<WorkloadSelector>>,
    /// What becomes of calls to unknown addresses.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// What its pods may see: everything.
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

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let all = self.egress.iter().flat_map(|egress| &egress.hosts);
        if self.egress.is_empty() || all.clone().any(|host| host.as_str() == "*/*") {
            return found;
        }
        let at = all
            .map(|host| host.at)
            .chain(self.egress.iter().map(|e| e.at));
        let at = at.into_iter().next().unwrap_or_default();
        let reason = "spec.egress: to restrict what pods see is not supported yet, only `*/*` is";
        let instead = "take `egress` out: a sidecar is told only what its own pod uses";
        found.push(Problem::new(Code::UnsupportedValue, at, reason).suggest(instead));
        found
    }
}
