//! Istio's DestinationRule (networking.istio.io): the subsets of a host, and how clients connect to
//! it and to each of them.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::{
    at::{At, Unsupported},
    export::bad_exports,
    traffic_policy::{Components, TrafficPolicy},
    virtual_service::{bad_host, host_meant},
};
use crate::check::Code;
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
    pub traffic_policy: Option<At<TrafficPolicy>>,
    /// Namespaces that see it: `*` or `.`.
    #[serde(default)]
    pub export_to: Vec<At<String>>,
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
    pub traffic_policy: Option<At<TrafficPolicy>>,
}

impl DestinationRule {
    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |code, at, reason: String, suggestion: &str| {
            found.push(Problem::new(code, at, reason).suggest(suggestion));
        };
        if let Some(reason) = bad_host(&self.host, true) {
            add(
                Code::BadHost,
                self.host.at,
                format!("spec.host: {reason}"),
                &host_meant(&self.host, "host: ", |port| {
                    format!(
                        "what is for one port alone is in `portLevelSettings: [{{port: {{number: {port}}}}}]`"
                    )
                }),
            );
        }
        let mut names = HashSet::new();
        for (i, subset) in self.subsets.iter().enumerate() {
            if subset.name.is_empty() {
                add(
                    Code::Empty,
                    subset.name.at,
                    format!("spec.subsets[{i}].name: it is empty"),
                    "name the subset",
                );
            } else if !names.insert(subset.name.as_str()) {
                let reason = format!(
                    "spec.subsets[{i}].name: `{}` is defined twice",
                    subset.name.as_str()
                );
                add(Code::Repeated, subset.name.at, reason, "rename one of them");
            }
        }
        for (path, policy) in self.policies() {
            policy.problems(&path, &mut found);
        }
        found.extend(bad_exports(&self.export_to));
        found
    }

    /// What is in force of it and hardly meant.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let of_rule = self.traffic_policy.as_deref();
        for (path, policy) in self.policies() {
            let wider = match of_rule {
                Some(of_rule) if !std::ptr::eq(of_rule, policy) => of_rule.components(),
                _ => Components::default(),
            };
            policy.warnings(&path, wider, &mut found);
        }
        found
    }

    /// Its policies with their paths: the rule's own first.
    fn policies(&self) -> impl Iterator<Item = (String, &TrafficPolicy)> {
        let own = self.traffic_policy.as_deref();
        let of_subsets = self.subsets.iter().enumerate().filter_map(|(i, subset)| {
            let policy = subset.traffic_policy.as_deref()?;
            Some((format!("spec.subsets[{i}].trafficPolicy"), policy))
        });
        own.map(|policy| ("spec.trafficPolicy".to_owned(), policy))
            .into_iter()
            .chain(of_subsets)
    }
}
