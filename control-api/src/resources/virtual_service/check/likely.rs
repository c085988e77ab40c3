//! What a rule hardly means: headers that belong to a connection, copies to where the request goes,
//! redirects in a circle, retries that may do twice what was done, timeouts that leave no room.

use crate::{
    check::Code,
    resources::{
        at::At,
        string_match::{Meaning, StringMatch},
        virtual_service::{Destination, HttpMatch, HttpRoute, Retries, problem, redirected_uri},
    },
    source::decode::Problem,
};

/// Headers of a connection. `te` is not: `te: trailers` is sent end to end.
const OF_CONNECTIONS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Methods that may be repeated (RFC 9110, 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// Conditions of retries that say nothing of whether the request was handled.
const UNSAFE: [&str; 9] = [
    "5xx",
    "gateway-error",
    "reset",
    "deadline-exceeded",
    "internal",
    "unknown",
    "500",
    "502",
    "504",
];

/// `earlier`: the rules before it.
pub(super) fn warnings(
    path: &str,
    rule: &HttpRoute,
    earlier: &[At<HttpRoute>],
    found: &mut Vec<Problem>,
) {
    for (i, one) in rule.matches.iter().enumerate() {
        headers(&format!("{path}.match[{i}]"), one, found);
    }
    mirrors(path, rule, found);
    redirect(path, rule, earlier, found);
    if let Some(retries) = rule.retries.as_ref().filter(|r| r.attempts.value > 0) {
        unsafe_retries(path, rule, retries, found);
        tries(path, rule, retries, found);
    }
}

fn headers(path: &str, one: &HttpMatch, found: &mut Vec<Problem>) {
    for (field, map) in [
        ("headers", &one.headers),
        ("withoutHeaders", &one.without_headers),
    ] {
        for (name, matcher) in map {
            if OF_CONNECTIONS.contains(&&*name.to_ascii_lowercase()) {
                let at = matcher.as_ref().map(|m| m.at).unwrap_or_default();
                let reason = format!(
                    "{path}.{field}[\"{}\"]: it is a header of a connection",
                    name.escape_debug()
                );
                found.push(problem(
                    Code::UnseenHeader,
                    at,
                    reason,
                    "match a header of the request",
                ));
            }
        }
    }
}

fn mirrors(path: &str, rule: &HttpRoute, found: &mut Vec<Problem>) {
    let single = rule
        .mirror
        .iter()
        .map(|mirror| (format!("{path}.mirror"), &mirror.value));
    let several = rule.mirrors.iter().enumerate();
    let several =
        several.map(|(i, m)| (format!("{path}.mirrors[{i}].destination"), &m.destination));
    for (path, copy) in single.chain(several) {
        let same = |to: &Destination| {
            let port = |to: &Destination| to.port.as_ref().map(|port| port.number.value);
            let subset = |to: &Destination| to.subset.as_ref().map(|subset| subset.value.clone());
            to.host.eq_ignore_ascii_case(&copy.host)
                && subset(to) == subset(copy)
                && port(to) == port(copy)
        };
        let weighs = |i: usize| {
            rule.route.len() == 1 || rule.route[i].weight.as_ref().is_some_and(|w| w.value > 0)
        };
        let mut sent = rule.route.iter().enumerate().filter(|(i, _)| weighs(*i));
        if sent.any(|(_, to)| same(&to.destination)) {
            let reason = format!("{path}: requests go to the same place already");
            let instead = "copy to another subset or service";
            found.push(problem(Code::SelfMirror, copy.host.at, reason, instead));
        }
    }
}

/// A redirect to another path of the same host that the same rule takes again.
fn redirect(path: &str, rule: &HttpRoute, earlier: &[At<HttpRoute>], found: &mut Vec<Problem>) {
    let Some(to) = &rule.redirect else { return };
    let stays = to.authority.is_none()
        && to.port.is_none()
        && to.derive_port.is_none()
        && to.scheme.is_none();
    if !stays {
        return;
    }
    let uri = to.uri.as_ref().map(|uri| (uri.at, redirected_uri(uri)));
    let takes = |one: &HttpMatch, uri: &str| {
        let Some(wanted) = &one.uri else { return true };
        let fold = |text: &str| match one.ignore_uri_case {
            true => text.to_ascii_lowercase(),
            false => text.to_owned(),
        };
        match wanted.meaning() {
            Meaning::Present => true,
            Meaning::Exact(text) => fold(uri) == fold(text),
            Meaning::Prefix(text) => fold(uri).starts_with(&fold(text)),
            Meaning::Regex(_) => false,
        }
    };
    // An earlier rule may take what this one leads to.
    let may_take = |rule: &HttpRoute, uri: &str| {
        let is_regex = |one: &HttpMatch| {
            let meaning = one.uri.as_deref().map(StringMatch::meaning);
            matches!(meaning, Some(Meaning::Regex(_)))
        };
        let one = |one: &HttpMatch| is_regex(one) || takes(one, uri);
        rule.matches.is_empty() || rule.matches.iter().any(one)
    };
    let circle = match uri {
        None => Some((
            to.at,
            "it leads to the same path of the same host".to_owned(),
        )),
        Some((_, (_, true))) => None,
        Some((at, (uri, false))) => {
            let again = rule.matches.is_empty() || rule.matches.iter().all(|one| takes(one, uri));
            let passed = || earlier.iter().any(|rule| may_take(rule, uri));
            let reason = format!(
                "this rule takes \"{}\" too and redirects it again",
                uri.escape_debug()
            );
            (again && !passed()).then_some((at, reason))
        }
    };
    if let Some((at, reason)) = circle {
        let instead = "match without the path that it leads to, or put a rule for that path first";
        found.push(problem(
            Code::RedirectLoop,
            at,
            format!("{path}.redirect: {reason}"),
            instead,
        ));
    }
}

fn unsafe_retries(path: &str, rule: &HttpRoute, retries: &Retries, found: &mut Vec<Problem>) {
    let Some(retry_on) = &retries.retry_on else {
        return;
    };
    let conditions: Vec<&str> = retry_on
        .split(',')
        .map(str::trim)
        .filter(|c| UNSAFE.contains(c))
        .collect();
    let is_idempotent = |one: &HttpMatch| {
        let meaning = one.method.as_deref().map(StringMatch::meaning);
        matches!(meaning, Some(Meaning::Exact(method)) if IDEMPOTENT.contains(&method))
    };
    let all_are = !rule.matches.is_empty() && rule.matches.iter().all(is_idempotent);
    if conditions.is_empty() || all_are {
        return;
    }
    let reason = format!(
        "{path}.retries.retryOn: `{}` repeats requests that may have been handled, and this rule takes POST too",
        conditions.join(",")
    );
    let instead = "leave `retryOn` out (only what was not handled is repeated), or match `method: {exact: GET}`";
    found.push(problem(Code::UnsafeRetry, retry_on.at, reason, instead));
}

fn tries(path: &str, rule: &HttpRoute, retries: &Retries, found: &mut Vec<Problem>) {
    let timeout = rule
        .timeout
        .map(|span| span.millis())
        .filter(|millis| *millis > 0);
    let each = retries
        .per_try_timeout
        .map(|span| span.millis())
        .filter(|millis| *millis > 0);
    let (Some(timeout), Some(each)) = (timeout, each) else {
        return;
    };
    let at = retries.attempts.at;
    if each >= timeout {
        let reason = format!(
            "{path}.retries.perTryTimeout: {each}ms is not below the rule's timeout of {timeout}ms"
        );
        found.push(problem(
            Code::LateRetry,
            at,
            reason,
            "make `timeout` longer, or `perTryTimeout` shorter",
        ));
        return;
    }
    let pauses = retries.backoff.as_ref().map_or(25, |span| span.millis());
    let most = each.saturating_mul(u64::from(retries.attempts.value) + 1);
    let most = most.saturating_add(pauses.saturating_mul(retries.attempts.value.into()));
    if most > timeout {
        let reason = format!(
            "{path}.retries: {} tries of {each}ms and the pauses between take up to {most}ms, the timeout is {timeout}ms",
            u64::from(retries.attempts.value) + 1
        );
        found.push(problem(
            Code::TightTimeout,
            at,
            reason,
            &format!("write `timeout: {most}ms`, or fewer attempts"),
        ));
    }
}
