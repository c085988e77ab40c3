//! What to write for a field that there is not: the nearest name, or, for what people of other APIs or of
//! another level of this one write, the entry that says the same here.

use crate::source::{
    node::{Node, scalar},
    suggest,
};

/// A struct by one or two fields of its own, fields that it does not have, and what says the same there.
/// `$` is the value, `@` the field.
const ELSEWHERE: &[(&[&str], &[&str], &str)] = &[
    (
        &["uri", "withoutHeaders"],
        &["path", "url", "prefix", "uriPrefix"],
        "uri: {prefix: $}",
    ),
    (&["uri", "withoutHeaders"], &["exact"], "uri: {exact: $}"),
    (&["uri", "withoutHeaders"], &["regex"], "uri: {regex: $}"),
    (
        &["uri", "withoutHeaders"],
        &["host"],
        "authority: {exact: $}",
    ),
    (&["prefix", "regex"], &["value", "equals"], "exact: $"),
    (
        &["destination", "weight"],
        &["host", "name", "service"],
        "destination: {host: $}",
    ),
    (
        &["destination", "weight"],
        &["subset"],
        "destination: {host: …, subset: $}",
    ),
    (&["host", "subset"], &["name", "service"], "host: $"),
    (
        &["match", "route"],
        &["destination"],
        "route: [{destination: $}]",
    ),
    (&["match", "route"], &["uri", "method"], "match: [{@: $}]"),
    (&["hosts", "http"], &["host"], "hosts: [$]"),
    (&["hosts", "http"], &["route"], "http: [{route: $}]"),
    (&["hosts", "http"], &["rules", "routes"], "http:"),
    (
        &["labels", "trafficPolicy"],
        &["version", "app"],
        "labels: {@: $}",
    ),
    (&["parentRefs", "hostnames"], &["hosts"], "hostnames: $"),
    (&["parentRefs", "hostnames"], &["http", "routes"], "rules:"),
    (
        &["backendRefs", "matches"],
        &["route", "backends"],
        "backendRefs: [{name: …, port: 80}]",
    ),
    (&["name", "sectionName"], &["host", "service"], "name: $"),
    (
        &["value", "type"],
        &["prefix"],
        "path: {type: PathPrefix, value: $}",
    ),
    (
        &["value", "type"],
        &["exact"],
        "path: {type: Exact, value: $}",
    ),
    (
        &["value", "type"],
        &["regex"],
        "path: {type: RegularExpression, value: $}",
    ),
];

/// What to write for the field `name`, with `value`, of a struct that has `fields`.
pub(super) fn elsewhere(name: &str, value: &Node, fields: &[&str]) -> String {
    if let Some((field, rest)) = name.split_once(':')
        && fields.contains(&field)
    {
        return format!("put a space behind the colon: `{field}: {}`", scalar(rest));
    }
    if fields == ["request", "response"]
        && let Some(value) = value.text()
    {
        return format!(
            "write `request: {{set: {{{}: {}}}}}`",
            scalar(name),
            scalar(value)
        );
    }
    let same = ELSEWHERE.iter().find(|(of, names, _)| {
        of.iter().all(|field| fields.contains(field)) && names.contains(&name)
    });
    let value = match value.text() {
        Some(text) => Some(scalar(text)),
        None => value.on_one_line(),
    };
    match (same, value) {
        (Some((_, _, say)), Some(value)) => {
            format!("write `{}`", say.replace('@', name).replace('$', &value))
        }
        _ => suggest::sentence(name, fields),
    }
}
