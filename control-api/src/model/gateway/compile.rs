//! The routes in force for a client, as wire rules: every match of every route, in the API's order.
//! Matches of one rule that follow each other stay one rule, so that its split stays one. Ports with
//! the same routes share their rules; where no match holds there is no rule, and so a 404.

use std::sync::Arc;

use heddle_proto::mesh::{
    self, Destination, DirectResponse, HttpMatch, HttpRule, Millis, NamedMatch, RetryPolicy,
    StringMatch, http_rule::Answer, string_match::Kind,
};

use super::{super::Model, fault, filters, order::Rank};
use crate::{
    model::routes::sticky,
    name::NsName,
    resources::{
        at::At,
        duration::Span,
        gateway::{Backend, FieldMatch, Filter, Match, Retry, Route, Rule, Target},
    },
    source::Object,
};

/// Tries beyond the first where a route asks for retries and does not say how many.
pub(in crate::model) const ATTEMPTS: u32 = 2;

/// The rules of a service, and the ports that they are for.
pub(in crate::model) struct GatewayRules {
    pub(in crate::model) rules: Vec<HttpRule>,
    pub(in crate::model) ports: Vec<u16>,
}

/// One match of one rule, and where it comes.
pub(in crate::model) struct Entry<'a> {
    rank: Rank<'a>,
    pub(in crate::model) object: &'a Arc<Object>,
    spec: &'a Route,
    pub(in crate::model) rule: usize,
    /// Which of the rule's matches.
    pub(in crate::model) one: usize,
    wanted: &'a At<Match>,
    host: Option<&'a str>,
}

/// Every match of these routes, by the API's order.
pub(in crate::model) fn in_order<'a>(routes: &[&'a Arc<Object>]) -> Vec<Entry<'a>> {
    let mut all: Vec<Entry<'a>> = routes.iter().flat_map(|object| entries(object)).collect();
    all.sort_by(|a, b| a.rank.cmp(&b.rank));
    all
}

impl Model {
    /// None: no route of Gateway API is in force for the client.
    pub(in crate::model) fn gateway_rules(
        &self,
        service: &NsName,
        namespace: &str,
    ) -> Option<GatewayRules> {
        let groups = self.groups_in_force(service, namespace);
        if groups.is_empty() {
            return None;
        }
        let mut ports: Vec<u16> = groups.iter().flat_map(|(_, ports)| ports.clone()).collect();
        ports.sort_unstable();
        let total = self
            .service(service)
            .map_or(0, |service| service.ports.len());
        let everywhere = groups.len() == 1 && ports.len() == total;
        let rules = groups.iter().flat_map(|(routes, ports)| {
            let ports: &[u16] = if everywhere { &[0] } else { ports };
            self.rules_of(routes, ports)
        });
        Some(GatewayRules {
            rules: rules.collect(),
            ports,
        })
    }

    /// Routes in force, and the ports that have the same.
    pub(in crate::model) fn groups_in_force(
        &self,
        service: &NsName,
        namespace: &str,
    ) -> Vec<(Vec<&Arc<Object>>, Vec<u16>)> {
        let mut groups: Vec<(Vec<&Arc<Object>>, Vec<u16>)> = Vec::new();
        for (port, routes) in self.routes_in_force(service, namespace) {
            let same = |known: &[&Arc<Object>]| {
                let mut pairs = known.iter().zip(&routes);
                known.len() == routes.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
            };
            match groups.iter_mut().find(|(known, _)| same(known)) {
                Some((_, ports)) => ports.push(port),
                None => groups.push((routes, vec![port])),
            }
        }
        groups
    }

    /// `ports`: 0 is any.
    fn rules_of(&self, routes: &[&Arc<Object>], ports: &[u16]) -> Vec<HttpRule> {
        let entries = in_order(routes);
        let mut rules: Vec<HttpRule> = Vec::new();
        let mut last: Option<&Entry<'_>> = None;
        for entry in &entries {
            let matches = ports.iter().map(|port| http_match(entry, *port));
            let of_last = last.filter(|last| {
                Arc::ptr_eq(last.object, entry.object)
                    && last.rule == entry.rule
                    && (last.wanted.target == entry.wanted.target || !depends_on_match(entry))
            });
            match (of_last, rules.last_mut()) {
                (Some(_), Some(rule)) => rule.matches.extend(matches),
                _ => rules.push(self.http_rule(entry, matches.collect())),
            }
            last = Some(entry);
        }
        if entries.is_empty() {
            rules.push(nothing(ports));
        }
        rules
    }

    fn http_rule(&self, entry: &Entry<'_>, matches: Vec<HttpMatch>) -> HttpRule {
        let object: &Object = entry.object;
        let Some(rule) = entry.spec.rules.get(entry.rule) else {
            return HttpRule::default();
        };
        let base = HttpRule {
            origin: origin(object, entry.rule, rule),
            matches,
            ..HttpRule::default()
        };
        if let Some((_, _, text, _)) = fault::of_rule(rule) {
            return HttpRule {
                destinations: vec![invalid(1, text)],
                ..base
            };
        }
        let done = filters::of_rule(&rule.filters, &entry.wanted.target);
        let destinations = match done.redirect {
            Some(_) => Vec::new(),
            None => self.destinations(object, rule, &entry.wanted.target),
        };
        let split = destinations.iter().filter(|to| to.weight > 0).count() > 1;
        let sticky_by = entry.spec.sticky.as_ref().filter(|_| split);
        let (timeout, retries) = times(rule);
        HttpRule {
            destinations,
            timeout,
            retries,
            answer: done.redirect.map(Answer::Redirect),
            mirrors: self.mirrors(object, rule),
            rewrite: done.rewrite,
            headers: done.headers,
            cors: done.cors,
            sticky: sticky_by.map(sticky),
            ..base
        }
    }

    /// Each backend's share; one whose backend cannot be meant answers with an error.
    fn destinations(&self, object: &Object, rule: &Rule, by: &Target) -> Vec<Destination> {
        let total: u64 = rule.backends.iter().map(|b| u64::from(b.weight)).sum();
        if total == 0 {
            let why = match rule.backends.is_empty() {
                true => "the rule has no backendRefs",
                false => "the weights of its backendRefs total 0",
            };
            return vec![invalid(1, why.to_owned())];
        }
        let shares = rule.backends.iter();
        let shares = shares.map(|backend| self.destination(object, backend, by));
        shares
            .filter(|to| to.weight > 0 || to.invalid.is_empty())
            .collect()
    }

    fn destination(&self, object: &Object, backend: &Backend, by: &Target) -> Destination {
        if let Some((_, text)) = fault::of_backend(backend) {
            return invalid(backend.weight, text);
        }
        let done = filters::of_rule(&backend.filters, by);
        match self.backend(&object.key.name, &backend.to) {
            Ok((service, port)) => Destination {
                service: service.to_string(),
                port: port.into(),
                weight: backend.weight,
                headers: done.headers,
                rewrite: done.rewrite,
                ..Destination::default()
            },
            Err(none) => invalid(backend.weight, none.text),
        }
    }

    /// Those whose backend can be meant.
    fn mirrors(&self, object: &Object, rule: &Rule) -> Vec<mesh::Mirror> {
        let mirrors = rule
            .filters
            .iter()
            .filter_map(|filter| match &filter.value {
                Filter::Mirror(mirror) => Some(mirror),
                _ => None,
            });
        let wire = mirrors.filter_map(|mirror| {
            let (service, port) = self.backend(&object.key.name, &mirror.to).ok()?;
            Some(mesh::Mirror {
                destination: Some(Destination {
                    service: service.to_string(),
                    port: port.into(),
                    weight: 1,
                    ..Destination::default()
                }),
                ppm: mirror.ppm,
            })
        });
        wire.collect()
    }
}

fn entries(object: &Arc<Object>) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let Some(spec) = object.gateway_route() else {
        return entries;
    };
    let mut hosts: Vec<Option<&str>> = spec.hostnames.iter().map(|h| Some(h.as_str())).collect();
    if hosts.is_empty() {
        hosts.push(None);
    }
    for (rule, written) in spec.rules.iter().enumerate() {
        for (one, wanted) in written.matches.iter().enumerate() {
            entries.extend(hosts.iter().map(|host| Entry {
                rank: Rank::new(object, (rule, one), wanted, *host),
                object,
                spec,
                rule,
                wanted,
                one,
                host: *host,
            }));
        }
    }
    entries
}

/// Whether what its rule does depends on which of its matches holds.
fn depends_on_match(entry: &Entry<'_>) -> bool {
    let rule = entry.spec.rules.get(entry.rule);
    rule.is_some_and(|rule| {
        let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
        let mut all = rule.filters.iter().chain(of_backends);
        all.any(|filter| filters::replaces_prefix(filter))
    })
}

fn origin(object: &Object, index: usize, rule: &At<Rule>) -> String {
    let mut origin = format!("{}/{}#{index}", object.key.kind, object.key.name);
    if let Some(file) = &object.origin.file {
        origin += &format!(" ({}:{})", file.display(), rule.at.line);
    }
    origin
}

fn invalid(weight: u32, why: String) -> Destination {
    Destination {
        weight,
        invalid: why,
        ..Destination::default()
    }
}

/// A route without a rule is attached all the same: nothing matches.
fn nothing(ports: &[u16]) -> HttpRule {
    let matches = ports.iter().map(|port| HttpMatch {
        port: u32::from(*port),
        ..HttpMatch::default()
    });
    HttpRule {
        matches: matches.collect(),
        answer: Some(Answer::DirectResponse(DirectResponse {
            status: 404,
            ..DirectResponse::default()
        })),
        ..HttpRule::default()
    }
}

/// The whole request's time, and its retries. Without retries of its own a try is the request.
fn times(rule: &Rule) -> (Option<Millis>, Option<RetryPolicy>) {
    let millis = |span: Span| Millis {
        millis: span.millis(),
    };
    let Some(retry) = &rule.retry else {
        let given = [rule.timeout, rule.backend_timeout].into_iter().flatten();
        let shorter = given.min_by_key(|span| span.millis());
        return (shorter.map(millis), None);
    };
    let Retry {
        codes,
        attempts,
        backoff,
    } = &retry.value;
    let policy = RetryPolicy {
        attempts: attempts.unwrap_or(ATTEMPTS),
        per_try_timeout: rule.backend_timeout.map(millis),
        retry_on: codes.iter().map(u16::to_string).collect(),
        backoff: backoff.map(millis),
        ignore_previous_hosts: false,
    };
    (rule.timeout.map(millis), Some(policy))
}

fn text(kind: Kind) -> Option<StringMatch> {
    Some(StringMatch { kind: Some(kind) })
}

/// What the match asks for at a port; 0 is any.
pub(in crate::model) fn http_match(entry: &Entry<'_>, port: u16) -> HttpMatch {
    wire_match(entry.wanted, entry.host, port)
}

/// The same of a match that stands alone.
pub(in crate::model) fn wire_match(wanted: &Match, host: Option<&str>, port: u16) -> HttpMatch {
    let (mut path, mut path_segments) = (None, String::new());
    match &wanted.target.value {
        Target::Exact(exact) => path = text(Kind::Exact(exact.clone())),
        Target::Regex(regex) => path = text(Kind::Regex(regex.clone())),
        // Every path is below this one.
        Target::Prefix(prefix) if prefix == "/" => {}
        Target::Prefix(prefix) => path_segments = prefix.clone(),
        Target::Grpc {
            service,
            method,
            regex,
        } => path = grpc_path(service.as_deref(), method.as_deref(), *regex),
    }
    HttpMatch {
        path,
        path_segments,
        method: wanted
            .method
            .clone()
            .and_then(|method| text(Kind::Exact(method))),
        headers: wanted.headers.iter().map(field).collect(),
        query: wanted.query.iter().map(field).collect(),
        port: port.into(),
        host: host.unwrap_or_default().to_ascii_lowercase(),
        ..HttpMatch::default()
    }
}

/// A call is a POST to `/SERVICE/METHOD`.
fn grpc_path(service: Option<&str>, method: Option<&str>, regex: bool) -> Option<StringMatch> {
    const ANY: &str = "[^/]+";
    let kind = match (service, method) {
        (None, None) => return None,
        (Some(service), Some(method)) if !regex => Kind::Exact(format!("/{service}/{method}")),
        (Some(service), None) if !regex => Kind::Prefix(format!("/{service}/")),
        (service, method) => {
            let part = |text: Option<&str>| match text {
                None => ANY.to_owned(),
                Some(text) if regex => format!("(?:{text})"),
                Some(text) => regex::escape(text),
            };
            Kind::Regex(format!("/{}/{}", part(service), part(method)))
        }
    };
    text(kind)
}

fn field(field: &FieldMatch) -> NamedMatch {
    let value = field.value.clone();
    NamedMatch {
        name: field.name.value.clone(),
        value: text(match field.regex {
            true => Kind::Regex(value),
            false => Kind::Exact(value),
        }),
    }
}
