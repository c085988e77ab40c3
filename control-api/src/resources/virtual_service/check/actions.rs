//! Mistakes in what a rule does besides routing: two answers at once, statuses that no proxy can
//! give, percentages out of range, headers that a route may not touch.

use crate::{
    check::Code,
    resources::{
        at::At,
        header::{is_authority, is_token},
        string_match::{MAX_REGEX_LEN, bad_regex},
        virtual_service::{
            Abort, CorsPolicy, Delay, Fault, HttpRoute, Percentage, Redirect, RedirectPort,
            RegexRewrite, Rewrite, problem, redirected_uri,
        },
    },
    source::{decode::Problem, node::Position, suggest},
};

/// Longest body of a direct response, in bytes: Istio's limit.
const MAX_BODY: usize = 1024 * 1024;
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

pub(super) fn problems(path: &str, at: Position, rule: &HttpRoute, found: &mut Vec<Problem>) {
    answers(path, at, rule, found);
    if let Some(to) = &rule.redirect {
        redirect(path, to, found);
    }
    if let Some(answer) = &rule.direct_response {
        let status = &answer.status;
        if !(200..600).contains(&status.value) {
            let reason = format!(
                "{path}.directResponse.status: {} is not from 200 to 599",
                status.value
            );
            found.push(problem(Code::BadStatus, status.at, reason, ""));
        }
        let body = answer.body.as_ref();
        let text = body.and_then(|body| Some((body.at, body.string.as_ref()?)));
        if let Some((at, text)) = text.filter(|(_, text)| text.len() > MAX_BODY) {
            let reason = format!(
                "{path}.directResponse.body: it has {} bytes; at most {MAX_BODY} are allowed",
                text.len()
            );
            found.push(problem(
                Code::TooLarge,
                at,
                reason,
                "let a service answer instead",
            ));
        }
    }
    if let Some(all) = &rule.fault {
        fault(path, all, found);
    }
    if let Some(to) = &rule.rewrite {
        rewrite(path, to, found);
    }
    mirrors(path, rule, found);
    if let Some(policy) = &rule.cors_policy {
        cors(path, policy, found);
    }
    if let Some(headers) = &rule.headers {
        headers.problems(&format!("{path}.headers"), found);
    }
    for (i, route) in rule.route.iter().enumerate() {
        if let Some(headers) = &route.headers {
            headers.problems(&format!("{path}.route[{i}].headers"), found);
        }
    }
}

pub(super) fn warnings(path: &str, rule: &HttpRoute, found: &mut Vec<Problem>) {
    let Some(fault) = &rule.fault else { return };
    let delay = fault
        .delay
        .as_ref()
        .filter(|delay| delay.percentage.is_none() && delay.percent.is_none());
    let abort = fault
        .abort
        .as_ref()
        .filter(|abort| abort.percentage.is_none());
    let parts = [
        ("delay", delay.map(|delay| delay.at)),
        ("abort", abort.map(|abort| abort.at)),
    ];
    for (name, at) in parts {
        if let Some(at) = at {
            let reason = format!("{path}.fault.{name}: it has no `percentage`, which means 0 %");
            let suggestion = "write `percentage: {value: 100}` for all of them";
            found.push(problem(Code::FaultOfNobody, at, reason, suggestion));
        }
    }
}

fn answers(path: &str, at: Position, rule: &HttpRoute, found: &mut Vec<Problem>) {
    let (which, at) = match (&rule.redirect, &rule.direct_response) {
        (Some(_), Some(_)) => {
            let reason = format!("{path}: only one of redirect and directResponse may be given");
            return found.push(problem(Code::Exclusive, at, reason, "take one of them out"));
        }
        (Some(redirect), None) => ("redirect", redirect.at),
        (None, Some(answer)) => ("directResponse", answer.at),
        (None, None) => return,
    };
    let beside = [
        ("route", !rule.route.is_empty()),
        ("rewrite", rule.rewrite.is_some()),
        ("mirror", rule.mirror.is_some()),
        ("mirrors", !rule.mirrors.is_empty()),
        ("retries", rule.retries.is_some()),
        ("timeout", rule.timeout.is_some()),
    ];
    for (name, _) in beside.into_iter().filter(|(_, given)| *given) {
        let reason = format!("{path}.{which}: nothing is sent on, so `{name}` has no meaning here");
        found.push(problem(
            Code::Meaningless,
            at,
            reason,
            &format!("take `{name}` out"),
        ));
    }
}

fn redirect(path: &str, to: &At<Redirect>, found: &mut Vec<Problem>) {
    let path = format!("{path}.redirect");
    if let Some(code) = to
        .redirect_code
        .as_ref()
        .filter(|code| !REDIRECTS.contains(code))
    {
        let reason = format!("{path}.redirectCode: {} is no redirect", code.value);
        found.push(problem(
            Code::BadStatus,
            code.at,
            reason,
            "use 301, 302, 303, 307 or 308",
        ));
    }
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
    if to.scheme.is_some() && to.derive_port == Some(RedirectPort::FromRequestPort) {
        let reason =
            format!("{path}.derivePort: FROM_REQUEST_PORT is not supported beside `scheme`");
        found.push(problem(
            Code::UnsupportedValue,
            to.at,
            reason,
            "write `port`",
        ));
    }
    if let Some(port) = &to.port {
        if port.value == 0 {
            found.push(problem(
                Code::BadPort,
                port.at,
                format!("{path}.port: 0 is no port"),
                "",
            ));
        } else if to.derive_port.is_some() {
            let reason = format!("{path}: only one of port and derivePort may be given");
            found.push(problem(
                Code::Exclusive,
                port.at,
                reason,
                "take one of them out",
            ));
        }
    }
    if let Some(uri) = to
        .uri
        .as_ref()
        .filter(|uri| !is_path(redirected_uri(uri).0))
    {
        let reason = format!("{path}.uri: \"{}\" is no path", uri.escape_debug());
        found.push(problem(Code::BadPath, uri.at, reason, "begin it with `/`"));
    }
    authority(&path, to.authority.as_ref(), found);
}

/// One that can stand in a request's first line, without a query.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= MAX_REGEX_LEN && path.chars().all(is_of_path)
}

fn is_of_path(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '`')
}

fn authority(path: &str, authority: Option<&At<String>>, found: &mut Vec<Problem>) {
    if let Some(authority) = authority.filter(|text| !is_authority(text)) {
        let reason = format!(
            "{path}.authority: \"{}\" is no host",
            authority.escape_debug()
        );
        found.push(problem(
            Code::BadAuthority,
            authority.at,
            reason,
            "write `HOST` or `HOST:PORT`",
        ));
    }
}

fn percentage(path: &str, percentage: Option<&At<Percentage>>, found: &mut Vec<Problem>) {
    let is_out = |p: &&At<Percentage>| !(0.0..=100.0).contains(&p.value.value);
    if let Some(percentage) = percentage.filter(is_out) {
        let value = percentage.value.value;
        let reason = format!("{path}.value: {value} is not from 0 to 100");
        found.push(problem(Code::BadPercentage, percentage.at, reason, ""));
    }
}

fn percent(path: &str, percent: Option<&At<u32>>, found: &mut Vec<Problem>) {
    if let Some(percent) = percent.filter(|percent| percent.value > 100) {
        let reason = format!("{path}: {} is not from 0 to 100", percent.value);
        found.push(problem(Code::BadPercentage, percent.at, reason, ""));
    }
}

fn fault(path: &str, all: &At<Fault>, found: &mut Vec<Problem>) {
    let path = format!("{path}.fault");
    if all.delay.is_none() && all.abort.is_none() {
        let reason = format!("{path}: it names neither delay nor abort");
        found.push(problem(Code::Empty, all.at, reason, "add one of them"));
    }
    if let Some(late) = &all.delay {
        delay(&format!("{path}.delay"), late, found);
    }
    if let Some(failed) = &all.abort {
        abort(&format!("{path}.abort"), failed, found);
    }
}

fn delay(path: &str, delay: &At<Delay>, found: &mut Vec<Problem>) {
    if delay.fixed_delay.millis() == 0 {
        let reason = format!("{path}.fixedDelay: it must be at least 1ms");
        found.push(problem(Code::TooShort, delay.fixed_delay.at, reason, ""));
    }
    let given = delay.percentage.as_ref();
    percentage(&format!("{path}.percentage"), given, found);
    percent(&format!("{path}.percent"), delay.percent.as_ref(), found);
}

fn abort(path: &str, abort: &At<Abort>, found: &mut Vec<Problem>) {
    match (&abort.http_status, &abort.grpc_status) {
        (Some(status), None) if !(200..600).contains(&status.value) => {
            let reason = format!("{path}.httpStatus: {} is not from 200 to 599", status.value);
            found.push(problem(Code::BadStatus, status.at, reason, ""));
        }
        (None, Some(status)) if abort.grpc_number().is_none() => {
            let reason = format!(
                "{path}.grpcStatus: unknown status `{}`",
                status.escape_debug()
            );
            let instead = suggest::sentence(status, &Abort::GRPC_NAMES);
            found.push(problem(Code::UnknownValue, status.at, reason, &instead));
        }
        (Some(_), Some(_)) | (None, None) => {
            let reason = format!("{path}: it needs exactly one of httpStatus and grpcStatus");
            found.push(problem(Code::Exclusive, abort.at, reason, ""));
        }
        _ => {}
    }
    let given = abort.percentage.as_ref();
    percentage(&format!("{path}.percentage"), given, found);
}

fn rewrite(path: &str, rewrite: &At<Rewrite>, found: &mut Vec<Problem>) {
    let path = format!("{path}.rewrite");
    if rewrite.uri.is_some() && rewrite.uri_regex_rewrite.is_some() {
        let reason = format!("{path}: only one of uri and uriRegexRewrite may be given");
        found.push(problem(
            Code::Exclusive,
            rewrite.at,
            reason,
            "take one of them out",
        ));
    }
    if let Some(uri) = rewrite.uri.as_ref().filter(|uri| !is_path(uri)) {
        let reason = format!("{path}.uri: \"{}\" is no path", uri.escape_debug());
        found.push(problem(Code::BadPath, uri.at, reason, "begin it with `/`"));
    }
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        regex_rewrite(&format!("{path}.uriRegexRewrite"), regex, found);
    }
    authority(&path, rewrite.authority.as_ref(), found);
}

fn regex_rewrite(path: &str, regex: &RegexRewrite, found: &mut Vec<Problem>) {
    let (pattern, to) = (&regex.pattern, &regex.rewrite);
    let groups = match bad_regex(pattern, pattern.len()) {
        Ok(groups) => groups,
        Err(reason) => {
            let reason = format!("{path}.match: {reason}");
            return found.push(problem(Code::BadMatcher, pattern.at, reason, ""));
        }
    };
    let mut chars = to.chars();
    let mut reason = None;
    while let Some(c) = chars.next() {
        match (c, (c == '\\').then(|| chars.next()).flatten()) {
            ('\\', Some('\\')) => {}
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).map_or(0, |digit| digit as usize);
                if group > groups {
                    reason = Some(format!("`\\{group}`: the regex has {groups} groups"));
                }
            }
            ('\\', _) => reason = Some("`\\` must be followed by a digit or by `\\`".to_owned()),
            (other, _) if !is_of_path(other) => {
                reason = Some(format!("`{}` cannot stand in a path", other.escape_debug()));
            }
            _ => {}
        }
    }
    if to.len() > MAX_REGEX_LEN {
        reason = Some(format!("it has more than {MAX_REGEX_LEN} bytes"));
    }
    if let Some(reason) = reason {
        let reason = format!("{path}.rewrite: {reason}");
        found.push(problem(
            Code::BadRewrite,
            to.at,
            reason,
            "`\\1` stands for the first group",
        ));
    }
}

fn mirrors(path: &str, rule: &HttpRoute, found: &mut Vec<Problem>) {
    if let Some(mirror) = rule.mirror.as_ref().filter(|_| !rule.mirrors.is_empty()) {
        let reason = format!("{path}: only one of mirror and mirrors may be given");
        found.push(problem(
            Code::Exclusive,
            mirror.at,
            reason,
            "write all of them under `mirrors`",
        ));
    }
    let all = rule.mirror_percentage.as_ref();
    percentage(&format!("{path}.mirrorPercentage"), all, found);
    percent(
        &format!("{path}.mirrorPercent"),
        rule.mirror_percent.as_ref(),
        found,
    );
    let alone = [
        ("mirrorPercentage", all.map(|p| p.at)),
        ("mirrorPercent", rule.mirror_percent.as_ref().map(|p| p.at)),
    ];
    for (name, at) in alone {
        if let Some(at) = at.filter(|_| rule.mirror.is_none()) {
            let reason = format!("{path}.{name}: there is no `mirror` beside it");
            let instead = "in `mirrors`, each has its `percentage`";
            found.push(problem(Code::Meaningless, at, reason, instead));
        }
    }
    for (i, mirror) in rule.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{i}].percentage");
        percentage(&path, mirror.percentage.as_ref(), found);
    }
}

fn cors(path: &str, policy: &At<CorsPolicy>, found: &mut Vec<Problem>) {
    let path = format!("{path}.corsPolicy");
    if !policy.allow_origin.is_empty() && !policy.allow_origins.is_empty() {
        let reason = format!("{path}: only one of allowOrigin and allowOrigins may be given");
        found.push(problem(
            Code::Exclusive,
            policy.at,
            reason,
            "write all of them under `allowOrigins`",
        ));
    }
    for (i, origin) in policy.allow_origins.iter().enumerate() {
        let path = format!("{path}.allowOrigins[{i}]");
        super::matcher_problem(&path, origin, found);
    }
    let lists = [
        ("allowMethods", &policy.allow_methods),
        ("allowHeaders", &policy.allow_headers),
        ("exposeHeaders", &policy.expose_headers),
    ];
    for (name, list) in lists {
        for (i, item) in list.iter().enumerate().filter(|(_, item)| !is_token(item)) {
            let reason = format!("{path}.{name}[{i}]: \"{}\" is no name", item.escape_debug());
            found.push(problem(Code::BadHeaderName, item.at, reason, ""));
        }
    }
}
