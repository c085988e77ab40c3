//! Route tables: matches are parsed and patterns compiled here.

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::mesh;

use super::{Problem, Refusal, each, object_name, optional_port};
use crate::route::{Field, FieldMatch, HttpMatch, HttpTable, QueryMatch, StringMatch};
use crate::snapshot::{Destination, HttpRule, RetryPolicy, RouteTable, TcpRule};

/// Longest duration that is taken, in milliseconds: ten years. Longer ones overflow clocks.
const LONGEST_MILLIS: u64 = 10 * 366 * 24 * 3600 * 1000;

pub(super) fn table(table: mesh::RouteTable) -> Result<RouteTable, Refusal> {
    let http = each(table.http, "http", http_rule)?;
    Ok(RouteTable {
        http: HttpTable::new(http).map_err(|error| Refusal::from(error).within("http"))?,
        tcp: each(table.tcp, "tcp", tcp_rule)?,
    })
}

fn http_rule(rule: mesh::HttpRule) -> Result<(Vec<HttpMatch>, HttpRule), Refusal> {
    let matches = each(rule.matches, "matches", http_match)?;
    let compiled = HttpRule {
        origin: Arc::from(rule.origin),
        destinations: destinations(rule.destinations)?,
        timeout: duration(rule.timeout).map_err(|refusal| refusal.within("timeout"))?,
        retries: rule
            .retries
            .map(retries)
            .transpose()
            .map_err(|refusal| refusal.within("retries"))?,
    };
    Ok((matches, compiled))
}

fn tcp_rule(rule: mesh::TcpRule) -> Result<TcpRule, Refusal> {
    Ok(TcpRule {
        origin: Arc::from(rule.origin),
        port: optional_port(rule.port).map_err(|refusal| refusal.within("port"))?,
        destinations: destinations(rule.destinations)?,
    })
}

fn destinations(list: Vec<mesh::Destination>) -> Result<Vec<Destination>, Refusal> {
    let problem = match list.as_slice() {
        [] => Some(Problem::Empty),
        [_] => None, // one destination ignores its weight
        several => several
            .iter()
            .all(|destination| destination.weight == 0)
            .then_some(Problem::NoWeight),
    };
    if let Some(problem) = problem {
        return Err(Refusal::from(problem).within("destinations"));
    }
    each(list, "destinations", |destination| {
        Ok(Destination {
            service: object_name(&destination.service)
                .map_err(|refusal| refusal.within("service"))?,
            subset: (!destination.subset.is_empty()).then(|| Arc::from(destination.subset)),
            port: optional_port(destination.port).map_err(|refusal| refusal.within("port"))?,
            weight: destination.weight,
        })
    })
}

fn retries(policy: mesh::RetryPolicy) -> Result<RetryPolicy, Refusal> {
    Ok(RetryPolicy {
        attempts: policy.attempts,
        per_try_timeout: duration(policy.per_try_timeout)
            .map_err(|refusal| refusal.within("per_try_timeout"))?,
        retry_on: policy.retry_on.into_iter().map(Arc::from).collect(),
    })
}

/// 0 is no bound, as in a VirtualService.
pub(super) fn duration(millis: Option<mesh::Millis>) -> Result<Option<Duration>, Refusal> {
    match millis.map(|millis| millis.millis) {
        None | Some(0) => Ok(None),
        Some(millis) if millis > LONGEST_MILLIS => Err(Problem::TooLong(millis).into()),
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
    }
}

fn http_match(wire: mesh::HttpMatch) -> Result<HttpMatch, Refusal> {
    let single = |pattern: Option<mesh::StringMatch>, field: &str| {
        pattern
            .map(string_match)
            .transpose()
            .map_err(|refusal| refusal.within(field))
    };
    let kind = wire.path.as_ref().and_then(|path| path.kind.as_ref());
    let path_is_regex = matches!(kind, Some(mesh::string_match::Kind::Regex(_)));
    Ok(HttpMatch {
        path: single(wire.path, "path")?,
        ignore_path_case: wire.ignore_path_case && !path_is_regex,
        method: single(wire.method, "method")?,
        authority: single(wire.authority, "authority")?,
        headers: each(wire.headers, "headers", field_match)?,
        without_headers: each(wire.without_headers, "without_headers", field_match)?,
        query: each(wire.query, "query", |named| {
            Ok(QueryMatch {
                name: named.name.into(),
                value: value_match(named.value)?,
            })
        })?,
        port: optional_port(wire.port).map_err(|refusal| refusal.within("port"))?,
    })
}

fn field_match(named: mesh::NamedMatch) -> Result<FieldMatch, Refusal> {
    let field = Field::parse(&named.name)
        .ok_or_else(|| Refusal::from(Problem::HeaderName(named.name.clone())).within("name"))?;
    Ok(FieldMatch {
        field,
        value: value_match(named.value)?,
    })
}

fn value_match(value: Option<mesh::StringMatch>) -> Result<StringMatch, Refusal> {
    value
        .map_or(Ok(StringMatch::Present), string_match)
        .map_err(|refusal| refusal.within("value"))
}

/// An empty matcher asks for presence, and so does the regex `*`, which users write for it.
fn string_match(pattern: mesh::StringMatch) -> Result<StringMatch, Refusal> {
    use mesh::string_match::Kind;
    Ok(match pattern.kind {
        None | Some(Kind::Present(true)) => StringMatch::Present,
        Some(Kind::Present(false)) => return Err(Problem::NotPresent.into()),
        Some(Kind::Exact(text)) => StringMatch::exact(&text),
        Some(Kind::Prefix(text)) => StringMatch::prefix(&text),
        Some(Kind::Regex(pattern)) if pattern == "*" => StringMatch::Present,
        Some(Kind::Regex(pattern)) => StringMatch::regex(&pattern)?,
    })
}
