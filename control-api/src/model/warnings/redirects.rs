//! Redirects in a circle: of one rule, of several, over several hosts of the mesh, or to ever longer
//! paths. Requests are made up that a redirect takes, and followed as a client follows them, through
//! the rules that its sidecar has. So what is told is so for the request that is named; where a
//! redirect leaves the mesh, or TLS hides what follows, nothing is told.
//!
//! Bounded: by as many redirects as a browser follows, and by what one look at everything may cost.

mod follow;
mod table;

use std::sync::Arc;

use heddle_proto::mesh::{HttpRule, Redirect, http_rule::Answer};

pub(super) use self::table::Tables;
use self::{
    follow::{Step, follow},
    table::Table,
};
use super::{Memo, warning};
use crate::{
    check::{Code, rules::Asked},
    model::{Client, Model, gateway::parents_named, hosts::Host},
    name::NsName,
    resources::{
        gateway::{Filter, Route},
        labels::Labels,
        virtual_service::VirtualService,
    },
    source::{Object, Refusal, node::Position},
};

/// Redirects that a client follows: browsers give up after 20.
const FOLLOWED: usize = 20;
/// Kinds of clients, by their labels, of which a VirtualService's redirects are followed.
const CLIENTS: usize = 8;

/// A rule that redirects.
struct Suspect<'a> {
    object: &'a Arc<Object>,
    /// As its wire form names it: `KIND/NAMESPACE/NAME#INDEX`.
    origin: String,
    /// Its field.
    path: String,
    at: Position,
}

impl Model {
    pub(super) fn of_redirects_here<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a VirtualService,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        let rules = self.http_rules(object, spec);
        let mut clients = vec![Labels::default()];
        let mut suspects: Vec<Suspect<'_>> = Vec::new();
        for one in &rules {
            let Some(to) = &one.rule.redirect else {
                continue;
            };
            for wanted in one
                .rule
                .matches
                .iter()
                .filter(|m| !m.source_labels.is_empty())
            {
                let labels = Labels::from(&wanted.source_labels);
                if clients.len() < CLIENTS && !clients.contains(&labels) {
                    clients.push(labels);
                }
            }
            suspects.push(Suspect {
                object: match Arc::ptr_eq(one.object, object) {
                    true => object,
                    false => match self.routes.get(&one.object.key.name) {
                        Some(entry) => entry.in_force.as_ref().unwrap_or(object),
                        None => object,
                    },
                },
                origin: format!(
                    "{}/{}#{}",
                    one.object.key.kind, one.object.key.name, one.index
                ),
                path: format!("spec.http[{}].redirect", one.index),
                at: to.uri.as_ref().map_or(to.at, |uri| uri.at),
            });
        }
        if suspects.is_empty() {
            return;
        }
        let namespace = object.key.name.namespace();
        for host in &spec.hosts {
            let name = match self.hosts().resolve(host, namespace) {
                Host::Service(name) => Some(name),
                Host::External(host) => self.external(&host, namespace),
                Host::Pattern(_) => None,
            };
            let is_ours = |name: &NsName| {
                let winner = self.route_for(name, namespace);
                winner.is_some_and(|winner| winner.key == object.key)
            };
            let Some(name) = name.filter(is_ours) else {
                continue;
            };
            for labels in &clients {
                let client = Client {
                    namespace: namespace.into(),
                    labels: labels.clone(),
                };
                self.circles(
                    &suspects,
                    &name,
                    &host.to_ascii_lowercase(),
                    &client,
                    memo,
                    found,
                );
            }
        }
    }

    pub(super) fn of_redirects_there<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a Route,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        let rules = spec.rules.iter().enumerate();
        let suspects: Vec<Suspect<'_>> = rules
            .filter_map(|(i, rule)| {
                let filters = rule.filters.iter().enumerate();
                let mut redirects =
                    filters.filter(|(_, filter)| matches!(filter.value, Filter::Redirect(_)));
                let (place, filter) = redirects.next()?;
                Some(Suspect {
                    object,
                    origin: format!("{}/{}#{i}", object.key.kind, object.key.name),
                    path: format!("spec.rules[{i}].filters[{place}].requestRedirect"),
                    at: filter.at,
                })
            })
            .collect();
        if suspects.is_empty() {
            return;
        }
        let client = Client {
            namespace: object.key.name.namespace().into(),
            labels: Labels::default(),
        };
        for name in parents_named(&object.key.name, spec) {
            let host = match name.namespace() == &*client.namespace {
                true => name.name().to_owned(),
                false => self.hosts().full_name(&name),
            };
            self.circles(&suspects, &name, &host, &client, memo, found);
        }
    }

    /// Those of the suspects that lead clients of a service in a circle. Each is told once.
    fn circles<'a>(
        &'a self,
        suspects: &[Suspect<'a>],
        service: &NsName,
        host: &str,
        client: &Client,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        let table = memo.tables.of(self, service, client);
        let ports = self.service(service).into_iter().flat_map(|s| &s.ports);
        let mut ports: Vec<u16> = ports.map(|port| port.number).collect();
        if ports.is_empty() {
            ports.push(80);
        }
        for suspect in suspects {
            if memo.circles.contains(&suspect.origin) {
                continue;
            }
            if memo.tables.left == 0 {
                return;
            }
            let mut circle = None;
            for place in table.of_origin(&suspect.origin) {
                for port in &ports {
                    let authority = match port {
                        80 => host.to_owned(),
                        port => format!("{host}:{port}"),
                    };
                    for asked in table.examples(*place, &authority, *port, &mut memo.tables.regexes)
                    {
                        circle = circle.or_else(|| {
                            let start = Step {
                                service: service.clone(),
                                asked,
                                place: *place,
                            };
                            self.circle(start, client, &mut memo.tables)
                        });
                    }
                    if circle.is_some() {
                        break;
                    }
                }
                if circle.is_some() {
                    break;
                }
            }
            if let Some(reason) = circle {
                let reason = format!("{}: {reason}", suspect.path);
                let instead =
                    "match without the path that it leads to, or put a rule for that path first";
                let (object, at) = (suspect.object, suspect.at);
                memo.circles.insert(suspect.origin.clone());
                found.push(warning(Code::RedirectLoop, object, at, reason, instead));
            }
        }
    }

    /// How a request comes back to the rule that takes it first, if it does.
    fn circle(&self, start: Step, client: &Client, tables: &mut Tables) -> Option<String> {
        let first = tables.of(self, &start.service, client);
        if first.find(&start.asked, &mut tables.regexes, &mut tables.left) != Some(start.place) {
            return None;
        }
        let (mut steps, mut repeats) = (vec![start], None);
        while repeats.is_none() && steps.len() <= FOLLOWED {
            let last = steps.last()?;
            let table = tables.of(self, &last.service, client);
            let rule = table.rules.get(last.place)?;
            let is_bare = rule.fault.is_none() && !gives_cookies(rule);
            let answer = rule.answer.as_ref().filter(|_| is_bare);
            let Some(Answer::Redirect(to)) = answer else {
                return None;
            };
            let next = self.next(last, to, client, tables)?;
            repeats = steps
                .iter()
                .position(|step| step.asked == next.asked && step.service == next.service);
            steps.push(next);
        }
        // Who only leads into others' circle is not to blame.
        let back = |step: &Step| step.service == steps[0].service && step.place == steps[0].place;
        let in_circle = steps.get(repeats.map_or(1, |place| place.max(1))..)?;
        if !in_circle.iter().any(back) {
            return None;
        }
        let again = steps.iter().skip(1).position(back)? + 1;
        Some(self.told(&steps, again, repeats.is_some(), client, tables))
    }

    fn next(
        &self,
        last: &Step,
        to: &Redirect,
        client: &Client,
        tables: &mut Tables,
    ) -> Option<Step> {
        let asked = follow(&last.asked, to)?;
        let namespace = &*client.namespace;
        let service = match asked.host().eq_ignore_ascii_case(last.asked.host()) {
            true => last.service.clone(),
            false => self.named_by_clients(asked.host(), namespace)?,
        };
        let known = self.service(&service);
        if known.is_some_and(|known| known.ports.iter().all(|port| port.number != asked.port)) {
            return None;
        }
        let table = tables.of(self, &service, client);
        let place = table.find(&asked, &mut tables.regexes, &mut tables.left)?;
        Some(Step {
            service,
            asked,
            place,
        })
    }

    /// The service whose name a client in a namespace looks up.
    fn named_by_clients(&self, host: &str, namespace: &str) -> Option<NsName> {
        let named = self.named(host, namespace);
        let named = named.filter(|name| self.service(name).is_some());
        named.or_else(|| {
            let (name, namespace) = host.split_once('.')?;
            let name = NsName::new(namespace, name)?;
            self.service(&name).map(|_| name)
        })
    }

    /// In words that go after the field. `again`: the step at which the first rule takes it again.
    fn told(
        &self,
        steps: &[Step],
        again: usize,
        ends: bool,
        client: &Client,
        tables: &mut Tables,
    ) -> String {
        let shown = |asked: &Asked, before: &Asked| match asked.authority == before.authority {
            true => format!("\"{}\"", asked.target()),
            false => format!("\"{}{}\"", asked.authority, asked.target()),
        };
        let first = &steps[0];
        if steps[1].asked == first.asked {
            return "it leads to the same path of the same host".to_owned();
        }
        let mut text = format!(
            "it sends {} to {}",
            shown(&first.asked, &first.asked),
            shown(&steps[1].asked, &first.asked)
        );
        for i in 1..again.min(4) {
            let step = &steps[i];
            let table = tables.of(self, &step.service, client);
            let rule = table.rules.get(step.place);
            let origin = rule.map_or("a rule", |rule| rule.origin.as_str());
            text += &format!(
                ", which {origin} sends to {}",
                shown(&steps[i + 1].asked, &step.asked)
            );
        }
        text += match again {
            1 => ", which this rule takes too and redirects again",
            _ => ", which this rule takes again",
        };
        if !ends {
            text += ": the path is another each time, and that never ends";
        }
        text
    }
}

/// Whether clients come back with a cookie that they did not have: then other rules may take them.
fn gives_cookies(rule: &HttpRule) -> bool {
    let changes = rule.headers.as_ref().and_then(|all| all.response.as_ref());
    let mut given = changes
        .into_iter()
        .flat_map(|changes| changes.set.iter().chain(&changes.add));
    given.any(|header| header.name.eq_ignore_ascii_case("set-cookie"))
}

impl Table {
    /// Rules of this origin, by their places.
    fn of_origin(&self, origin: &str) -> &[usize] {
        self.origins.get(origin).map_or(&[], Vec::as_slice)
    }
}
