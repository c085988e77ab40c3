//! Requests that are made up to see what becomes of them: what a match asks for, put into one, and
//! whether it holds for one. Where no such request is easily made, none is.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::{
    conditions::{Condition, Conditions, Part},
    pattern::{Pattern, Shape, fold, is_below},
};

/// A request for plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) authority: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    /// Names with values.
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

/// Regexes, each compiled once; None: it cannot be.
#[derive(Default)]
pub(crate) struct Regexes(HashMap<String, Option<Regex>>);

impl Regexes {
    fn is_match(&mut self, regex: &str, text: &str) -> bool {
        let known = self.0.entry(regex.to_owned()).or_insert_with(|| {
            let whole = RegexBuilder::new(&format!("^(?:{regex})$"))
                .size_limit(1 << 18)
                .build();
            whole.ok()
        });
        known.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

impl Conditions {
    /// Requests that fulfil them, of different paths, for an authority where they name none.
    pub(crate) fn examples(&self, authority: &str, port: u16, regexes: &mut Regexes) -> Vec<Asked> {
        let mut base = Asked {
            method: "GET".to_owned(),
            authority: authority.to_owned(),
            port,
            path: "/".to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
        };
        let mut paths = vec!["/".to_owned(), "/x".to_owned()];
        for one in self.0.iter().filter(|one| !one.negated) {
            let text = match &one.pattern.shape {
                Shape::Exact(text) | Shape::Prefix(text) | Shape::Segments(text) => Some(text),
                Shape::Any | Shape::Regex(_) => None,
            };
            let value = || text.map_or_else(|| "x".to_owned(), String::clone);
            match (&one.part, &one.pattern.shape) {
                (Part::Path, Shape::Exact(text)) => paths = vec![text.clone()],
                (Part::Path, Shape::Prefix(text) | Shape::Segments(text)) => {
                    let more = if text.ends_with('/') { "x" } else { "/x" };
                    paths = vec![text.clone(), format!("{text}{more}")];
                }
                (Part::Method, Shape::Exact(text)) => base.method.clone_from(text),
                (Part::Authority, Shape::Exact(text)) => base.authority.clone_from(text),
                (Part::Host, Shape::Exact(text)) => {
                    base.authority = match text.strip_prefix('*') {
                        Some(end) => format!("a{end}"),
                        None => text.clone(),
                    };
                }
                (Part::Port, Shape::Exact(text)) => base.port = text.parse().unwrap_or(port),
                (Part::Header(name), _) => base.headers.push((name.clone(), value())),
                (Part::Query(name), _) => base.query.push((name.clone(), value())),
                _ => {}
            }
        }
        let all = paths.into_iter().map(|path| Asked {
            path,
            ..base.clone()
        });
        all.filter(|asked| asked.is_plain() && self.hold(asked, regexes))
            .collect()
    }

    /// Whether they hold.
    pub(crate) fn hold(&self, asked: &Asked, regexes: &mut Regexes) -> bool {
        self.0.iter().all(|one| one.holds(asked, regexes))
    }

    /// A path, or the beginning of one, that requests need.
    pub(crate) fn path(&self) -> Option<(&str, bool)> {
        self.0
            .iter()
            .find_map(|one| match (&one.part, &one.pattern.shape) {
                _ if one.negated => None,
                (Part::Path, Shape::Exact(text)) => Some((text.as_str(), true)),
                (Part::Path, Shape::Prefix(text) | Shape::Segments(text)) => {
                    Some((text.as_str(), false))
                }
                _ => None,
            })
    }
}

impl Condition {
    fn holds(&self, asked: &Asked, regexes: &mut Regexes) -> bool {
        let first = |all: &[(String, String)], name: &str| {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let value = match &self.part {
            Part::Path => Some(asked.path.clone()),
            Part::PathAndQuery => Some(asked.target()),
            Part::Method => Some(asked.method.clone()),
            Part::Authority => Some(asked.authority.clone()),
            Part::Host => Some(asked.host().to_owned()),
            Part::Scheme => Some("http".to_owned()),
            Part::Port => Some(asked.port.to_string()),
            Part::Header(name) => first(&asked.headers, name),
            Part::Query(name) => first(&asked.query, name),
            Part::Label(_) | Part::Namespace => None,
        };
        let is_host = self.part == Part::Host;
        let mut fits = |value: &str| match &self.pattern.shape {
            Shape::Exact(host) if is_host && host.starts_with('*') => {
                value.len() >= host.len() && fold(value, true).ends_with(&*fold(&host[1..], true))
            }
            _ => self.pattern.takes(value, regexes),
        };
        value.is_some_and(|value| fits(&value)) != self.negated
    }
}

impl Pattern {
    fn takes(&self, value: &str, regexes: &mut Regexes) -> bool {
        let fold = |text| fold(text, self.any_case);
        match &self.shape {
            Shape::Any => true,
            Shape::Exact(text) => fold(value) == fold(text),
            Shape::Prefix(text) => fold(value).starts_with(&*fold(text)),
            Shape::Segments(text) => is_below(&fold(value), &fold(text)),
            Shape::Regex(regex) => regexes.is_match(regex, value),
        }
    }
}

impl Asked {
    /// Its authority without a port.
    pub(crate) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// Its path with the query.
    pub(crate) fn target(&self) -> String {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match query.as_slice() {
            [] => self.path.clone(),
            query => format!("{}?{}", self.path, query.join("&")),
        }
    }

    /// Whether a client could send it as it is, and a sidecar would leave it so.
    pub(crate) fn is_plain(&self) -> bool {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-_~".contains(&b);
        let dotted = |segment: &str| segment == "." || segment == "..";
        let is_path = self.path.starts_with('/')
            && self.path.bytes().all(|b| fits(b) || b == b'.')
            && !self.path.split('/').any(dotted);
        let is_value = |text: &str| text.bytes().all(fits);
        let query = self.query.iter();
        let mut query = query.map(|(name, value)| is_value(name) && is_value(value));
        is_path && query.all(|fits| fits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_proto::mesh::{HttpMatch, NamedMatch, StringMatch, string_match::Kind};

    use super::*;
    use crate::check::rules::Source;

    fn text(kind: Kind) -> Option<StringMatch> {
        Some(StringMatch { kind: Some(kind) })
    }

    #[test]
    fn what_a_match_asks_for_is_made_and_held_against_it() {
        let named = |name: &str, kind: Kind| NamedMatch {
            name: name.into(),
            value: text(kind),
        };
        let one = HttpMatch {
            path_segments: "/a".into(),
            method: text(Kind::Regex("PUT|POST|GET".into())),
            headers: vec![named("x", Kind::Prefix("b".into()))],
            without_headers: vec![named("y", Kind::Present(true))],
            query: vec![named("q", Kind::Exact("1".into()))],
            host: "*.example.com".into(),
            port: 81,
            ..HttpMatch::default()
        };
        let conditions = Conditions::new(&one, Source::default());
        let mut regexes = Regexes::default();
        let all = conditions.examples("cart", 80, &mut regexes);
        let told: Vec<String> = all
            .iter()
            .map(|a| format!("{} {}:{}{}", a.method, a.authority, a.port, a.target()))
            .collect();
        assert_eq!(
            told,
            ["GET a.example.com:81/a?q=1", "GET a.example.com:81/a/x?q=1"]
        );
        for path in ["/ab", "/", "/A"] {
            let other = Asked {
                path: path.into(),
                ..all[0].clone()
            };
            assert!(!conditions.hold(&other, &mut regexes), "{path}");
        }
    }

    #[test]
    fn what_is_not_easily_made_is_not_made() {
        let mut regexes = Regexes::default();
        for path in [
            Kind::Regex("/[a-b]{3}".into()),
            Kind::Exact("/a%41".into()),
            Kind::Prefix("/a/../".into()),
        ] {
            let one = HttpMatch {
                path: text(path),
                ..HttpMatch::default()
            };
            let conditions = Conditions::new(&one, Source::default());
            assert_eq!(conditions.examples("cart", 80, &mut regexes), []);
        }
    }
}
