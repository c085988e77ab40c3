//! Rules that take no request: those that an earlier one hides, and those that ask for what there is
//! not. Of rules as they are in force, delegates' in place.

use std::sync::Arc;

use super::warning;
use crate::{
    check::{
        Code,
        rules::{Conditions, Covers, Part, Source, vain},
    },
    model::{Model, hosts::Host, routes::http_match},
    resources::{
        labels::Labels,
        virtual_service::{HttpMatch, MESH, VirtualService},
    },
    source::{Object, Refusal, node::Position},
};

/// One match of the list.
struct Filed<'a> {
    /// Place of its rule in the list.
    rule: usize,
    /// None: the rule has no match, so it takes every request.
    written: Option<(usize, &'a HttpMatch)>,
}

impl Model {
    pub(super) fn of_rules(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        found: &mut Vec<Refusal>,
    ) {
        if spec.hosts.is_empty() {
            // Its rules are in force where it is delegated to, and are looked at there.
            return;
        }
        let rules = self.http_rules(object, spec);
        let (mut covers, mut filed) = (Covers::default(), Vec::new());
        let mut vain_matches = vec![0_usize; rules.len()];
        for (place, one) in rules.iter().enumerate() {
            let own = Arc::ptr_eq(one.object, object);
            if one.rule.matches.is_empty() {
                covers.push(Conditions::default());
                let (rule, written) = (place, None);
                filed.push(Filed { rule, written });
            }
            for (i, wanted) in one.rule.matches.iter().enumerate() {
                let path = format!("spec.http[{}].match[{i}]", one.index);
                if !wanted.gateways.is_empty() && wanted.gateways.iter().all(|name| name != MESH) {
                    vain_matches[place] += 1;
                    if own {
                        let reason = format!("{path}.gateways: gateways are not supported yet");
                        let at = at(wanted).unwrap_or(one.rule.at);
                        let instead = "add `mesh`, or take the match out";
                        found.push(warning(Code::NotForSidecars, object, at, reason, instead));
                    }
                    continue;
                }
                let source = Source {
                    labels: Some(&wanted.source_labels),
                    namespace: wanted.source_namespace.as_deref(),
                };
                let conditions = Conditions::new(&http_match(wanted), source);
                let nothing = vain(&conditions);
                if nothing.is_some() {
                    vain_matches[place] += 1;
                }
                if let Some(nothing) = nothing.filter(|_| own) {
                    let at = at_part(wanted, &nothing.part).or(at(wanted));
                    let at = at.unwrap_or(one.rule.at);
                    let reason = format!("{path}: {}", nothing.reason);
                    found.push(warning(
                        Code::VainMatch,
                        object,
                        at,
                        reason,
                        nothing.suggestion,
                    ));
                    continue;
                }
                covers.push(conditions);
                filed.push(Filed {
                    rule: place,
                    written: Some((i, wanted)),
                });
                if own {
                    self.of_match(object, spec, &path, wanted, found);
                }
            }
        }
        let covered = covers.covered();
        for (place, one) in rules.iter().enumerate() {
            if !Arc::ptr_eq(one.object, object) {
                continue;
            }
            let from = filed.partition_point(|filed| filed.rule < place);
            let to = filed.partition_point(|filed| filed.rule <= place);
            let of_rule = &covered[from..to];
            let is_dead = !of_rule.is_empty()
                && of_rule
                    .iter()
                    .all(|by| by.is_some_and(|by| filed[by].rule < place));
            let named = |by: usize| {
                let earlier = &rules[filed[by].rule];
                let name = earlier.rule.name.as_deref();
                let name = name.map(|name| format!(" \"{}\"", name.escape_debug()));
                let file = match Arc::ptr_eq(earlier.object, object) {
                    true => "line ".to_owned(),
                    false => format!(
                        "{} at {}:",
                        earlier.object.key,
                        earlier.object.origin.file_text()
                    ),
                };
                let name = name.unwrap_or_default();
                format!(
                    "rule {}{name} ({file}{})",
                    earlier.index, earlier.rule.at.line
                )
            };
            let path = format!("spec.http[{}]", one.index);
            if let (true, Some(by)) = (is_dead, of_rule.first().copied().flatten()) {
                let reason = format!(
                    "{path}: {} takes every request that this rule would take",
                    named(by)
                );
                let instead = "put the narrower rule first, or take this one out";
                found.push(warning(
                    Code::DeadRule,
                    object,
                    one.rule.at,
                    reason,
                    instead,
                ));
                continue;
            }
            for (offset, by) in of_rule.iter().enumerate() {
                let Some((by, (i, wanted))) = by.zip(filed[from + offset].written) else {
                    continue;
                };
                let at = at(wanted).unwrap_or(one.rule.at);
                let (code, reason) = match filed[by].rule == place {
                    true => {
                        let other = filed[by].written.map_or(0, |(i, _)| i);
                        let reason = format!(
                            "{path}.match[{i}]: match[{other}] takes all that this one takes"
                        );
                        (Code::RepeatedMatch, reason)
                    }
                    false => {
                        let reason = format!(
                            "{path}.match[{i}]: {} takes every request that this match would take",
                            named(by)
                        );
                        (Code::DeadMatch, reason)
                    }
                };
                found.push(warning(code, object, at, reason, "take it out"));
            }
        }
    }

    /// What a match asks for that the mesh does not have.
    fn of_match(
        &self,
        object: &Object,
        spec: &VirtualService,
        path: &str,
        wanted: &HttpMatch,
        found: &mut Vec<Refusal>,
    ) {
        let namespace = object.key.name.namespace();
        if let Some(port) = &wanted.port {
            let mut services = spec.hosts.iter().map(|host| {
                let name = match self.hosts().resolve(host, namespace) {
                    Host::Service(name) => Some(name),
                    Host::External(host) => self.external(&host, namespace),
                    Host::Pattern(_) => None,
                };
                name.and_then(|name| self.service(&name))
            });
            let lacks = services.all(|service| {
                service.is_some_and(|s| s.ports.iter().all(|p| p.number != port.value))
            });
            if lacks {
                let reason = format!(
                    "{path}.port: no host of this resource has a port {}",
                    port.value
                );
                let instead = "write a port of the Service, not of its pods";
                found.push(warning(
                    Code::PortOfNobody,
                    object,
                    port.at,
                    reason,
                    instead,
                ));
            }
        }
        let labels = Labels::from(&wanted.source_labels);
        let wants_namespace = wanted.source_namespace.as_deref();
        if (!wanted.source_labels.is_empty() || wants_namespace.is_some()) && self.has_pods() {
            let fits = |(name, pod): (&crate::name::NsName, &Arc<Object>)| {
                wants_namespace.is_none_or(|wanted| wanted == name.namespace())
                    && pod.pod().is_some_and(|pod| pod.labels.has_all(&labels))
            };
            if !self.pods.iter().any(fits) {
                let at = at(wanted).unwrap_or_default();
                let reason =
                    format!("{path}: no pod is such a client, by sourceLabels and sourceNamespace");
                let instead =
                    "compare them with the labels and the namespace of the pods that call";
                found.push(warning(Code::ClientOfNobody, object, at, reason, instead));
            }
        }
    }

    /// Whether anything is known of pods: files of routes alone have none.
    pub(super) fn has_pods(&self) -> bool {
        self.pods.iter().next().is_some()
    }
}

/// The first place that a match tells.
fn at(one: &HttpMatch) -> Option<Position> {
    let scalars = [&one.uri, &one.method, &one.authority, &one.scheme];
    let scalars = scalars.into_iter().flatten().map(|matcher| matcher.at);
    let maps = [&one.headers, &one.without_headers, &one.query_params];
    let maps = maps.into_iter().flat_map(|map| map.values().flatten());
    let port = one.port.as_ref().map(|port| port.at);
    scalars
        .chain(maps.map(|matcher| matcher.at))
        .chain(port)
        .filter(|at| *at != Position::default())
        .min()
}

fn at_part(one: &HttpMatch, part: &Part) -> Option<Position> {
    let scalar = match part {
        Part::Path | Part::PathAndQuery => &one.uri,
        Part::Method => &one.method,
        Part::Authority | Part::Host => &one.authority,
        Part::Scheme => &one.scheme,
        Part::Header(name) => {
            let mut all = one.headers.iter().chain(&one.without_headers);
            let (_, matcher) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            matcher
        }
        Part::Query(name) => one.query_params.get(name)?,
        Part::Port | Part::Label(_) | Part::Namespace => return one.port.as_ref().map(|p| p.at),
    };
    scalar.as_ref().map(|matcher| matcher.at)
}
