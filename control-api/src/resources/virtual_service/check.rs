//! Mistakes that a VirtualService shows by itself: no destination, weights that total 0, a regex
//! that does not compile, a header name that cannot exist, unknown retry conditions; what its rules
//! do besides in `actions`.

mod actions;
mod host;
mod likely;

use std::collections::BTreeMap;

pub(crate) use self::host::{bad_host, host_meant};
use super::{HttpMatch, HttpRoute, Retries, TlsMatch, VirtualService, problem};
use crate::{
    check::Code,
    resources::{at::At, export::bad_exports, header::is_token, string_match::StringMatch},
    source::{decode::Problem, node::Position, suggest},
};

/// Conditions of `retryOn`, those of Envoy's names that a sidecar can tell.
const RETRY_ON: [&str; 15] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
    "unknown",
    "already-exists",
];

/// More attempts than this are a mistake.
const MAX_ATTEMPTS: u32 = 100;
/// Largest weight, so that a total never overflows.
const MAX_WEIGHT: u32 = 1_000_000;

pub(super) fn problems(spec: &VirtualService) -> Vec<Problem> {
    let mut found = Vec::new();
    if spec.hosts.is_empty() {
        delegate(spec, &mut found);
    }
    for (i, host) in spec.hosts.iter().enumerate() {
        if let Some(reason) = bad_host(host, true) {
            found.push(problem(
                Code::BadHost,
                host.at,
                format!("spec.hosts[{i}]: {reason}"),
                &host_meant(host, "", |port| {
                    format!("one of its ports is asked for by `match: [{{port: {port}}}]`")
                }),
            ));
        }
    }
    found.extend(bad_exports(&spec.export_to));
    for (i, rule) in spec.http.iter().enumerate() {
        http(&format!("spec.http[{i}]"), rule.at, rule, &mut found);
    }
    for (i, rule) in spec.tls.iter().enumerate() {
        let path = format!("spec.tls[{i}]");
        if rule.matches.is_empty() {
            let reason = format!("{path}: it has no `match`");
            found.push(problem(
                Code::NoMatch,
                rule.at,
                reason,
                "add `match:` with `sniHosts:`",
            ));
        }
        for (i, one) in rule.matches.iter().enumerate() {
            tls_match(&format!("{path}.match[{i}]"), one, &mut found);
        }
        let routes = rule.route.iter().map(|r| r.weight.as_ref());
        weights(&path, rule.at, routes, &mut found);
    }
    for (i, rule) in spec.tcp.iter().enumerate() {
        let path = format!("spec.tcp[{i}]");
        let routes = rule.route.iter().map(|r| r.weight.as_ref());
        weights(&path, rule.at, routes, &mut found);
    }
    for (path, destination) in spec.destinations() {
        if let Some(reason) = bad_host(&destination.host, false) {
            found.push(problem(
                Code::BadHost,
                destination.host.at,
                format!("{path}.host: {reason}"),
                &host_meant(&destination.host, "host: ", |port| {
                    format!("and beside it `port: {{number: {port}}}`")
                }),
            ));
        }
        if let Some(port) = destination.port.as_ref().filter(|port| *port.number == 0) {
            found.push(problem(
                Code::BadPort,
                port.number.at,
                format!("{path}.port.number: 0 is no port"),
                "",
            ));
        }
    }
    found
}

pub(super) fn warnings(spec: &VirtualService) -> Vec<Problem> {
    let mut found = Vec::new();
    for (i, rule) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{i}]");
        actions::warnings(&path, rule, &mut found);
        likely::warnings(&path, rule, &mut found);
    }
    found
}

/// What a VirtualService without hosts may not have: only others' rules lead to it.
fn delegate(spec: &VirtualService, found: &mut Vec<Problem>) {
    if spec.http.is_empty() {
        found.push(problem(
            Code::Empty,
            Position::default(),
            "spec.hosts: no host is named".into(),
            "name the service",
        ));
    }
    let gateways = spec.gateways.iter().flatten().map(|gateway| gateway.at);
    let tls = spec.tls.iter().map(|rule| rule.at);
    let tcp = spec.tcp.iter().map(|rule| rule.at);
    for (field, at) in [
        ("gateways", gateways.into_iter().next()),
        ("tls", tls.into_iter().next()),
        ("tcp", tcp.into_iter().next()),
    ] {
        if let Some(at) = at {
            let reason = format!(
                "spec.{field}: a VirtualService without hosts is only delegated to, and has no `{field}`"
            );
            found.push(problem(
                Code::Meaningless,
                at,
                reason,
                "name its `hosts`, or take this out",
            ));
        }
    }
    for (i, rule) in spec.http.iter().enumerate() {
        if let Some(to) = &rule.delegate {
            let reason = format!(
                "spec.http[{i}].delegate: a VirtualService without hosts cannot delegate further"
            );
            found.push(problem(
                Code::Meaningless,
                to.at,
                reason,
                "delegate from one that has hosts",
            ));
        }
    }
}

fn tls_match(path: &str, one: &At<TlsMatch>, found: &mut Vec<Problem>) {
    if one.sni_hosts.is_empty() {
        let reason = format!("{path}: it has no `sniHosts`");
        found.push(problem(
            Code::NoMatch,
            one.at,
            reason,
            "name the hosts; `*` is any",
        ));
    }
    for (i, host) in one.sni_hosts.iter().enumerate() {
        if let Some(reason) = bad_host(host, true) {
            let reason = format!("{path}.sniHosts[{i}]: {reason}");
            let instead = host_meant(host, "", |_| "the port is that of the match".into());
            found.push(problem(Code::BadHost, host.at, reason, &instead));
        }
    }
    if let Some(port) = one.port.as_ref().filter(|port| port.value == 0) {
        found.push(problem(
            Code::BadPort,
            port.at,
            format!("{path}.port: 0 is no port"),
            "",
        ));
    }
}

fn http(path: &str, at: Position, rule: &HttpRoute, found: &mut Vec<Problem>) {
    for (i, one) in rule.matches.iter().enumerate() {
        http_match(&format!("{path}.match[{i}]"), one, found);
    }
    if let Some(to) = rule.delegate.as_ref().filter(|_| {
        !rule.route.is_empty() || rule.redirect.is_some() || rule.direct_response.is_some()
    }) {
        let reason = format!(
            "{path}.delegate: the delegate says where requests go, so the rule cannot as well"
        );
        let instead = "take `route`, `redirect` or `directResponse` out, or `delegate`";
        found.push(problem(Code::Exclusive, to.at, reason, instead));
    }
    let is_answered = rule.redirect.is_some() || rule.direct_response.is_some();
    if !is_answered && rule.delegate.is_none() {
        weights(
            path,
            at,
            rule.route.iter().map(|r| r.weight.as_ref()),
            found,
        );
    }
    actions::problems(path, at, rule, found);
    if let Some(retries) = &rule.retries {
        retry(path, retries, found);
    }
}

fn http_match(path: &str, one: &HttpMatch, found: &mut Vec<Problem>) {
    let scalars = [
        ("uri", &one.uri),
        ("method", &one.method),
        ("authority", &one.authority),
        ("scheme", &one.scheme),
    ];
    for (name, matcher) in scalars
        .into_iter()
        .filter_map(|(name, m)| Some((name, m.as_ref()?)))
    {
        matcher_problem(&format!("{path}.{name}"), matcher, found);
    }
    let maps = [
        ("headers", &one.headers, true),
        ("withoutHeaders", &one.without_headers, true),
        ("queryParams", &one.query_params, false),
    ];
    for (name, map, are_headers) in maps {
        named(&format!("{path}.{name}"), map, are_headers, found);
    }
    if let Some(port) = one.port.as_ref().filter(|port| port.value == 0) {
        found.push(problem(
            Code::BadPort,
            port.at,
            format!("{path}.port: 0 is no port"),
            "",
        ));
    }
}

fn named(
    path: &str,
    map: &BTreeMap<String, Option<At<StringMatch>>>,
    are_headers: bool,
    found: &mut Vec<Problem>,
) {
    for (name, matcher) in map {
        let path = format!("{path}[\"{}\"]", name.escape_debug());
        let at = matcher.as_ref().map(|m| m.at).unwrap_or_default();
        let pseudo = matches!(
            name.as_str(),
            ":path" | ":method" | ":authority" | ":scheme"
        );
        if are_headers && pseudo {
            let instead = "use `uri`, `method`, `authority` or `scheme` of the match";
            found.push(problem(
                Code::PseudoHeader,
                at,
                format!("{path}: a pseudo-header is not matched here"),
                instead,
            ));
        } else if name.is_empty() || (are_headers && !is_token(name)) {
            found.push(problem(
                Code::BadHeaderName,
                at,
                format!("{path}: this is no header name"),
                "",
            ));
        }
        if let Some(matcher) = matcher {
            matcher_problem(&path, matcher, found);
        }
    }
}

fn matcher_problem(path: &str, matcher: &At<StringMatch>, found: &mut Vec<Problem>) {
    if let Some(reason) = matcher.problem() {
        let at = matcher.regex.as_ref().map_or(matcher.at, |regex| regex.at);
        found.push(problem(
            Code::BadMatcher,
            at,
            format!("{path}: {reason}"),
            "",
        ));
    }
}

fn weights<'a>(
    path: &str,
    at: Position,
    routes: impl Iterator<Item = Option<&'a At<u32>>>,
    found: &mut Vec<Problem>,
) {
    let all: Vec<_> = routes.collect();
    match all.as_slice() {
        [] => found.push(problem(
            Code::NoRoute,
            at,
            format!("{path}: it has no `route`"),
            "add a `route:` with a destination",
        )),
        [_] => {}
        several => {
            let total: u64 = several
                .iter()
                .flatten()
                .map(|weight| u64::from(weight.value))
                .sum();
            if total == 0 {
                let at = several
                    .iter()
                    .flatten()
                    .next()
                    .map_or(at, |weight| weight.at);
                let reason =
                    format!("{path}.route: the weights total 0, so nothing would get a request");
                found.push(problem(
                    Code::NoWeight,
                    at,
                    reason,
                    "give at least one destination a weight",
                ));
            }
            for weight in several
                .iter()
                .flatten()
                .filter(|weight| weight.value > MAX_WEIGHT)
            {
                let reason = format!(
                    "{path}.route: the weight {} is above {MAX_WEIGHT}",
                    weight.value
                );
                found.push(problem(
                    Code::OutOfRange,
                    weight.at,
                    reason,
                    "weights are relative: use smaller ones",
                ));
            }
        }
    }
}

fn retry(path: &str, retries: &Retries, found: &mut Vec<Problem>) {
    if retries.attempts.value > MAX_ATTEMPTS {
        let reason = format!(
            "{path}.retries.attempts: {} is above {MAX_ATTEMPTS}",
            retries.attempts.value
        );
        found.push(problem(Code::OutOfRange, retries.attempts.at, reason, ""));
    }
    if let Some(backoff) = retries.backoff.as_ref().filter(|b| b.millis() == 0) {
        let reason = format!("{path}.retries.backoff: it must be at least 1ms");
        let instead = "leave it out for the default of 25ms";
        found.push(problem(Code::TooShort, backoff.at, reason, instead));
    }
    let Some(retry_on) = &retries.retry_on else {
        return;
    };
    for condition in retry_on.split(',').map(str::trim).filter(|c| !c.is_empty()) {
        let is_status = condition
            .parse::<u16>()
            .is_ok_and(|status| (100..600).contains(&status));
        if !is_status && !RETRY_ON.contains(&condition) {
            let reason = format!(
                "{path}.retries.retryOn: unknown condition `{}`",
                condition.escape_debug()
            );
            found.push(problem(
                Code::BadRetryCondition,
                retry_on.at,
                reason,
                &suggest::sentence(condition, &RETRY_ON),
            ));
        }
    }
}
