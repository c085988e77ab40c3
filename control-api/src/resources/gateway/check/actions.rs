//! Mistakes in filters: a type without its field, a field of another type, the same twice, headers
//! that no route may touch, statuses and hosts that are none.

use super::super::{
    STATUSES,
    filters::{
        Cors, FilterSpec, FilterType, GrpcFilterSpec, HeaderModifier, MirrorSpec, PathModifier,
        PathModifierType, Redirect, Rewrite,
    },
    problem,
};
use crate::{
    check::Code,
    resources::{
        at::At,
        header::{bad_name, is_token},
        virtual_service::bad_host,
    },
    source::{decode::Problem, node::Position},
};

pub(super) fn grpc_filters(path: &str, all: &[At<GrpcFilterSpec>], found: &mut Vec<Problem>) {
    let widened: Vec<(Position, FilterSpec)> = all
        .iter()
        .map(|filter| (filter.at, filter.value.clone().widen()))
        .collect();
    let all = widened.iter().map(|(at, filter)| (*at, filter));
    filters(path, all, found);
}

pub(super) fn filters<'a>(
    path: &str,
    all: impl Iterator<Item = (Position, &'a FilterSpec)>,
    found: &mut Vec<Problem>,
) {
    let mut seen: Vec<FilterType> = Vec::new();
    for (i, (at, filter)) in all.enumerate() {
        let path = format!("{path}.filters[{i}]");
        let may_repeat = matches!(
            filter.kind,
            FilterType::RequestMirror | FilterType::ExtensionRef
        );
        if seen.contains(&filter.kind) && !may_repeat {
            let reason = format!("{path}: a filter of this type is there already");
            found.push(problem(Code::Repeated, at, reason, "write both as one"));
        }
        seen.push(filter.kind);
        fields(&path, at, filter, found);
        if let Some(headers) = &filter.request_header_modifier {
            modifier(&format!("{path}.requestHeaderModifier"), headers, found);
        }
        if let Some(headers) = &filter.response_header_modifier {
            modifier(&format!("{path}.responseHeaderModifier"), headers, found);
        }
        if let Some(to) = &filter.request_mirror {
            mirror(&format!("{path}.requestMirror"), to, found);
        }
        if let Some(to) = &filter.request_redirect {
            redirect(&format!("{path}.requestRedirect"), to, found);
        }
        if let Some(to) = &filter.url_rewrite {
            rewrite(&format!("{path}.urlRewrite"), to, found);
        }
        if let Some(policy) = &filter.cors {
            cors(&format!("{path}.cors"), policy, found);
        }
    }
}

/// The field that the type names, and no other.
fn fields(path: &str, at: Position, filter: &FilterSpec, found: &mut Vec<Problem>) {
    use FilterType as T;
    let given = [
        (
            T::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            T::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (
            T::RequestMirror,
            "requestMirror",
            filter.request_mirror.is_some(),
        ),
        (
            T::RequestRedirect,
            "requestRedirect",
            filter.request_redirect.is_some(),
        ),
        (T::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (T::Cors, "cors", filter.cors.is_some()),
        (
            T::ExternalAuth,
            "externalAuth",
            filter.external_auth.is_some(),
        ),
        (
            T::ExtensionRef,
            "extensionRef",
            filter.extension_ref.is_some(),
        ),
    ];
    for (kind, field, given) in given {
        if kind == filter.kind && !given {
            let reason = format!("{path}: its type needs the field `{field}`");
            found.push(problem(
                Code::MissingField,
                at,
                reason,
                &format!("add `{field}:`"),
            ));
        } else if kind != filter.kind && given {
            let reason = format!("{path}.{field}: it is of another type than the filter");
            found.push(problem(
                Code::Meaningless,
                at,
                reason,
                "take it out, or change `type`",
            ));
        }
    }
}

fn modifier(path: &str, headers: &HeaderModifier, found: &mut Vec<Problem>) {
    for (how, list) in [("set", &headers.set), ("add", &headers.add)] {
        for (i, header) in list.iter().enumerate() {
            let path = format!("{path}.{how}[{i}]");
            found.extend(bad_name(&path, header.name.at, &header.name));
            let value = &header.value;
            let fits = |b: u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\t');
            if !value.bytes().all(fits) {
                let reason = format!("{path}.value: it has characters that are not visible ASCII");
                found.push(problem(Code::BadHeaderValue, value.at, reason, ""));
            }
        }
    }
    for (i, name) in headers.remove.iter().enumerate() {
        found.extend(bad_name(&format!("{path}.remove[{i}]"), name.at, name));
    }
}

fn mirror(path: &str, to: &At<MirrorSpec>, found: &mut Vec<Problem>) {
    let backend = &to.backend_ref;
    let is_service = super::is_service(backend.group.as_deref(), backend.kind.as_deref());
    let at = format!("{path}.backendRef");
    super::port(&at, backend.at, is_service, backend.port.as_ref(), found);
    if let Some(percent) = to.percent.as_ref().filter(|percent| percent.value > 100) {
        let reason = format!("{path}.percent: {} is not from 0 to 100", percent.value);
        found.push(problem(Code::BadPercentage, percent.at, reason, ""));
    }
    if let Some(fraction) = &to.fraction {
        if to.percent.is_some() {
            let reason = format!("{path}: only one of percent and fraction may be given");
            found.push(problem(
                Code::Exclusive,
                fraction.at,
                reason,
                "take one of them out",
            ));
        }
        if fraction.denominator() == 0 || fraction.numerator > fraction.denominator() {
            let reason = format!("{path}.fraction: it is not from 0 to 1");
            let instead = "the numerator is at most the denominator, which is 100 when absent";
            found.push(problem(Code::BadPercentage, fraction.at, reason, instead));
        }
    }
}

fn redirect(path: &str, to: &At<Redirect>, found: &mut Vec<Problem>) {
    let scheme = to.scheme.as_ref();
    if let Some(scheme) = scheme.filter(|s| !matches!(s.as_str(), "http" | "https")) {
        let reason = format!("{path}.scheme: \"{}\"", scheme.escape_debug());
        found.push(problem(
            Code::UnknownValue,
            scheme.at,
            reason,
            "use `http` or `https`",
        ));
    }
    let code = to.status_code.as_ref();
    if let Some(code) = code.filter(|code| !STATUSES.contains(&code.value)) {
        let reason = format!("{path}.statusCode: {} is no redirect", code.value);
        found.push(problem(
            Code::BadStatus,
            code.at,
            reason,
            "use 301, 302, 303, 307 or 308",
        ));
    }
    if let Some(port) = to.port.as_ref().filter(|port| port.value == 0) {
        found.push(problem(
            Code::BadPort,
            port.at,
            format!("{path}.port: 0 is no port"),
            "",
        ));
    }
    hostname(path, to.hostname.as_ref(), found);
    path_modifier(path, to.path.as_ref(), found);
}

fn rewrite(path: &str, to: &At<Rewrite>, found: &mut Vec<Problem>) {
    hostname(path, to.hostname.as_ref(), found);
    path_modifier(path, to.path.as_ref(), found);
}

fn hostname(path: &str, host: Option<&At<String>>, found: &mut Vec<Problem>) {
    if let Some(host) = host
        && let Some(reason) = bad_host(host, false)
    {
        let reason = format!("{path}.hostname: {reason}");
        found.push(problem(
            Code::BadHost,
            host.at,
            reason,
            "write a name without port",
        ));
    }
}

fn path_modifier(path: &str, to: Option<&At<PathModifier>>, found: &mut Vec<Problem>) {
    let Some(to) = to else { return };
    let (full, prefix) = (&to.replace_full_path, &to.replace_prefix_match);
    let (named, wanted, other) = match to.kind {
        PathModifierType::ReplaceFullPath => ("replaceFullPath", full, prefix),
        PathModifierType::ReplacePrefixMatch => ("replacePrefixMatch", prefix, full),
    };
    let Some(value) = wanted else {
        let reason = format!("{path}.path: its type needs the field `{named}`");
        return found.push(problem(
            Code::MissingField,
            to.at,
            reason,
            &format!("add `{named}:`"),
        ));
    };
    if let Some(other) = other {
        let reason = format!("{path}.path: only one of its two fields may be given");
        found.push(problem(
            Code::Exclusive,
            other.at,
            reason,
            "take it out, or change `type`",
        ));
    }
    let fits = |b: u8| b.is_ascii_graphic() && !b"?#\"<>`".contains(&b);
    if !value.bytes().all(fits) || value.len() > 1024 {
        let reason = format!(
            "{path}.path.{named}: \"{}\" is no path",
            value.escape_debug()
        );
        found.push(problem(Code::BadPath, value.at, reason, ""));
    }
}

fn cors(path: &str, policy: &At<Cors>, found: &mut Vec<Problem>) {
    for (i, origin) in policy.allow_origins.iter().enumerate() {
        let host = origin.split_once("://").map(|(_, host)| host);
        let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
        let good =
            origin.as_str() == "*" || name.is_some_and(|name| bad_host(name, true).is_none());
        if !good {
            let reason = format!(
                "{path}.allowOrigins[{i}]: \"{}\" is no origin",
                origin.escape_debug()
            );
            let instead = "write a scheme and a host, as in `https://*.example.com`, or `*`";
            found.push(problem(Code::BadValue, origin.at, reason, instead));
        }
    }
    for (i, method) in policy.allow_methods.iter().enumerate() {
        if !Cors::is_method(method) {
            let reason = format!(
                "{path}.allowMethods[{i}]: \"{}\" is no method",
                method.escape_debug()
            );
            found.push(problem(
                Code::UnknownValue,
                method.at,
                reason,
                "write it in capitals, or `*`",
            ));
        }
    }
    let lists = [
        ("allowHeaders", &policy.allow_headers),
        ("exposeHeaders", &policy.expose_headers),
    ];
    for (name, list) in lists {
        for (i, item) in list.iter().enumerate().filter(|(_, item)| !is_token(item)) {
            let reason = format!("{path}.{name}[{i}]: \"{}\" is no name", item.escape_debug());
            found.push(problem(Code::BadHeaderName, item.at, reason, ""));
        }
    }
    if let Some(age) = policy.max_age.as_ref().filter(|age| age.value == 0) {
        let reason = format!("{path}.maxAge: it must be at least 1");
        found.push(problem(Code::OutOfRange, age.at, reason, ""));
    }
}
