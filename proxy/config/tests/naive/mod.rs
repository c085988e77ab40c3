//! The reference: reads the wire's messages and walks every rule, in the plainest way there is.

use heddle_proto::mesh::{
    Destination, HttpMatch, HttpRule, NamedMatch, PathRewrite, Rewrite, RouteTable, StringMatch,
    http_rule, path_rewrite, string_match,
};
use heddle_proxy_config::decision::{Asked, Decision, Outcome};

/// What of a decision matters to a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decided {
    rule: Option<String>,
    status: Option<u16>,
    location: Option<String>,
    shares: Vec<Share>,
    delay: bool,
    abort: bool,
    mirrors: Vec<(String, f64)>,
    timeout_ms: Option<u64>,
    attempts: Option<u32>,
    forwarded: bool,
}

#[derive(Debug, PartialEq)]
struct Share {
    service: String,
    subset: String,
    percent: f64,
    path: String,
    authority: String,
    invalid: bool,
    set: usize,
}

impl Decided {
    pub(crate) fn of(told: &Decision) -> Self {
        let shares = told.destinations.iter();
        let fault = told.fault.clone().unwrap_or_default();
        Self {
            rule: told.rule.as_ref().map(|rule| rule.text.clone()),
            status: told.status,
            location: told.location.clone(),
            shares: shares
                .map(|share| Share {
                    service: share.service.clone().unwrap_or_default(),
                    subset: share.subset.clone().unwrap_or_default(),
                    percent: (share.percent * 1e6).round(),
                    path: share.path.clone().unwrap_or_default(),
                    authority: share.authority.clone().unwrap_or_default(),
                    invalid: share.invalid.is_some(),
                    set: share.request_headers.set.len(),
                })
                .collect(),
            delay: fault.delay_ms.is_some(),
            abort: fault.abort_status.is_some(),
            mirrors: (told.mirrors.iter())
                .map(|copy| (copy.service.clone(), copy.percent))
                .collect(),
            timeout_ms: told.timeout_ms,
            attempts: told.retries.as_ref().map(|retries| retries.attempts),
            forwarded: told.outcome == Outcome::Forwarded,
        }
    }
}

pub(crate) fn decide(table: &RouteTable, asked: &Asked) -> Decided {
    if table.http.is_empty() {
        return Decided {
            forwarded: true,
            attempts: Some(2),
            shares: vec![whole(1_000_000.0)],
            ..Decided::default()
        };
    }
    let Some(rule) = table.http.iter().find(|rule| takes(rule, asked)) else {
        return Decided {
            status: Some(404),
            ..Decided::default()
        };
    };
    let fault = rule.fault.unwrap_or_default();
    let mut decided = Decided {
        rule: Some(rule.origin.clone()),
        delay: fault.delay.is_some(),
        abort: fault.abort.is_some(),
        timeout_ms: rule.timeout.map(|timeout| timeout.millis),
        ..Decided::default()
    };
    match &rule.answer {
        Some(http_rule::Answer::DirectResponse(direct)) => {
            decided.status = Some(direct.status as u16);
            return decided;
        }
        Some(http_rule::Answer::Redirect(redirect)) => {
            decided.status = Some(redirect.status as u16);
            let scheme = match redirect.scheme.as_str() {
                "" => "http",
                scheme => scheme,
            };
            // Port 80 is http's own, and goes where the scheme is given.
            let came = asked.authority.trim_end_matches(":80");
            let host = match redirect.authority.as_str() {
                "" => came,
                host => host,
            };
            let path = match &redirect.path {
                Some(path) => rewritten(path, &asked.path),
                None => asked.path.clone(),
            };
            decided.location = Some(format!("{scheme}://{host}{path}"));
            return decided;
        }
        None => {}
    }
    decided.forwarded = true;
    let attempts = rule.retries.as_ref().map_or(2, |retries| retries.attempts);
    decided.attempts = Some(attempts);
    for mirror in &rule.mirrors {
        let to = mirror.destination.clone().unwrap_or_default();
        let percent = f64::from(mirror.ppm) / 10_000.0;
        decided.mirrors.push((to.service, percent));
    }
    let total: u32 = rule.destinations.iter().map(|to| to.weight).sum();
    for to in &rule.destinations {
        let percent = match rule.destinations.len() {
            1 => 100.0,
            _ => 100.0 * f64::from(to.weight) / f64::from(total),
        };
        decided.shares.push(share(rule, to, percent, asked));
    }
    decided
}

fn whole(percent: f64) -> Share {
    Share {
        service: "default/web".into(),
        subset: String::new(),
        percent: percent * 100.0,
        path: String::new(),
        authority: String::new(),
        invalid: false,
        set: 0,
    }
}

fn share(rule: &HttpRule, to: &Destination, percent: f64, asked: &Asked) -> Share {
    let mut path = asked.path.clone();
    let mut authority = String::new();
    let both: [&Option<Rewrite>; 2] = [&rule.rewrite, &to.rewrite];
    for rewrite in both.into_iter().flatten() {
        if let Some(kind) = &rewrite.path {
            path = rewritten(kind, &path);
        }
        if !rewrite.authority.is_empty() {
            authority.clone_from(&rewrite.authority);
        }
    }
    let request = rule.headers.as_ref().and_then(|h| h.request.as_ref());
    Share {
        service: to.service.clone(),
        subset: to.subset.clone(),
        percent: (percent * 1e6).round(),
        path: if path == asked.path {
            String::new()
        } else {
            path
        },
        authority,
        invalid: !to.invalid.is_empty(),
        set: request.map_or(0, |request| request.set.len()),
    }
}

fn rewritten(rewrite: &PathRewrite, whole: &str) -> String {
    let (path, query) = match whole.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (whole, String::new()),
    };
    let made = match rewrite.kind.as_ref().unwrap() {
        path_rewrite::Kind::Full(full) => full.clone(),
        path_rewrite::Kind::Regex(_) => unreachable!("none is made"),
        path_rewrite::Kind::Prefix(prefix) => {
            let from = match prefix.segments {
                true => prefix.prefix.trim_end_matches('/'),
                false => &prefix.prefix,
            };
            let lower = (path.to_ascii_lowercase(), from.to_ascii_lowercase());
            let Some(rest) = lower.0.strip_prefix(&lower.1).map(|_| &path[from.len()..]) else {
                return whole.to_owned();
            };
            if prefix.segments && !rest.is_empty() && !rest.starts_with('/') {
                return whole.to_owned();
            }
            // Two slashes in a row are never meant where a whole segment was replaced.
            let joined = match (prefix.replacement.strip_suffix('/'), rest) {
                (Some(short), rest) if prefix.segments || rest.starts_with('/') => {
                    format!("{short}{rest}")
                }
                _ => format!("{}{rest}", prefix.replacement),
            };
            match joined.starts_with('/') {
                true => joined,
                false => format!("/{joined}"),
            }
        }
    };
    made + &query
}

fn takes(rule: &HttpRule, asked: &Asked) -> bool {
    rule.matches.is_empty() || rule.matches.iter().any(|one| holds(one, asked))
}

fn holds(one: &HttpMatch, asked: &Asked) -> bool {
    let (path, query) = match asked.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.path.as_str(), None),
    };
    let fold = |text: &str| match one.ignore_path_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let path_holds = match (&one.path, one.path_segments.as_str()) {
        (_, wanted) if !wanted.is_empty() => {
            let (path, wanted) = (fold(path), fold(wanted.trim_end_matches('/')));
            path == wanted || path.starts_with(&format!("{wanted}/"))
        }
        (Some(wanted), _) => text_holds(wanted, Some(path), one.ignore_path_case),
        (None, _) => true,
    };
    let header = |wanted: &NamedMatch| {
        let name = wanted.name.to_ascii_lowercase();
        let value = match name.as_str() {
            ":authority" => Some(asked.authority.clone()),
            ":method" => Some(asked.method.clone()),
            _ => {
                let values = asked.headers.iter().filter(|(n, _)| *n == name);
                let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
                (!values.is_empty()).then(|| values.join(","))
            }
        };
        text_holds(wanted.value.as_ref().unwrap(), value.as_deref(), false)
    };
    let parameter = |wanted: &NamedMatch| {
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let value = pairs.find(|(name, _)| *name == wanted.name);
        let value = value.map(|(_, value)| value);
        text_holds(wanted.value.as_ref().unwrap(), value, false)
    };
    let own = |wanted: &Option<StringMatch>, value: &str| {
        (wanted.as_ref()).is_none_or(|wanted| text_holds(wanted, Some(value), false))
    };
    path_holds
        && own(&one.method, &asked.method)
        && own(&one.authority, &asked.authority)
        && (one.port == 0 || one.port == u32::from(asked.port))
        && one.headers.iter().all(header)
        && !one.without_headers.iter().any(header)
        && one.query.iter().all(parameter)
}

/// Whether a value is as wanted; regexes by the few texts that they are made of.
fn text_holds(wanted: &StringMatch, value: Option<&str>, ignore_case: bool) -> bool {
    let Some(value) = value else { return false };
    let fold = |text: &str| match ignore_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    match wanted.kind.as_ref().unwrap() {
        string_match::Kind::Exact(text) => fold(value) == fold(text),
        string_match::Kind::Prefix(text) => fold(value).starts_with(&fold(text)),
        string_match::Kind::Present(_) => true,
        string_match::Kind::Regex(text) => match text.as_str() {
            ".*" => true,
            "x.*" => value.starts_with('x'),
            "/a.*" => value.starts_with("/a"),
            "/(a|b)" => value == "/a" || value == "/b",
            "GET|PUT" => value == "GET" || value == "PUT",
            other => unreachable!("{other} is none of the patterns"),
        },
    }
}
