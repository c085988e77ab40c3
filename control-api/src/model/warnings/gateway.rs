//! Routes of Gateway API that are in force and hardly meant: shares of nobody, matches that take no
//! request (`shadows`), what either language can say in vain, those that are attached to nothing here, and
//! VirtualServices that lose ports to them.

mod shadows;

use std::sync::Arc;

pub(super) use self::shadows::Shadows;
use super::{Memo, likely, warning};
use crate::{
    check::{
        Code, Severity,
        likely::{Tries, is_idempotent, is_unsafe, unseen_header, unsent_header},
    },
    model::{
        Model,
        gateway::{ATTEMPTS, Attached, to_be_read},
    },
    name::NsName,
    resources::{
        at::At,
        gateway::{BackendRef, Filter, GROUP, HeaderModifier, ParentRef, Route, Rule},
        virtual_service::VirtualService,
    },
    source::{Object, Refusal, decode::Problem, node::Position},
};

/// Between two tries where a route does not say, in milliseconds.
const PAUSE: u64 = 25;

impl Model {
    pub(super) fn of_gateway_route<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a Route,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        of_parents(object, spec, found);
        let mut told = Vec::new();
        for (i, rule) in spec.rules.iter().enumerate() {
            of_rule(&format!("spec.rules[{i}]"), rule, &mut told);
        }
        found.extend(told.into_iter().map(|problem| likely(object, problem)));
        self.of_places(object, spec, memo, found);
        self.of_redirects_there(object, spec, memo, found);
        for (i, parent) in spec.parents.iter().enumerate() {
            if let Attached::To(service, ports) = self.attached(&object.key.name, parent) {
                let path = format!("spec.parentRefs[{i}]");
                self.of_opaque_ports((object, parent.at), &path, &service, &ports, memo, found);
                self.of_unmeshed(object, parent.at, &path, &service, memo, found);
            }
        }
    }

    /// Ports of which no requests are read, among others that take the route: where none does, that is an error.
    fn of_opaque_ports(
        &self,
        (object, at): (&Arc<Object>, Position),
        path: &str,
        service: &NsName,
        ports: &[u16],
        memo: &mut Memo<'_>,
        found: &mut Vec<Refusal>,
    ) {
        let namespace = object.key.name.namespace();
        let mut opaque = |port: &u16| memo.ports.opaque(self, service, *port, namespace);
        let (unread, read): (Vec<u16>, Vec<u16>) =
            ports.iter().partition(|port| opaque(port).is_some());
        let (Some(first), Some(other)) = (unread.first(), read.first()) else {
            return;
        };
        let said = unread
            .iter()
            .filter_map(|port| Some(format!("port {port} speaks {}", opaque(port)?)));
        let said: Vec<String> = said.collect();
        let reason = format!(
            "{path}: of the ports of Service {service} some take no route, since no requests are read there: {}",
            said.join(", ")
        );
        let instead = format!(
            "name the port that is meant, such as `port: {other}`; if port {first} speaks HTTP, {}",
            to_be_read(object.key.kind)
        );
        let follows = "the route applies at its other ports; connections to these pass as they are";
        let problem = Problem::new(Code::OpaquePort, at, reason)
            .suggest(instead)
            .follows(follows);
        let severity = Severity::Note;
        found.push(likely(
            object,
            Problem {
                severity,
                ..problem
            },
        ));
    }

    /// Whether routes of Gateway API have ports at which a VirtualService routes this host.
    pub(super) fn of_route_beside(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        (i, host): (usize, &At<String>),
        service: &NsName,
        found: &mut Vec<Refusal>,
    ) {
        let mut taken = self.gateway_ports(service, object.key.name.namespace());
        taken.retain(|port, _| speaks_of(spec, *port));
        let Some(first) = taken.values().next() else {
            return;
        };
        let ports: Vec<String> = taken.keys().map(u16::to_string).collect();
        let place = match &*first.origin.file_text() {
            "" => String::new(),
            file => format!(" ({file}:{})", first.origin.at.line),
        };
        let reason = format!(
            "spec.hosts[{i}]: {}{place} is attached to {} of {service}",
            first.key,
            match &*ports {
                [port] => format!("port {port}"),
                ports => format!("ports {}", ports.join(", ")),
            }
        );
        let instead = "write all routes of a port in one of the two languages";
        let at = host.at;
        found.push(warning(Code::RouteBeside, object, at, reason, instead));
    }
}

/// Routes that sidecars have nothing to do with.
fn of_parents(object: &Arc<Object>, spec: &Route, found: &mut Vec<Refusal>) {
    let is_gateway = |parent: &ParentRef| parent.group == GROUP && parent.kind == "Gateway";
    // A Service in a group that it is not of is told as an error.
    if spec.parents.iter().any(|parent| parent.kind == "Service") {
        return;
    }
    let at = spec.parents.first().map(|parent| parent.at);
    let at = at.unwrap_or_default();
    let service =
        "to route what is sent to a Service, write `group: \"\"`, `kind: Service` and its name";
    let (code, reason) = match spec.parents.iter().find(|parent| !is_gateway(parent)) {
        None if spec.parents.is_empty() => (
            Code::ParentOfNobody,
            "spec.parentRefs: there are none".to_owned(),
        ),
        None => (
            Code::ForGateways,
            "spec.parentRefs: all of them are Gateways".to_owned(),
        ),
        Some(parent) if spec.parents.iter().any(|parent| is_gateway(parent)) => (
            Code::ForGateways,
            format!(
                "spec.parentRefs: beside Gateways there is a {}, to which no sidecar attaches routes",
                parent.kind.escape_debug()
            ),
        ),
        Some(parent) => (
            Code::ParentOfNobody,
            format!(
                "spec.parentRefs: routes are attached to Services, not to a {}",
                parent.kind.escape_debug()
            ),
        ),
    };
    found.push(warning(code, object, at, reason, service));
}

/// Whether it says anything of what is sent to a port.
fn speaks_of(spec: &VirtualService, port: u16) -> bool {
    let mut rules = spec.http.iter();
    rules.any(|rule| {
        let mut matches = rule.matches.iter();
        rule.matches.is_empty()
            || matches.any(|one| one.port.as_ref().is_none_or(|of| of.value == port))
    })
}

fn of_rule(path: &str, rule: &At<Rule>, found: &mut Vec<Problem>) {
    if let Some(first) = rule.backends.first()
        && rule.backends.iter().all(|backend| backend.weight == 0)
    {
        let reason = format!("{path}.backendRefs: the weights total 0");
        let problem = Problem::new(Code::NoShare, first.at, reason);
        found.push(problem.suggest("give at least one of them a weight"));
    }
    for (i, one) in rule.matches.iter().enumerate() {
        for header in &one.headers {
            let exact = (!header.regex).then_some(header.value.as_str());
            if let Some(said) = unseen_header(&header.name, exact) {
                let name = header.name.escape_debug();
                let path = format!("{path}.matches[{i}].headers: {name}");
                found.push(said.at(&path, header.name.at));
            }
        }
    }
    filters(path, rule, found);
    tries(path, rule, found);
}

fn filters(path: &str, rule: &Rule, found: &mut Vec<Problem>) {
    let mut changes = |path: &str, modifier: &HeaderModifier| {
        for header in modifier.set.iter().chain(&modifier.add) {
            if let Some(said) = unsent_header(&header.name) {
                found.push(said.at(&format!("{path}.requestHeaderModifier"), header.name.at));
            }
        }
    };
    for (i, filter) in rule.filters.iter().enumerate() {
        if let Filter::RequestHeaders(modifier) = &filter.value {
            changes(&format!("{path}.filters[{i}]"), modifier);
        }
    }
    for (i, backend) in rule.backends.iter().enumerate() {
        for (j, filter) in backend.filters.iter().enumerate() {
            if let Filter::RequestHeaders(modifier) = &filter.value {
                changes(&format!("{path}.backendRefs[{i}].filters[{j}]"), modifier);
            }
        }
    }
    for (i, filter) in rule.filters.iter().enumerate() {
        let Filter::Mirror(mirror) = &filter.value else {
            continue;
        };
        let same = |to: &BackendRef| to == &mirror.to;
        let mut sent = rule.backends.iter().filter(|backend| backend.weight > 0);
        if sent.any(|backend| same(&backend.to)) {
            let reason =
                format!("{path}.filters[{i}].requestMirror: requests go to the same place already");
            let problem = Problem::new(Code::SelfMirror, filter.at, reason);
            found.push(problem.suggest("copy to another Service"));
        }
    }
}

fn tries(path: &str, rule: &At<Rule>, found: &mut Vec<Problem>) {
    let Some(retry) = &rule.retry else { return };
    let attempts = retry.attempts.unwrap_or(ATTEMPTS);
    if attempts == 0 {
        return;
    }
    let at = match retry.at {
        at if at == Position::default() => rule.at,
        at => at,
    };
    let codes: Vec<String> = retry.codes.iter().map(u16::to_string).collect();
    let codes: Vec<&str> = codes
        .iter()
        .map(String::as_str)
        .filter(|code| is_unsafe(code))
        .collect();
    let all_are = rule
        .matches
        .iter()
        .all(|one| one.method.as_deref().is_some_and(is_idempotent));
    if !codes.is_empty() && !all_are {
        let reason = format!(
            "{path}.retry.codes: {} repeat requests that may have been handled, and this rule takes POST too",
            codes.join(", ")
        );
        let instead = "take them out (503 says that nothing was handled), or match `method: GET`";
        found.push(Problem::new(Code::UnsafeRetry, at, reason).suggest(instead));
    }
    if let (Some(whole), Some(each)) = (rule.timeout, rule.backend_timeout) {
        let tries = Tries {
            attempts,
            each: each.millis(),
            whole: whole.millis(),
            pause: retry.backoff.map_or(PAUSE, |span| span.millis()),
        };
        if let Some(said) = tries.judge("backendRequest", "request") {
            found.push(said.at(&format!("{path}.timeouts"), at));
        }
    }
}
