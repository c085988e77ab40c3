//! Matches that take no request: those that no request fulfils, and those of which every request goes
//! to a match that comes earlier by the API's order, in whatever route of the same Service it stands.
//! Worked out once for a Service and the clients of a namespace. Only what is so at every port of every
//! parent is told.

use std::{collections::HashMap, sync::Arc};

use super::super::{Memo, warning};
use crate::{
    check::{
        Code,
        rules::{Conditions, Covers, Part, Source, Vain, vain},
    },
    model::{
        Model,
        gateway::{http_match, in_order, parents_named, wire_match},
    },
    name::{NsName, ObjectKey},
    resources::{
        at::At,
        gateway::{FieldMatch, Match, Route, Rule},
    },
    source::{Object, Refusal, node::Position},
};

/// A match: whose, of which rule, and which of it.
type Place<'a> = (&'a ObjectKey, usize, usize);

/// Of each match at some Service who takes its requests: at each port, for each of its hosts.
#[derive(Default)]
pub(in crate::model::warnings) struct Shadows<'a> {
    taken: HashMap<Place<'a>, Vec<Option<Taker<'a>>>>,
}

/// A match that comes earlier.
#[derive(Clone, Copy)]
struct Taker<'a> {
    object: &'a Arc<Object>,
    rule: usize,
    one: usize,
}

impl Model {
    pub(in crate::model::warnings) fn shadows(
        &self,
        service: &NsName,
        namespace: &str,
    ) -> Shadows<'_> {
        let mut shadows = Shadows::default();
        for (routes, _) in self.groups_in_force(service, namespace) {
            let (mut covers, mut places) = (Covers::default(), Vec::new());
            for entry in in_order(&routes) {
                let conditions = Conditions::new(&http_match(&entry, 0), Source::default());
                if vain(&conditions).is_none() {
                    covers.push(conditions);
                    places.push(Taker {
                        object: entry.object,
                        rule: entry.rule,
                        one: entry.one,
                    });
                }
            }
            for (place, by) in covers.covered().into_iter().enumerate() {
                let Taker { object, rule, one } = places[place];
                let all = shadows.taken.entry((&object.key, rule, one));
                all.or_default().push(by.map(|by| places[by]));
            }
        }
        shadows
    }

    pub(super) fn of_places<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a Route,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        let namespace = object.key.name.namespace();
        let services = parents_named(&object.key.name, spec);
        let all: Vec<_> = services
            .iter()
            .map(|service| memo.shadows(self, service, namespace))
            .collect();
        for (i, rule) in spec.rules.iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            let mut takers = Vec::new();
            for (j, one) in rule.matches.iter().enumerate() {
                if let Some(nothing) = nothing(spec, one) {
                    let reason = format!("{path}.matches[{j}]: {}", nothing.reason);
                    let at = at_part(rule, one, &nothing.part);
                    let instead = nothing.suggestion;
                    found.push(warning(Code::VainMatch, object, at, reason, instead));
                    continue;
                }
                let everywhere = all
                    .iter()
                    .filter_map(|shadows| shadows.taken.get(&(&object.key, i, j)));
                let everywhere: Vec<_> = everywhere.flatten().copied().collect();
                let taken: Option<Vec<Taker<'_>>> = everywhere.into_iter().collect();
                takers.push((j, taken.filter(|taken| !taken.is_empty())));
            }
            of_rule(object, (i, rule), &takers, found);
        }
    }
}

/// `takers`: of each match that something can fulfil those who take all its requests.
fn of_rule(
    object: &Arc<Object>,
    (i, rule): (usize, &At<Rule>),
    takers: &[(usize, Option<Vec<Taker<'_>>>)],
    found: &mut Vec<Refusal>,
) {
    let path = format!("spec.rules[{i}]");
    let is_own = |taker: &Taker<'_>| Arc::ptr_eq(taker.object, object) && taker.rule == i;
    let is_dead = !takers.is_empty()
        && takers.iter().all(|(_, taken)| {
            let taken = taken.as_ref();
            taken.is_some_and(|taken| !taken.iter().any(is_own))
        });
    let first = takers
        .first()
        .and_then(|(_, taken)| taken.as_ref()?.first());
    if is_dead && let Some(by) = first.copied() {
        let reason = format!(
            "{path}: {} takes every request that this rule would take",
            named(object, by)
        );
        let instead = "take it out, or ask for more: a longer path, a method, headers or parameters come first";
        found.push(warning(Code::DeadRule, object, rule.at, reason, instead));
        return;
    }
    for (j, taken) in takers {
        let Some(taken) = taken else { continue };
        let at = match rule.matches[*j].at {
            at if at == Position::default() => rule.at,
            at => at,
        };
        let own = taken.iter().find(|taker| is_own(taker));
        let (code, reason) = match (own, taken.first()) {
            (Some(own), _) => (
                Code::RepeatedMatch,
                format!(
                    "{path}.matches[{j}]: matches[{}] takes all that this one takes",
                    own.one
                ),
            ),
            (None, Some(by)) => (
                Code::DeadMatch,
                format!(
                    "{path}.matches[{j}]: {} takes every request that this match would take",
                    named(object, *by)
                ),
            ),
            (None, None) => continue,
        };
        found.push(warning(code, object, at, reason, "take it out"));
    }
}

/// Why no request fulfils a match, whichever host it is for.
fn nothing(spec: &Route, one: &Match) -> Option<Vain> {
    let mut hosts: Vec<Option<&str>> = spec.hostnames.iter().map(|host| Some(&***host)).collect();
    if hosts.is_empty() {
        hosts.push(None);
    }
    let mut all = hosts.into_iter().map(|host| {
        let wire = wire_match(one, host, 0);
        vain(&Conditions::new(&wire, Source::default()))
    });
    let first = all.next()??;
    all.all(|vain| vain.is_some()).then_some(first)
}

fn named(object: &Arc<Object>, by: Taker<'_>) -> String {
    let rule = by.object.gateway_route().map(|spec| &spec.rules[by.rule]);
    let name = rule.and_then(|rule| rule.name.as_deref());
    let name = name.map(|name| format!(" \"{}\"", name.escape_debug()));
    let name = name.unwrap_or_default();
    let line = rule.map_or(0, |rule| rule.at.line);
    match Arc::ptr_eq(by.object, object) {
        true => format!("rule {}{name} (line {line})", by.rule),
        false => format!(
            "rule {}{name} of {} ({}:{line}), which comes first,",
            by.rule,
            by.object.key,
            by.object.origin.file_text()
        ),
    }
}

/// Where the match says what it asks of a part.
fn at_part(rule: &At<Rule>, one: &At<Match>, part: &Part) -> Position {
    let field = |fields: &[FieldMatch], name: &str| {
        let found = fields.iter().find(|field| field.name.as_str() == name);
        found.map(|field| field.name.at)
    };
    let at = match part {
        Part::Path => Some(one.target.at),
        Part::Header(name) => field(&one.headers, name),
        Part::Authority => field(&one.headers, "host"),
        Part::Query(name) => field(&one.query, name),
        _ => None,
    };
    let known = [at, Some(one.at), Some(rule.at)].into_iter().flatten();
    let mut known = known.filter(|at| *at != Position::default());
    known.next().unwrap_or_default()
}
