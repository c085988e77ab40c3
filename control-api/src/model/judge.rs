//! Whether a VirtualService may be in force: every destination must be a service that exists, with
//! the port and the subset that are named. One that may not is refused alone; what was in force
//! before stays, and it is judged again whenever something that it names changes. And whether a
//! DestinationRule may change: not while a route in force would lose its subset by it.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Model,
    hosts::{Host, filed},
};
use crate::{
    check::Code,
    name::NsName,
    resources::{
        destination_rule::DestinationRule,
        virtual_service::{Destination, VirtualService},
    },
    source::{Object, Refusal, decode::Problem, suggest},
};

impl Model {
    /// What keeps `object` from being in force. `last_good`: an older version is.
    pub(super) fn judge(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        last_good: bool,
    ) -> Vec<Refusal> {
        if !spec.is_for_mesh() {
            return Vec::new();
        }
        let namespace = object.key.name.namespace();
        spec.destinations()
            .filter_map(|(path, destination)| {
                self.destination_problem(&path, destination, namespace)
            })
            .map(|problem| {
                let problem = problem.follows(if last_good {
                    "it is refused; its last good version stays in force"
                } else {
                    "it is refused; no version of it is in force"
                });
                Refusal::of(&object.key, &object.origin, problem)
            })
            .collect()
    }

    fn destination_problem(
        &self,
        path: &str,
        to: &Destination,
        namespace: &str,
    ) -> Option<Problem> {
        let host = to.host.as_str();
        let Some(name) = self.named(host, namespace) else {
            let entry = || "to send requests out of the mesh, add a ServiceEntry with this host";
            let reason = format!("{path}.host: `{host}` is not a service of the mesh");
            let instead = self.full_name_of(host);
            let instead = instead.unwrap_or_else(|| entry().to_owned());
            return Some(Problem::new(Code::NoService, to.host.at, reason).suggest(instead));
        };
        let Some(service) = self.service(&name) else {
            let reason = format!("{path}.host: there is no service {name}");
            let instead = self.nearest_service(&name);
            return Some(Problem::new(Code::NoService, to.host.at, reason).suggest(instead));
        };
        let offered = |number: u16| service.ports.iter().any(|port| port.number == number);
        if let Some(port) = to
            .port
            .as_ref()
            .map(|port| port.number)
            .filter(|port| !offered(port.value))
        {
            let ports: Vec<String> = service
                .ports
                .iter()
                .map(|port| port.number.to_string())
                .collect();
            let reason = format!(
                "{path}.port.number: service {name} has no port {}",
                port.value
            );
            let instead = format!("its ports: {}", ports.join(", "));
            return Some(Problem::new(Code::NoPort, port.at, reason).suggest(instead));
        }
        let subset = to.subset.as_ref()?;
        let known = self.subsets_known(&name, namespace);
        if known.contains(&subset.as_str()) {
            return None;
        }
        let suggestion = match known.as_slice() {
            [] => format!(
                "define it in a DestinationRule: `spec: {{host: {host}, subsets: [{{name: {0}, labels: {{version: {0}}}}}]}}`",
                subset.as_str()
            ),
            known => suggest::sentence(subset, known),
        };
        let reason = format!(
            "{path}.subset: no DestinationRule defines the subset `{}` of {name}",
            subset.as_str()
        );
        Some(Problem::new(Code::NoSubset, subset.at, reason).suggest(suggestion))
    }

    /// What keeps a DestinationRule, which is in force now, from being so: `before` was.
    pub(super) fn judge_rule(&self, before: &Arc<Object>, written: &Arc<Object>) -> Vec<Refusal> {
        let (Some(old), Some(new)) = (before.rule(), written.rule()) else {
            return Vec::new();
        };
        let namespace = before.key.name.namespace();
        let host = self.hosts().resolve(&old.host, namespace);
        let same_host = host == self.hosts().resolve(&new.host, namespace);
        let stays = |name: &str| same_host && new.subsets.iter().any(|new| *new.name == name);
        let lost: Vec<&str> = old
            .subsets
            .iter()
            .map(|subset| subset.name.as_str())
            .filter(|name| !stays(name))
            .collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let of_rule = |service: &NsName| match &host {
            Host::Pattern(suffix) => self.hosts().covers(suffix, service),
            named => named.filed() == Some(filed(service)),
        };
        let mut refusals: BTreeMap<&str, Refusal> = BTreeMap::new();
        for route in self
            .routes
            .iter()
            .filter_map(|(_, entry)| entry.in_force.as_ref())
        {
            let destinations = route.route().map(VirtualService::destinations);
            for (_, to) in destinations.into_iter().flatten() {
                let by = route.key.name.namespace();
                let Some(service) = self.named(&to.host, by) else {
                    continue;
                };
                let subset = to.subset.as_ref().map(|subset| subset.as_str());
                let Some(subset) = subset.filter(|subset| lost.contains(subset)) else {
                    continue;
                };
                if of_rule(&service) && !self.subsets_known(&service, by).contains(&subset) {
                    let refusal = || taken_away(written, new, subset, &service, route);
                    refusals.entry(subset).or_insert_with(refusal);
                }
            }
        }
        refusals.into_values().collect()
    }

    /// Subsets of a service that a route in a namespace may name.
    fn subsets_known(&self, service: &NsName, namespace: &str) -> Vec<&str> {
        let of = |namespace: &str| self.subsets(service, namespace).into_iter();
        let mut known: Vec<&str> = of(namespace)
            .chain(of(service.namespace()))
            .map(|(name, _)| name)
            .collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// `reviews.shop` is not short for anything in Istio, though people expect it to be.
    fn full_name_of(&self, host: &str) -> Option<String> {
        let (name, namespace) = host.split_once('.')?;
        let name = NsName::new(namespace, name)?;
        self.service(&name)
            .map(|_| format!("did you mean `{}`?", self.hosts().full_name(&name)))
    }

    pub(super) fn nearest_service(&self, name: &NsName) -> String {
        let here = self
            .services
            .iter()
            .map(|(known, _)| known)
            .filter(|known| known.namespace() == name.namespace());
        if let Some(near) = suggest::nearest(name.name(), here.map(NsName::name)) {
            return format!("did you mean `{near}`?");
        }
        let mut all = self.services.iter().map(|(known, _)| known);
        if let Some(known) = all.find(|known| known.name() == name.name()) {
            return format!("did you mean `{}`?", self.hosts().full_name(known));
        }
        // A version for a service: `cart-v1`.
        let of = name.name().rsplit_once('-').and_then(|(service, version)| {
            let service = NsName::new(name.namespace(), service)?;
            self.service(&service)?;
            Some((service, version))
        });
        of.map(|(service, version)| {
            let service = service.name();
            format!(
                "if a version of `{service}` is meant: `{{host: {service}, subset: {version}}}`"
            )
        })
        .unwrap_or_default()
    }
}

fn taken_away(
    written: &Object,
    rule: &DestinationRule,
    subset: &str,
    service: &NsName,
    route: &Object,
) -> Refusal {
    let place = format!("{}:{}", route.origin.file_text(), route.origin.at.line);
    let reason = format!(
        "spec.subsets: the subset `{subset}` of {service} is not there any more, but {} ({place}) is in force \
         and routes to it",
        route.key
    );
    let problem = Problem::new(Code::SubsetInUse, rule.host.at, reason)
        .follows("the change is refused; the last good version stays in force")
        .suggest("first take it out of the routes, or both at once");
    Refusal::of(&written.key, &written.origin, problem)
}
