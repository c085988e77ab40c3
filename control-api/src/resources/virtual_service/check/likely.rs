//! What a rule hardly means: headers that belong to a connection, copies to where the request goes,
//! retries that may do twice what was done, timeouts that leave no room.

use crate::{
    check::{
        Code,
        likely::{Tries, is_idempotent, is_unsafe, unseen_header, unsent_header},
    },
    resources::{
        header::Headers,
        string_match::Meaning,
        virtual_service::{Destination, HttpMatch, HttpRoute, Retries, problem},
    },
    source::decode::Problem,
};

pub(super) fn warnings(path: &str, rule: &HttpRoute, found: &mut Vec<Problem>) {
    for (i, one) in rule.matches.iter().enumerate() {
        headers(&format!("{path}.match[{i}]"), one, found);
    }
    changes(path, rule, found);
    mirrors(path, rule, found);
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
            let exact = match matcher.as_deref().map(|matcher| matcher.meaning()) {
                Some(Meaning::Exact(value)) => Some(value),
                _ => None,
            };
            if let Some(said) = unseen_header(name, exact) {
                let at = matcher.as_ref().map(|m| m.at).unwrap_or_default();
                let path = format!("{path}.{field}[\"{}\"]", name.escape_debug());
                found.push(said.at(&path, at));
            }
        }
    }
}

/// Headers that are given to requests and never arrive.
fn changes(path: &str, rule: &HttpRoute, found: &mut Vec<Problem>) {
    let of_rule = rule.headers.iter().map(|all| (path.to_owned(), all));
    let of_routes = rule.route.iter().enumerate();
    let of_routes =
        of_routes.filter_map(|(i, to)| Some((format!("{path}.route[{i}]"), to.headers.as_ref()?)));
    for (path, all) in of_rule.chain(of_routes) {
        let Headers { request, .. } = &all.value;
        for (how, list) in [("set", &request.set), ("add", &request.add)] {
            for (name, value) in list {
                if let Some(said) = unsent_header(name) {
                    let name = name.escape_debug();
                    let path = format!("{path}.headers.request.{how}[\"{name}\"]");
                    found.push(said.at(&path, value.at));
                }
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

fn unsafe_retries(path: &str, rule: &HttpRoute, retries: &Retries, found: &mut Vec<Problem>) {
    let Some(retry_on) = &retries.retry_on else {
        return;
    };
    let conditions: Vec<&str> = retry_on
        .split(',')
        .map(str::trim)
        .filter(|c| is_unsafe(c))
        .collect();
    let is_idempotent = |one: &HttpMatch| {
        let meaning = one.method.as_deref().map(|method| method.meaning());
        matches!(meaning, Some(Meaning::Exact(method)) if is_idempotent(method))
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
    let tries = Tries {
        attempts: retries.attempts.value,
        each,
        whole: timeout,
        pause: retries.backoff.as_ref().map_or(25, |span| span.millis()),
    };
    if let Some(said) = tries.judge("perTryTimeout", "timeout") {
        found.push(said.at(&format!("{path}.retries"), retries.attempts.at));
    }
}
