//! Istio's DestinationRule (networking.istio.io): the subsets of a host. Of traffic policies only
//! `tls.mode: ISTIO_MUTUAL` is accepted, since that is what the mesh does anyway.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::{
    at::{At, Ignored, Unsupported},
    virtual_service::bad_host,
};
use crate::source::decode::Problem;

/// `spec:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// The service's name.
    pub host: At<String>,
    /// Its subsets.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// How to connect.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Namespaces that see it; only `*` is supported.
    pub export_to: Option<Vec<At<String>>>,
    workload_selector: Option<Unsupported>,
}

/// `subsets[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// What routes call it.
    pub name: At<String>,
    /// Labels of its pods; none: all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How to connect.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// `trafficPolicy:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// Client TLS.
    pub tls: Option<ClientTls>,
    load_balancer: Option<Unsupported>,
    connection_pool: Option<Unsupported>,
    outlier_detection: Option<Unsupported>,
    port_level_settings: Option<Unsupported>,
    tunnel: Option<Unsupported>,
    proxy_protocol: Option<Unsupported>,
    retry_budget: Option<Unsupported>,
}

/// `tls:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Only ISTIO_MUTUAL is supported.
    pub mode: At<TlsMode>,
    client_certificate: Option<Unsupported>,
    private_key: Option<Unsupported>,
    ca_certificates: Option<Unsupported>,
    ca_crl: Option<Unsupported>,
    credential_name: Option<Unsupported>,
    subject_alt_names: Option<Unsupported>,
    sni: Option<Ignored>,
    insecure_skip_verify: Option<Unsupported>,
}

/// `tls.mode:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS to the server's name.
    Simple,
    /// With a certificate of one's own.
    Mutual,
    /// The mesh's own.
    IstioMutual,
}

impl DestinationRule {
    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |at, reason: String, suggestion: &str| {
            found.push(Problem {
                at,
                reason,
                suggestion: suggestion.to_owned(),
            });
        };
        if let Some(reason) = bad_host(&self.host, true) {
            add(self.host.at, format!("spec.host: {reason}"), "");
        }
        for export in self
            .export_to
            .iter()
            .flatten()
            .filter(|to| to.as_str() != "*")
        {
            let reason = format!(
                "spec.exportTo: `{}` is not supported yet, only `*` is",
                export.as_str()
            );
            add(export.at, reason, "take the field out");
        }
        let mut names = HashSet::new();
        for (i, subset) in self.subsets.iter().enumerate() {
            if subset.name.is_empty() {
                add(
                    subset.name.at,
                    format!("spec.subsets[{i}].name: it is empty"),
                    "name the subset",
                );
            } else if !names.insert(subset.name.as_str()) {
                let reason = format!(
                    "spec.subsets[{i}].name: `{}` is defined twice",
                    subset.name.as_str()
                );
                add(subset.name.at, reason, "rename one of them");
            }
        }
        let own = self
            .traffic_policy
            .as_ref()
            .map(|policy| ("spec".to_owned(), policy));
        let of_subsets = self.subsets.iter().enumerate().filter_map(|(i, subset)| {
            subset
                .traffic_policy
                .as_ref()
                .map(|policy| (format!("spec.subsets[{i}]"), policy))
        });
        for (path, policy) in own.into_iter().chain(of_subsets) {
            if let Some(tls) = policy
                .tls
                .as_ref()
                .filter(|tls| *tls.mode != TlsMode::IstioMutual)
            {
                let reason =
                    format!("{path}.trafficPolicy.tls.mode: only ISTIO_MUTUAL is supported yet");
                add(
                    tls.mode.at,
                    reason,
                    "take `tls` out: the mesh's own mutual TLS is the default",
                );
            }
        }
        found
    }
}
