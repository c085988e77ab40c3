//! Headers as routes name and change them: which names there can be, which a route may touch, and
//! which values. A value is literal: Envoy's variables (`%…%`) are refused, `%%` is a percent sign.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::at::At;
use crate::{
    check::Code,
    source::{decode::Problem, node::Position},
};

/// Headers that belong to a connection or frame a message: they are the proxies' own.
const OWN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "te",
    "trailer",
    "host",
];

/// `headers:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Headers {
    /// Of requests.
    #[serde(default)]
    pub request: HeaderOperations,
    /// Of responses.
    #[serde(default)]
    pub response: HeaderOperations,
}

/// `request:` and `response:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct HeaderOperations {
    /// In place of what is there.
    #[serde(default)]
    pub set: BTreeMap<String, At<String>>,
    /// Beside what is there.
    #[serde(default)]
    pub add: BTreeMap<String, At<String>>,
    /// Taken out.
    #[serde(default)]
    pub remove: Vec<At<String>>,
}

impl Headers {
    /// What `set` says of the authority, which is not a header like others.
    pub fn authority(&self) -> Option<&str> {
        let set = self.request.set.iter();
        let mut found = set.filter(|(name, _)| names_authority(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// What is wrong with it; `path` leads to it.
    pub fn problems(&self, path: &str, found: &mut Vec<Problem>) {
        for (which, operations) in [("request", &self.request), ("response", &self.response)] {
            let may_set_authority = which == "request";
            let lists = [("set", &operations.set), ("add", &operations.add)];
            for (how, list) in lists {
                for (name, value) in list {
                    let path = format!("{path}.{which}.{how}[\"{}\"]", name.escape_debug());
                    let is_authority = may_set_authority && how == "set" && names_authority(name);
                    if !is_authority && let Some(problem) = bad_name(&path, value.at, name) {
                        found.push(problem);
                    }
                    if is_authority && !self::is_authority(value) {
                        let reason = format!("{path}: \"{}\" is no host", value.escape_debug());
                        found.push(
                            Problem::new(Code::BadAuthority, value.at, reason)
                                .suggest("write `HOST` or `HOST:PORT`"),
                        );
                    } else if let Some(problem) = bad_value(&path, value) {
                        found.push(problem);
                    }
                }
            }
            for (i, name) in operations.remove.iter().enumerate() {
                let path = format!("{path}.{which}.remove[{i}]");
                found.extend(bad_name(&path, name.at, name));
            }
        }
    }
}

/// Whether the name stands for `:authority`.
pub fn names_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// Whether it can be the name of a header (RFC 9110, token).
pub fn is_token(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

/// Whether it can be the path of a cookie.
pub fn is_cookie_path(path: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !b"=;,\"".contains(&b);
    path.starts_with('/') && path.bytes().all(fits)
}

/// Whether it can stand in the place of a request's host: `HOST` or `HOST:PORT`.
pub fn is_authority(text: &str) -> bool {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            if !port.parse::<u16>().is_ok_and(|port| port > 0) {
                return false;
            }
            host
        }
        _ => text,
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    }
}

/// A value as it is sent: `%%` is a percent sign.
pub fn literal(value: &str) -> String {
    value.replace("%%", "%")
}

pub(crate) fn bad_name(path: &str, at: Position, name: &str) -> Option<Problem> {
    let lower = name.to_ascii_lowercase();
    let (code, reason, suggestion) = if lower.starts_with(':') {
        let reason = "a pseudo-header is not changed here";
        (Code::ReservedHeader, reason, "use `rewrite`")
    } else if lower == "host" {
        let reason = "the host is not changed here";
        (Code::ReservedHeader, reason, "use `rewrite.authority`")
    } else if OWN.contains(&&*lower) {
        let reason = "this header is the proxies' own";
        (Code::ReservedHeader, reason, "take it out")
    } else if !is_token(name) {
        (Code::BadHeaderName, "this is no header name", "")
    } else {
        return None;
    };
    Some(Problem::new(code, at, format!("{path}: {reason}")).suggest(suggestion))
}

fn bad_value(path: &str, value: &At<String>) -> Option<Problem> {
    let (reason, suggestion) = if value.replace("%%", "").contains('%') {
        let reason = "variables (`%…%`) are not supported yet";
        (reason, "write `%%` for a percent sign")
    } else if !value
        .bytes()
        .all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t'))
    {
        ("it has characters that are not visible ASCII", "")
    } else {
        return None;
    };
    let reason = format!("{path}: {reason}");
    Some(Problem::new(Code::BadHeaderValue, value.at, reason).suggest(suggestion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for (text, good) in [
            ("a.example", true),
            ("a_b.example:8080", true),
            ("10.0.0.1", true),
            ("[::1]", true),
            ("[::1]:80", true),
            ("", false),
            (":80", false),
            ("a b", false),
            ("a:b", false),
            ("a:0", false),
            ("a:1:2", false),
            ("[::1", false),
            ("user@a", false),
            ("a/b", false),
            ("a[b", false),
        ] {
            assert_eq!(is_authority(text), good, "{text}");
        }
    }
}
