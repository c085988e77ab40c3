//! A VirtualService as one client sees it, to a route table. A rule whose matches rewrite the path
//! differently (each its own prefix) becomes several of the same origin, in order.

mod actions;
mod matches;
mod path;

use std::sync::Arc;

use heddle_proto::mesh::{
    self, HttpMatch, HttpRule, Millis, PathRewrite, RetryPolicy, RouteTable, TcpRule,
    http_rule::Answer,
};

pub(in crate::model) use self::{actions::sticky, matches::http_match};
use super::{
    RouteView,
    rules::Rule,
    source::{http_source, tcp_source, tls_source},
};
use crate::{
    model::{Client, Encoded, Model},
    name::NsName,
    resources::{
        at::At,
        duration::Span,
        header::Headers,
        virtual_service::{self, Destination, HttpRoute, Retries},
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
        let table = self.rules_for_client(service, winner, client);
        let http = table.http.iter().flat_map(|rule| &rule.destinations);
        let mirrors = table.http.iter().flat_map(|rule| &rule.mirrors);
        let tcp = table.tcp.iter().flat_map(|rule| &rule.destinations);
        let mut names: Vec<NsName> = http
            .chain(mirrors.filter_map(|mirror| mirror.destination.as_ref()))
            .chain(tcp)
            .filter_map(|to| NsName::parse(&to.service))
            .collect();
        names.retain(|name| self.services.get(name).is_some());
        names.sort_unstable();
        names.dedup();
        RouteView {
            encoded: Arc::new(Encoded::new(&table)),
            names: names.into(),
        }
    }

    /// The rules themselves.
    pub(in crate::model) fn rules_for_client(
        &self,
        service: &NsName,
        winner: Option<&Arc<Object>>,
        client: &Client,
    ) -> RouteTable {
        let mut table = RouteTable::default();
        if let Some((object, spec)) = winner.and_then(|object| Some((object, object.route()?))) {
            let compiler = Compiler {
                model: self,
                service,
                object,
                client,
            };
            table.http = self
                .http_rules(object, spec)
                .iter()
                .flat_map(|one| {
                    let of_author = Compiler {
                        object: one.object,
                        ..compiler
                    };
                    of_author.http(one)
                })
                .collect();
            let tls = spec.tls.iter().enumerate();
            let tls = tls.flat_map(|(i, rule)| compiler.tls(i, rule));
            let tcp = spec.tcp.iter().enumerate();
            let tcp = tcp.flat_map(|(i, rule)| compiler.tcp(i, rule));
            table.tcp = tls.chain(tcp).collect();
        }
        self.put_gateway_rules(service, &client.namespace, &mut table);
        table
    }
}

#[derive(Clone, Copy)]
struct Compiler<'a> {
    model: &'a Model,
    service: &'a NsName,
    object: &'a Object,
    client: &'a Client,
}

/// A place, its share, and what is changed on the way there.
type Share<'a> = (&'a Destination, Option<&'a At<u32>>, Option<&'a Headers>);

impl Compiler<'_> {
    fn origin(&self, rule: impl std::fmt::Display, at: Position) -> String {
        let mut origin = format!("{}/{}#{rule}", self.object.key.kind, self.object.key.name);
        if let Some(file) = &self.object.origin.file {
            origin += &format!(" ({}:{})", file.display(), at.line);
        }
        origin
    }

    /// Nothing: the rule is for other clients only.
    fn http(&self, one: &Rule<'_>) -> Vec<HttpRule> {
        let rule = &one.rule;
        if rule.matches.is_empty() {
            return vec![self.http_rule(one, Vec::new(), path::rewrite(rule, None))];
        }
        let ours = rule
            .matches
            .iter()
            .filter(|one| http_source(one).admits(self.client));
        let mut groups: Vec<(Vec<HttpMatch>, Option<PathRewrite>)> = Vec::new();
        for wanted in ours {
            let rewrite = path::rewrite(rule, Some(wanted));
            match groups.last_mut().filter(|(_, known)| *known == rewrite) {
                Some((matches, _)) => matches.push(http_match(wanted)),
                None => groups.push((vec![http_match(wanted)], rewrite)),
            }
        }
        groups
            .into_iter()
            .map(|(matches, rewrite)| self.http_rule(one, matches, rewrite))
            .collect()
    }

    fn http_rule(
        &self,
        one: &Rule<'_>,
        matches: Vec<HttpMatch>,
        path: Option<PathRewrite>,
    ) -> HttpRule {
        let rule = &one.rule;
        let shares = rule.route.iter().map(|to| {
            let headers = to.headers.as_deref();
            (&to.destination, to.weight.as_ref(), headers)
        });
        let destinations = self.destinations(shares);
        let split = destinations.iter().filter(|to| to.weight > 0).count() > 1;
        let sticky = one.sticky.filter(|_| split);
        let (answer, path) = match (&rule.redirect, &rule.direct_response) {
            (Some(to), _) => (Some(Answer::Redirect(actions::redirect(to, path))), None),
            (None, Some(it)) => {
                let answer = Answer::DirectResponse(actions::direct_response(it));
                (Some(answer), None)
            }
            (None, None) => (None, path),
        };
        HttpRule {
            origin: self.origin(one.index, rule.at),
            matches,
            destinations,
            timeout: rule.timeout.and_then(millis),
            retries: rule.retries.as_ref().map(retry_policy),
            answer,
            fault: rule.fault.as_ref().map(|fault| actions::fault(fault)),
            mirrors: self.mirrors(rule),
            rewrite: actions::rewrite(rule, path),
            headers: rule.headers.as_deref().and_then(actions::headers),
            cors: rule
                .cors_policy
                .as_ref()
                .map(|policy| actions::cors(policy)),
            sticky: sticky.map(actions::sticky),
        }
    }

    fn mirrors(&self, rule: &HttpRoute) -> Vec<mesh::Mirror> {
        let of_all = rule.mirror_percentage.as_ref().map(|p| p.ppm());
        let older = rule.mirror_percent.as_ref().map(|p| p.value * 10_000);
        let one = rule.mirror.iter().map(|to| (&to.value, of_all.or(older)));
        let several = rule.mirrors.iter().map(|mirror| {
            let ppm = mirror.percentage.as_ref().map(|p| p.ppm());
            (&mirror.destination, ppm)
        });
        let mirror = |(to, ppm): (&Destination, Option<u32>)| {
            Some(mesh::Mirror {
                destination: Some(self.destination(to, 1, None)?),
                ppm: ppm.unwrap_or(1_000_000),
            })
        };
        one.chain(several).filter_map(mirror).collect()
    }

    fn tls(&self, index: usize, rule: &At<virtual_service::TlsRoute>) -> Vec<TcpRule> {
        let ours = rule
            .matches
            .iter()
            .filter(|one| tls_source(one).admits(self.client));
        ours.map(|one| {
            let hosts = one.sni_hosts.iter();
            TcpRule {
                origin: self.origin(format_args!("tls{index}"), rule.at),
                port: one.port.as_ref().map_or(0, |port| port.value.into()),
                destinations: self.connections(&rule.route),
                sni_hosts: hosts.map(|host| host.to_ascii_lowercase()).collect(),
            }
        })
        .collect()
    }

    fn tcp(&self, index: usize, rule: &At<virtual_service::TcpRoute>) -> Vec<TcpRule> {
        let to = |port: u32| TcpRule {
            origin: self.origin(index, rule.at),
            port,
            destinations: self.connections(&rule.route),
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

    fn connections(
        &self,
        routes: &[virtual_service::TcpRouteDestination],
    ) -> Vec<mesh::Destination> {
        let shares = routes.iter();
        self.destinations(shares.map(|to| (&to.destination, to.weight.as_ref(), None)))
    }

    fn destinations<'d>(
        &self,
        shares: impl ExactSizeIterator<Item = Share<'d>>,
    ) -> Vec<mesh::Destination> {
        let only = shares.len() == 1;
        shares
            .filter_map(|(to, weight, headers)| {
                let weight = weight.map_or(0, |weight| weight.value);
                self.destination(to, if only { 1 } else { weight }, headers)
            })
            .collect()
    }

    fn destination(
        &self,
        to: &Destination,
        weight: u32,
        headers: Option<&Headers>,
    ) -> Option<mesh::Destination> {
        let namespace = self.object.key.name.namespace();
        let service = self.model.named(&to.host, namespace)?;
        let subset = to.subset.as_ref().map(|subset| subset.value.clone());
        Some(mesh::Destination {
            port: self.port(to, &service),
            service: service.to_string(),
            subset: subset.unwrap_or_default(),
            weight,
            headers: headers.and_then(actions::headers),
            rewrite: headers.and_then(actions::authority),
            invalid: String::new(),
        })
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
        backoff: retries.backoff.as_ref().and_then(|span| millis(span.value)),
        ignore_previous_hosts: retries.retry_ignore_previous_hosts == Some(false),
    }
}
