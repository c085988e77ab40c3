//! A VirtualService as one client sees it, to a route table.

use std::{collections::BTreeMap, sync::Arc};

use heddle_proto::mesh::{
    self, HttpMatch, HttpRule, Millis, NamedMatch, RetryPolicy, RouteTable, StringMatch, TcpRule,
    string_match,
};

use super::{
    RouteView,
    source::{http_source, tcp_source},
};
use crate::{
    model::{Client, Encoded, Model, hosts::Host},
    name::NsName,
    resources::{
        at::At,
        duration::Span,
        string_match::{Meaning, StringMatch as Matcher},
        virtual_service::{self, Destination, Retries},
    },
    source::{Object, node::Position},
};

impl Model {
    pub(super) fn compile(
        &self,
        service: &NsName,
        winner: Option<&Arc<Object>>,
        client: &Client,
    ) -> RouteView {
        let mut table = RouteTable::default();
        let mut names = Vec::new();
        if let Some((object, spec)) = winner.and_then(|object| Some((object, object.route()?))) {
            let compiler = Compiler {
                model: self,
                service,
                object,
                client,
            };
            table.http = spec
                .http
                .iter()
                .enumerate()
                .filter_map(|(i, rule)| compiler.http(i, rule))
                .collect();
            table.tcp = spec
                .tcp
                .iter()
                .enumerate()
                .flat_map(|(i, rule)| compiler.tcp(i, rule))
                .collect();
            let http = table.http.iter().flat_map(|rule| &rule.destinations);
            let tcp = table.tcp.iter().flat_map(|rule| &rule.destinations);
            names = http
                .chain(tcp)
                .filter_map(|to| NsName::parse(&to.service))
                .collect();
            names.retain(|name| self.services.get(name).is_some());
            names.sort_unstable();
            names.dedup();
        }
        RouteView {
            encoded: Arc::new(Encoded::new(&table)),
            names: names.into(),
        }
    }
}

struct Compiler<'a> {
    model: &'a Model,
    service: &'a NsName,
    object: &'a Object,
    client: &'a Client,
}

impl Compiler<'_> {
    fn origin(&self, index: usize, at: Position) -> String {
        let mut origin = format!("{}/{}#{index}", self.object.key.kind, self.object.key.name);
        if let Some(file) = &self.object.origin.file {
            origin += &format!(" ({}:{})", file.display(), at.line);
        }
        origin
    }

    /// None: the rule is for other clients only.
    fn http(&self, index: usize, rule: &At<virtual_service::HttpRoute>) -> Option<HttpRule> {
        let ours = rule
            .matches
            .iter()
            .filter(|one| http_source(one).admits(self.client));
        let matches: Vec<HttpMatch> = ours.map(http_match).collect();
        if matches.is_empty() && !rule.matches.is_empty() {
            return None;
        }
        Some(HttpRule {
            origin: self.origin(index, rule.at),
            matches,
            destinations: self.destinations(
                rule.route
                    .iter()
                    .map(|to| (&to.destination, to.weight.as_ref())),
            ),
            timeout: rule.timeout.and_then(millis),
            retries: rule.retries.as_ref().map(retry_policy),
            ..HttpRule::default()
        })
    }

    fn tcp(&self, index: usize, rule: &At<virtual_service::TcpRoute>) -> Vec<TcpRule> {
        let to = |port: u32| TcpRule {
            origin: self.origin(index, rule.at),
            port,
            destinations: self.destinations(
                rule.route
                    .iter()
                    .map(|to| (&to.destination, to.weight.as_ref())),
            ),
            sni_hosts: Vec::new(),
        };
        if rule.matches.is_empty() {
            return vec![to(0)];
        }
        let ours = rule
            .matches
            .iter()
            .filter(|one| tcp_source(one).admits(self.client));
        ours.map(|one| to(one.port.as_ref().map_or(0, |port| port.value.into())))
            .collect()
    }

    fn destinations<'d>(
        &self,
        routes: impl ExactSizeIterator<Item = (&'d Destination, Option<&'d At<u32>>)>,
    ) -> Vec<mesh::Destination> {
        let only = routes.len() == 1;
        let namespace = self.object.key.name.namespace();
        routes
            .filter_map(|(to, weight)| {
                let Host::Service(service) = self.model.hosts().resolve(&to.host, namespace) else {
                    return None;
                };
                Some(mesh::Destination {
                    port: self.port(to, &service),
                    service: service.to_string(),
                    subset: to
                        .subset
                        .as_ref()
                        .map(|subset| subset.value.clone())
                        .unwrap_or_default(),
                    weight: if only {
                        1
                    } else {
                        weight.map_or(0, |weight| weight.value)
                    },
                    ..mesh::Destination::default()
                })
            })
            .collect()
    }

    /// The port that is named; else the only one of another service; else the one that was called.
    fn port(&self, to: &Destination, service: &NsName) -> u32 {
        if let Some(port) = &to.port {
            return port.number.value.into();
        }
        let ports = self
            .model
            .service(service)
            .map(|service| service.ports.as_slice());
        match ports {
            Some([only]) if service != self.service => only.number.into(),
            _ => 0,
        }
    }
}

/// Zero is none, as everywhere in Istio.
fn millis(span: Span) -> Option<Millis> {
    (span.millis() > 0).then(|| Millis {
        millis: span.millis(),
    })
}

fn retry_policy(retries: &Retries) -> RetryPolicy {
    let conditions = retries.retry_on.iter().flat_map(|list| list.split(','));
    RetryPolicy {
        attempts: retries.attempts.value,
        per_try_timeout: retries.per_try_timeout.and_then(millis),
        retry_on: conditions
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.is_empty())
            .collect(),
        ..RetryPolicy::default()
    }
}

fn http_match(one: &virtual_service::HttpMatch) -> HttpMatch {
    let scalar =
        |matcher: &Option<At<Matcher>>| matcher.as_ref().map(|matcher| string_match(matcher));
    HttpMatch {
        path: scalar(&one.uri),
        ignore_path_case: one.ignore_uri_case,
        method: scalar(&one.method),
        authority: scalar(&one.authority),
        headers: named(&one.headers, true),
        without_headers: named(&one.without_headers, true),
        query: named(&one.query_params, false),
        port: one.port.as_ref().map_or(0, |port| port.value.into()),
        ..HttpMatch::default()
    }
}

fn named(map: &BTreeMap<String, Option<At<Matcher>>>, lower: bool) -> Vec<NamedMatch> {
    let present = Matcher::default();
    map.iter()
        .map(|(name, matcher)| NamedMatch {
            name: if lower {
                name.to_ascii_lowercase()
            } else {
                name.clone()
            },
            value: Some(string_match(
                matcher.as_ref().map_or(&present, |matcher| &matcher.value),
            )),
        })
        .collect()
}

fn string_match(matcher: &Matcher) -> StringMatch {
    let kind = match matcher.meaning() {
        Meaning::Present => string_match::Kind::Present(true),
        Meaning::Exact(text) => string_match::Kind::Exact(text.to_owned()),
        Meaning::Prefix(text) => string_match::Kind::Prefix(text.to_owned()),
        Meaning::Regex(text) => string_match::Kind::Regex(text.to_owned()),
    };
    StringMatch { kind: Some(kind) }
}
