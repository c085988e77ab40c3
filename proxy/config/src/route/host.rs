//! A host that a request must name, as Gateway API compares it: in any case, without its port.

use std::fmt;

/// A host, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// This one. In lower case.
    Exact(Box<str>),
    /// One that ends so: the text begins with a dot. In lower case.
    Below(Box<str>),
}

impl HostMatch {
    /// A name, or `*.` and a name; `None`: it is neither.
    pub fn new(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let is_name = |name: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            !name.is_empty() && name.len() <= 253 && name.bytes().all(fits)
        };
        match lower.strip_prefix('*') {
            None => is_name(&lower).then(|| Self::Exact(lower.into())),
            Some(end) => {
                let named = end.strip_prefix('.').is_some_and(is_name);
                named.then(|| Self::Below(end.into()))
            }
        }
    }

    pub(super) fn is_match(&self, authority: &str) -> bool {
        let host = host_of(authority);
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(end) => {
                let start = host.len().checked_sub(end.len()).filter(|start| *start > 0);
                let tail = start.and_then(|start| host.as_bytes().get(start..));
                tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
            }
        }
    }
}

/// An authority without its port.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(end) => write!(f, "*{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_and_port() {
        for (wanted, authority, holds) in [
            ("echo", "echo", true),
            ("echo", "ECHO:8080", true),
            ("echo", "echo-v1", false),
            ("echo", "echo.other", false),
            ("echo", "", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.B.Example.com:80", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "aexample.com", false),
            ("*.example.com", "é", false),
        ] {
            let wanted = HostMatch::new(wanted).unwrap();
            assert_eq!(wanted.is_match(authority), holds, "{wanted} {authority}");
        }
        for bad in ["", "*", "*a.b", "a b", "a:80"] {
            assert_eq!(HostMatch::new(bad), None, "{bad}");
        }
    }
}
