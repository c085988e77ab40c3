//! The annotation that makes the splits of a VirtualService sticky: whoever shows the same key
//! stays at the same destination. `header: NAME`, `cookie: NAME; path=/; ttl=1h`, or `source`.

use crate::{
    check::Code,
    resources::{
        duration::Span,
        header::{is_cookie_path, is_token},
    },
    source::{decode::Problem, node::Position},
};

/// Its name.
pub const STICKY: &str = "heddle.io/sticky";

/// By what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// A header's value.
    Header(String),
    /// A cookie's value.
    Cookie {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
        /// How long it is kept; 0: for a session; None: it is never set.
        ttl: Option<Span>,
    },
    /// The client's IP.
    Source,
}

impl Sticky {
    /// Reads the annotation, which stands at `at`.
    pub fn parse(text: &str, at: Position) -> Result<Self, Problem> {
        let problem = |reason: String| {
            let reason = format!("metadata.annotations[\"{STICKY}\"]: {reason}");
            let instead = "write `header: NAME`, `cookie: NAME; path=/; ttl=1h` or `source`";
            Problem::new(Code::BadAnnotation, at, reason).suggest(instead)
        };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut parts = rest.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        match kind.trim() {
            "source" if rest.trim().is_empty() => Ok(Self::Source),
            "header" | "cookie" if !is_token(name) => {
                Err(problem(format!("\"{}\" is no name", name.escape_debug())))
            }
            "header" => match parts.next() {
                None => Ok(Self::Header(name.to_ascii_lowercase())),
                Some(_) => Err(problem("a header has no attributes".into())),
            },
            "cookie" => {
                let (mut path, mut ttl) = (String::new(), None);
                for part in parts {
                    match part.split_once('=') {
                        Some(("path", value)) if is_cookie_path(value) => path = value.to_owned(),
                        Some(("ttl", value)) if Span::parse(value).is_some() => {
                            ttl = Span::parse(value);
                        }
                        _ => {
                            let part = part.escape_debug();
                            return Err(problem(format!("\"{part}\" is no attribute of a cookie")));
                        }
                    }
                }
                let name = name.to_owned();
                Ok(Self::Cookie { name, path, ttl })
            }
            _ => Err(problem(format!("\"{}\" is no key", text.escape_debug()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_slips_are_refused() {
        let cookie = |name: &str, path: &str, ttl: Option<&str>| Sticky::Cookie {
            name: name.into(),
            path: path.into(),
            ttl: ttl.and_then(Span::parse),
        };
        for (text, sticky) in [
            ("header: X-User", Some(Sticky::Header("x-user".into()))),
            ("source", Some(Sticky::Source)),
            ("cookie: who", Some(cookie("who", "", None))),
            ("cookie: who; ttl=0s", Some(cookie("who", "", Some("0s")))),
            (
                "cookie: who; path=/a; ttl=1h",
                Some(cookie("who", "/a", Some("1h"))),
            ),
            ("cookie: a b", None),
            ("cookie: who; age=1", None),
            ("header: x; path=/", None),
            ("header", None),
            ("source: ip", None),
            ("", None),
        ] {
            let read = Sticky::parse(text, Position::default());
            assert_eq!(read.ok(), sticky, "{text}");
        }
    }
}
