//! What was probably meant by a value of the wrong type: the entry as it is to be written, to paste. Knows
//! the slips of people who are new to these kinds; of anything else it says nothing.

use crate::{
    resources::duration::Span,
    source::{
        node::{Key, Node, Value, quoted, scalar},
        scalar::Scalar,
    },
};

/// What was asked for in the place of the value.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// In words.
    pub(super) words: String,
    /// The struct's name and fields, if it is one.
    pub(super) of: Option<(&'static str, &'static [&'static str])>,
}

/// Lists of texts, which one text may have been meant for.
const LISTS_OF_TEXT: [&str; 14] = [
    "hosts",
    "gateways",
    "exportTo",
    "remove",
    "hostnames",
    "sniHosts",
    "subjectAltNames",
    "addresses",
    "allowMethods",
    "allowHeaders",
    "exposeHeaders",
    "names",
    "command",
    "args",
];

/// Fields of Gateway API that are durations, and texts to the reader.
const DURATIONS: [&str; 3] = ["request", "backendRequest", "backoff"];

/// What to write in place of `node`, under `key` or, without one, as an item of a list.
pub(super) fn meant(key: Option<&Key>, node: &Node, asked: &Asked) -> Option<String> {
    let name = key.map_or("", |key| &key.name);
    if let Some((of, fields)) = asked.of {
        return structure(of, fields, node).map(|value| write(name, &value));
    }
    let value = match asked.words.as_str() {
        "a list" => return list(name, node),
        "a mapping" => merged(node),
        "a string" if DURATIONS.contains(&name) => Span::meant(node.text()?),
        "a string" => return text(name, node),
        "a whole number" | "a number" => number(name, &asked.words, node),
        "true or false" => node
            .text()
            .filter(|text| matches!(Scalar::plain(text), Scalar::Bool(_)))
            .map(str::to_owned),
        words if words.starts_with("a duration") => return duration(name, node),
        _ => None,
    };
    value.map(|value| write(name, &value))
}

/// The entry, or the item.
fn write(name: &str, value: &str) -> String {
    match name {
        "" => format!("write `{value}`"),
        name => format!("write `{}: {value}`", scalar(name)),
    }
}

/// A mapping of known fields: one value that a single field of it can hold, or a list of one such mapping.
fn structure(of: &str, fields: &[&str], node: &Node) -> Option<String> {
    if let Value::Seq(items) = &node.value {
        return match items.as_slice() {
            [one] if matches!(one.value, Value::Map(_)) => one.on_one_line(),
            _ => None,
        };
    }
    let text = node.text()?;
    if let Some((field, value)) = text.split_once(':')
        && fields.contains(&field)
    {
        // `host:cart`.
        return Some(format!("{{{field}: {}}}", scalar(value)));
    }
    let written = || scalar(text);
    Some(match of {
        "StringMatch" if text.starts_with('/') => format!("{{prefix: {}}}", written()),
        "StringMatch" => format!("{{exact: {}}}", written()),
        "PathSpec" => format!("{{type: PathPrefix, value: {}}}", written()),
        "PortSelector" | "PortNumber" => {
            let number = text.parse::<u16>().unwrap_or(80);
            format!("{{number: {number}}}")
        }
        "Destination" => destination(text),
        "RouteDestination" | "TcpRouteDestination" | "Mirror" => {
            format!("{{destination: {}}}", destination(text))
        }
        "Percentage" => format!("{{value: {}}}", percent(text)?),
        "Retries" | "RetrySpec" => format!("{{attempts: {}}}", text.parse::<u32>().ok()?),
        "Redirect" | "Rewrite" if text.starts_with('/') => format!("{{uri: {}}}", written()),
        "Mtls" | "ClientTls" => format!("{{mode: {}}}", text.to_uppercase()),
        "LoadBalancer" => format!("{{simple: {}}}", text.to_uppercase()),
        "Timeouts" => format!("{{request: {}}}", Span::meant(text)?),
        "DirectResponse" => format!("{{status: {}}}", text.parse::<u16>().ok()?),
        "DirectResponseBody" => format!("{{string: {}}}", written()),
        _ => return None,
    })
}

/// `reviews`, or `reviews:9080`.
fn destination(text: &str) -> String {
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => {
            format!("{{host: {}, port: {{number: {port}}}}}", scalar(host))
        }
        _ => format!("{{host: {}}}", scalar(text)),
    }
}

fn list(name: &str, node: &Node) -> Option<String> {
    let shown = |value: Option<String>| Some(write(name, &format!("[{}]", value?)));
    match &node.value {
        Value::Map(entries) => {
            let all_text = entries.iter().all(|(_, value)| value.text().is_some());
            if matches!(name, "headers" | "queryParams" | "set" | "add") && all_text {
                let items = entries.iter().map(|(key, value)| {
                    let value = value.text().map(scalar).unwrap_or_default();
                    format!("{{name: {}, value: {value}}}", scalar(&key.name))
                });
                return shown(Some(items.collect::<Vec<_>>().join(", ")));
            }
            let (first, _) = entries.first()?;
            shown(node.on_one_line()).or_else(|| {
                let first = scalar(&first.name);
                Some(format!(
                    "`{name}` is a list: write `- {first}:` for `{first}:`, and two spaces more before what \
                     belongs to it"
                ))
            })
        }
        Value::Seq(_) => None,
        _ => {
            let text = node.text()?;
            match name {
                "route" => shown(Some(format!("{{destination: {}}}", destination(text)))),
                _ if LISTS_OF_TEXT.contains(&name) => {
                    let items = text.split(',').map(|item| scalar(item.trim()));
                    shown(Some(items.collect::<Vec<_>>().join(", ")))
                }
                _ => None,
            }
        }
    }
}

/// A list of mappings of one entry each, for one mapping.
fn merged(node: &Node) -> Option<String> {
    let Value::Seq(items) = &node.value else {
        return None;
    };
    let entries = items.iter().map(|item| match &item.value {
        Value::Map(entries) => {
            let line = item.on_one_line()?;
            (entries.len() == 1).then(|| line[1..line.len() - 1].to_owned())
        }
        _ => None,
    });
    let entries: Option<Vec<String>> = entries.collect();
    entries
        .filter(|entries| !entries.is_empty())
        .map(|entries| format!("{{{}}}", entries.join(", ")))
}

fn text(name: &str, node: &Node) -> Option<String> {
    match &node.value {
        Value::Plain(text) if !node.is_null() => Some(format!(
            "put the value in quotes: {}",
            write(name, &quoted(text)).trim_start_matches("write ")
        )),
        Value::Seq(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Node::text).collect();
            match items?.as_slice() {
                [one] => Some(write(name, &scalar(one))),
                several if name == "retryOn" => Some(write(name, &quoted(&several.join(",")))),
                _ => None,
            }
        }
        Value::Map(entries) => match entries.as_slice() {
            [(_, one)] => Some(write(name, &scalar(one.text()?))),
            _ => None,
        },
        _ => None,
    }
}

fn number(name: &str, words: &str, node: &Node) -> Option<String> {
    let is_whole = words == "a whole number";
    let text = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [(_, one)] => return one.text()?.parse::<u64>().ok().map(|n| n.to_string()),
            _ => return None,
        },
        _ => node.text()?,
    };
    let percent = percent(text)?;
    if !is_whole {
        return Some(percent);
    }
    match percent.parse::<u64>() {
        Ok(number) => Some(number.to_string()),
        // Shares of 1: weights are relative, and whole.
        Err(_) if name == "weight" => {
            let share: f64 = percent.parse().ok()?;
            let share = if share < 1.0 { share * 100.0 } else { share };
            (share >= 0.0).then(|| format!("{share:.0}"))
        }
        Err(_) => None,
    }
}

/// A number, with or without `%`.
fn percent(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('%').trim_end();
    let digits = |b: u8| b.is_ascii_digit() || b == b'.';
    let is_number = text.bytes().all(digits) && text.parse::<f64>().is_ok();
    is_number.then(|| text.to_owned())
}

fn duration(name: &str, node: &Node) -> Option<String> {
    let text = node.text()?;
    let seconds = write(name, &Span::meant(text)?);
    // Nobody waits for an hour: what is this long was counted in milliseconds.
    Some(match text.parse::<u64>() {
        Ok(number) if number >= 1000 => {
            format!("{seconds}, or `{}: {number}ms`", scalar(name))
        }
        _ => seconds,
    })
}
