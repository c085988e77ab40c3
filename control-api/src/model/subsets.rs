//! Which DestinationRules define the subsets of a service, for a client: those in the client's
//! namespace, else in the service's, else in the system namespace; of these the ones with the most
//! specific host; of several the oldest first, each adding the subsets that are not there yet.

use std::sync::Arc;

use super::{Model, hosts::filed};
use crate::{
    name::NsName,
    resources::{
        destination_rule::Subset,
        export::{closeness, is_restricted},
        labels::Labels,
    },
    source::Object,
};

impl Model {
    /// Subsets of a service with their labels, as a client in `namespace` sees them.
    pub(super) fn subsets(&self, service: &NsName, namespace: &str) -> Vec<(&str, Labels)> {
        let mut found: Vec<(&str, Labels)> = Vec::new();
        for rule in self.rules_for(service, namespace) {
            for Subset { name, labels, .. } in rule
                .rule()
                .map(|rule| rule.subsets.as_slice())
                .unwrap_or_default()
            {
                if found.iter().all(|(known, _)| *known != name.as_str()) {
                    found.push((name.as_str(), Labels::from(labels)));
                }
            }
        }
        found
    }

    /// Whether clients in `namespace` see other rules of the service than the rest do.
    pub(super) fn sees_own_rules(&self, service: &NsName, namespace: &str) -> bool {
        let differs = || {
            let of_service = self.rules_in(service, service.namespace()).into_iter();
            let of_mesh = self.rules_in(service, &self.settings.system_namespace);
            let restricted =
                |object: &Arc<Object>| object.rule().is_some_and(|r| is_restricted(&r.export_to));
            !self.rules_in(service, namespace).is_empty()
                || of_service.chain(of_mesh).any(restricted)
        };
        namespace != service.namespace() && differs()
    }

    pub(super) fn rules_for(&self, service: &NsName, namespace: &str) -> Vec<&Arc<Object>> {
        let system = self.settings.system_namespace.as_str();
        let seen = |object: &&Arc<Object>| {
            let own = object.key.name.namespace();
            let rule = object.rule();
            rule.is_some_and(|rule| closeness(&rule.export_to, own, namespace).is_some())
        };
        [namespace, service.namespace(), system]
            .into_iter()
            .map(|place| {
                let rules = self.rules_in(service, place);
                rules.into_iter().filter(seen).collect::<Vec<_>>()
            })
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }

    fn rules_in(&self, service: &NsName, namespace: &str) -> Vec<&Arc<Object>> {
        let is_there = |name: &&NsName| name.namespace() == namespace;
        let named = self.rules_of.get(&filed(service));
        let exact = named.iter().flat_map(|names| names.iter()).filter(is_there);
        let mut rules: Vec<_> = exact.filter_map(|name| self.rules.get(name)).collect();
        if rules.is_empty() && !self.wildcard_rules.is_empty() {
            let hosts = self.hosts();
            let covering = || {
                self.wildcard_rules
                    .iter()
                    .filter(|(suffix, _)| hosts.covers(suffix, service))
            };
            let there = || covering().filter(|(_, name)| is_there(&name));
            let longest = there().map(|(suffix, _)| suffix.len()).max();
            let most_specific = there().filter(|(suffix, _)| Some(suffix.len()) == longest);
            rules = most_specific
                .filter_map(|(_, name)| self.rules.get(name))
                .collect();
        }
        rules.sort_by(|a, b| a.seniority().cmp(&b.seniority()));
        rules
    }
}
