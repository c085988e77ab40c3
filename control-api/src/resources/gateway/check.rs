//! What the API itself would refuse of a route: values out of range, names that are none, regexes
//! that do not compile, a filter without its own field. Nothing here knows the mesh.

mod actions;
mod matches;

use super::{
    filters::{FilterSpec, FilterType},
    grpc_route::GrpcRouteSpec,
    http_route::{HttpRouteSpec, ParentReference, RuleSpec, Timeouts},
    problem,
};
use crate::{
    check::Code,
    resources::{
        at::{At, Ignored},
        duration::Span,
        virtual_service::{bad_host, host_meant},
    },
    source::{decode::Problem, node::Position},
};

/// Largest weight: the API's.
const MAX_WEIGHT: u32 = 1_000_000;
/// More attempts than this are a mistake.
const MAX_ATTEMPTS: u32 = 100;

pub(super) fn http(spec: &HttpRouteSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    common(&spec.parent_refs, &spec.hostnames, &mut found);
    for (i, rule) in spec.rules.iter().flatten().enumerate() {
        let path = format!("spec.rules[{i}]");
        for (i, one) in rule.matches.iter().enumerate() {
            matches::http(&format!("{path}.matches[{i}]"), one, &mut found);
        }
        let filters = rule.filters.iter().map(|filter| (filter.at, &filter.value));
        actions::filters(&path, filters, &mut found);
        redirects(&path, rule, &mut found);
        for (i, backend) in rule.backend_refs.iter().enumerate() {
            let path = format!("{path}.backendRefs[{i}]");
            let spec = &backend.value;
            let is_service = is_service(spec.group.as_deref(), spec.kind.as_deref());
            port(
                &path,
                backend.at,
                is_service,
                spec.port.as_ref(),
                &mut found,
            );
            weight(&path, spec.weight.as_ref(), &mut found);
            let filters = spec.filters.iter().map(|filter| (filter.at, &filter.value));
            actions::filters(&path, filters, &mut found);
        }
        times(&path, rule, &mut found);
        persistence(&path, rule.session_persistence.as_ref(), &mut found);
    }
    found
}

pub(super) fn grpc(spec: &GrpcRouteSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    common(&spec.parent_refs, &spec.hostnames, &mut found);
    for (i, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        for (i, one) in rule.matches.iter().enumerate() {
            matches::grpc(&format!("{path}.matches[{i}]"), one, &mut found);
        }
        actions::grpc_filters(&path, &rule.filters, &mut found);
        for (i, backend) in rule.backend_refs.iter().enumerate() {
            let path = format!("{path}.backendRefs[{i}]");
            let spec = &backend.value;
            let is_service = is_service(spec.group.as_deref(), spec.kind.as_deref());
            port(
                &path,
                backend.at,
                is_service,
                spec.port.as_ref(),
                &mut found,
            );
            weight(&path, spec.weight.as_ref(), &mut found);
            actions::grpc_filters(&path, &spec.filters, &mut found);
        }
        persistence(&path, rule.session_persistence.as_ref(), &mut found);
    }
    found
}

/// A duration as the API writes it (GEP-2257): `1h30m`, `500ms`; at most four parts.
pub(super) fn duration(text: &str) -> Option<Span> {
    let mut parts = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let unit = ["ms", "h", "m", "s"]
            .into_iter()
            .find(|u| unit.starts_with(u))?;
        if number.is_empty() || number.len() > 5 || parts == 4 {
            return None;
        }
        rest = &rest[digits + unit.len()..];
        parts += 1;
    }
    Span::parse(text)
}

fn common(parents: &[At<ParentReference>], hostnames: &[At<String>], found: &mut Vec<Problem>) {
    for (i, parent) in parents.iter().enumerate() {
        if parent.name.is_empty() {
            let reason = format!("spec.parentRefs[{i}].name: it is empty");
            found.push(problem(
                Code::Empty,
                parent.name.at,
                reason,
                "name the Service",
            ));
        }
        if let Some(port) = parent.port.as_ref().filter(|port| port.value == 0) {
            let reason = format!("spec.parentRefs[{i}].port: 0 is no port");
            found.push(problem(Code::BadPort, port.at, reason, ""));
        }
    }
    for (i, host) in hostnames.iter().enumerate() {
        let is_ip = host.parse::<std::net::IpAddr>().is_ok();
        let reason = bad_host(host, true).or_else(|| {
            let alone = is_ip || host.as_str() == "*";
            alone.then(|| format!("\"{}\" is no host name", host.escape_debug()))
        });
        if let Some(reason) = reason {
            let reason = format!("spec.hostnames[{i}]: {reason}");
            let meant = host_meant(host, "", |port| {
                format!("a port is named by the parentRef (`port: {port}`)")
            });
            let instead = match meant.as_str() {
                "" => "write a name, or `*.` and a name",
                meant => meant,
            };
            found.push(problem(Code::BadHost, host.at, reason, instead));
        }
    }
}

fn is_service(group: Option<&str>, kind: Option<&str>) -> bool {
    group.is_none_or(str::is_empty) && kind.is_none_or(|kind| kind == "Service")
}

fn port(
    path: &str,
    at: Position,
    of_service: bool,
    port: Option<&At<u16>>,
    found: &mut Vec<Problem>,
) {
    match port {
        None if of_service => {
            let reason = format!("{path}: the field `port` is missing");
            found.push(problem(
                Code::MissingField,
                at,
                reason,
                "name the port of the Service",
            ));
        }
        Some(port) if port.value == 0 => {
            found.push(problem(
                Code::BadPort,
                port.at,
                format!("{path}.port: 0 is no port"),
                "",
            ));
        }
        _ => {}
    }
}

fn weight(path: &str, weight: Option<&At<u32>>, found: &mut Vec<Problem>) {
    if let Some(weight) = weight.filter(|weight| weight.value > MAX_WEIGHT) {
        let reason = format!("{path}.weight: {} is above {MAX_WEIGHT}", weight.value);
        let instead = "weights are relative: use smaller ones";
        found.push(problem(Code::OutOfRange, weight.at, reason, instead));
    }
}

/// A redirect stands alone; what stands in the place of a prefix needs the prefix.
fn redirects(path: &str, rule: &RuleSpec, found: &mut Vec<Problem>) {
    let by_prefix = |filter: &FilterSpec| {
        let redirect = filter
            .request_redirect
            .as_ref()
            .and_then(|r| r.path.as_ref());
        let rewrite = filter.url_rewrite.as_ref().and_then(|r| r.path.as_ref());
        redirect
            .or(rewrite)
            .is_some_and(|path| path.replace_prefix_match.is_some())
    };
    for (i, filter) in rule.filters.iter().enumerate() {
        let is_redirect = filter.kind == FilterType::RequestRedirect;
        if is_redirect && !rule.backend_refs.is_empty() {
            let reason = format!(
                "{path}.filters[{i}]: a redirect sends nothing on, so `backendRefs` has no meaning"
            );
            found.push(problem(
                Code::Meaningless,
                filter.at,
                reason,
                "take one of them out",
            ));
        }
        let prefix = match rule.matches.as_slice() {
            [] => true,
            [only] => matches::is_prefix(only),
            _ => false,
        };
        if by_prefix(filter) && !prefix {
            let reason = format!(
                "{path}.filters[{i}]: ReplacePrefixMatch needs a rule with exactly one match, whose path is a PathPrefix"
            );
            let instead = "write a rule for each prefix, or use ReplaceFullPath";
            found.push(problem(Code::BadRewrite, filter.at, reason, instead));
        }
    }
}

fn times(path: &str, rule: &RuleSpec, found: &mut Vec<Problem>) {
    let mut span = |name: &str, text: Option<&At<String>>| {
        let text = text?;
        let span = duration(text);
        if span.is_none() {
            let reason = format!("{path}.{name}: \"{}\" is no duration", text.escape_debug());
            let instead = match Span::meant(text) {
                Some(meant) => format!("write `{meant}`"),
                None => "write whole numbers with h, m, s or ms, as in `1m30s`".into(),
            };
            found.push(problem(Code::BadValue, text.at, reason, &instead));
        }
        Some((text.at, span?.millis()))
    };
    let none = Timeouts::default();
    let timeouts = rule.timeouts.as_ref().unwrap_or(&none);
    let whole = span("timeouts.request", timeouts.request.as_ref());
    let each = span("timeouts.backendRequest", timeouts.backend_request.as_ref());
    if let Some(retry) = &rule.retry {
        span("retry.backoff", retry.backoff.as_ref());
    }
    if let (Some((_, whole)), Some((at, each))) = (whole, each)
        && whole > 0
        && each > whole
    {
        let reason = format!("{path}.timeouts.backendRequest: it is longer than `request`");
        found.push(problem(
            Code::OutOfRange,
            at,
            reason,
            "a try cannot outlast the request: make it shorter",
        ));
    }
    let Some(retry) = &rule.retry else { return };
    for (i, code) in retry.codes.iter().enumerate() {
        if !(400..600).contains(&code.value) {
            let reason = format!(
                "{path}.retry.codes[{i}]: {} is not from 400 to 599",
                code.value
            );
            found.push(problem(Code::BadStatus, code.at, reason, ""));
        }
    }
    if let Some(attempts) = retry.attempts.as_ref().filter(|a| a.value > MAX_ATTEMPTS) {
        let reason = format!(
            "{path}.retry.attempts: {} is above {MAX_ATTEMPTS}",
            attempts.value
        );
        found.push(problem(Code::OutOfRange, attempts.at, reason, ""));
    }
}

fn persistence(path: &str, given: Option<&At<Ignored>>, found: &mut Vec<Problem>) {
    if let Some(given) = given {
        let reason = format!("{path}.sessionPersistence is not supported");
        let instead = "to keep a client at one backendRef, use the annotation heddle.io/sticky; at one pod, a \
                       DestinationRule with consistentHash";
        found.push(problem(Code::UnsupportedField, given.at, reason, instead));
    }
}
