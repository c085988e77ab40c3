//! Route tables: matches are parsed and patterns compiled here.

mod headers;
mod retries;
mod treatment;

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::mesh;

use super::{Problem, Refusal, each, object_name, optional_port, port_number};
use crate::route::{Field, FieldMatch, HostMatch, HttpMatch, HttpTable, QueryMatch, StringMatch};
use crate::snapshot::{Destination, HttpRule, Name, RouteTable, SniHost, TcpRule};

/// Longest duration that is taken, in milliseconds: ten years. Longer ones overflow clocks.
const LONGEST_MILLIS: u64 = 10 * 366 * 24 * 3600 * 1000;

pub(super) fn table(table: mesh::RouteTable) -> Result<RouteTable, Refusal> {
    let http = each(table.http, "http", http_rule)?;
    Ok(RouteTable {
        http: HttpTable::new(http).map_err(|error| Refusal::from(error).within("http"))?,
        tcp: each(table.tcp, "tcp", tcp_rule)?,
        http_ports: each(table.http_ports, "http_ports", port_number)?,
    })
}

fn http_rule(rule: mesh::HttpRule) -> Result<(Vec<HttpMatch>, HttpRule), Refusal> {
    let mut rule = rule;
    let matches = each(std::mem::take(&mut rule.matches), "matches", http_match)?;
    let treatment = treatment::treatment(&mut rule)?;
    let answers = treatment.as_ref().is_some_and(|t| t.answer.is_some());
    let compiled = HttpRule {
        origin: Arc::from(rule.origin),
        destinations: match answers {
            true => Vec::new(),
            false => destinations(rule.destinations)?,
        },
        timeout: duration(rule.timeout).map_err(|refusal| refusal.within("timeout"))?,
        retries: rule
            .retries
            .map(retries::policy)
            .transpose()
            .map(|policy| policy.map(Box::new))
            .map_err(|refusal| refusal.within("retries"))?,
        treatment,
    };
    Ok((matches, compiled))
}

fn tcp_rule(rule: mesh::TcpRule) -> Result<TcpRule, Refusal> {
    Ok(TcpRule {
        origin: Arc::from(rule.origin),
        port: optional_port(rule.port).map_err(|refusal| refusal.within("port"))?,
        destinations: destinations(rule.destinations)?,
        sni_hosts: each(rule.sni_hosts, "sni_hosts", sni_host)?,
    })
}

/// A name, `*.` and a name, or `*`.
fn sni_host(host: String) -> Result<SniHost, Refusal> {
    let lower = host.to_ascii_lowercase();
    let is_name = |name: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !name.is_empty() && name.len() <= 253 && name.bytes().all(fits)
    };
    match lower.strip_prefix('*') {
        None if is_name(&lower) => Ok(SniHost::Exact(lower.into())),
        Some(end) if end.is_empty() => Ok(SniHost::EndsWith(end.into())),
        Some(end) if end.strip_prefix('.').is_some_and(is_name) => {
            Ok(SniHost::EndsWith(end.into()))
        }
        _ => Err(Problem::ServerName(host).into()),
    }
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
    each(list, "destinations", destination)
}

/// One that is invalid may lack its service: its share goes nowhere.
fn destination(destination: mesh::Destination) -> Result<Destination, Refusal> {
    let nowhere = !destination.invalid.is_empty() && destination.service.is_empty();
    let service = match nowhere {
        true => Name::new(""),
        false => object_name(&destination.service).map_err(|refusal| refusal.within("service"))?,
    };
    Ok(Destination {
        service,
        subset: (!destination.subset.is_empty()).then(|| Arc::from(destination.subset)),
        port: optional_port(destination.port).map_err(|refusal| refusal.within("port"))?,
        weight: destination.weight,
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
    let path = match wire.path_segments.as_str() {
        "" => single(wire.path, "path")?,
        segments => Some(StringMatch::segments(segments)),
    };
    let host = match wire.host.as_str() {
        "" => None,
        host => Some(
            HostMatch::new(host)
                .ok_or_else(|| Refusal::from(Problem::Authority(host.to_owned())).within("host"))?,
        ),
    };
    Ok(HttpMatch {
        path,
        host,
        scheme: single(wire.scheme, "scheme")?,
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
