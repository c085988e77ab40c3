//! A match as the conditions that must all hold, each about one part of a request or of who sends it.

use std::collections::BTreeMap;

use heddle_proto::mesh::{HttpMatch, NamedMatch, StringMatch, string_match};

use super::pattern::{Pattern, Shape};

/// A part of a request, or of its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Path,
    PathAndQuery,
    Method,
    Authority,
    /// Without its port.
    Host,
    Scheme,
    Port,
    Header(String),
    Query(String),
    Label(String),
    Namespace,
}

impl Part {
    /// Whether each request has it.
    pub(super) fn is_always_there(&self) -> bool {
        !matches!(self, Self::Header(_) | Self::Query(_) | Self::Label(_))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) part: Part,
    pub(super) pattern: Pattern,
    /// The part is not there, or is none of the pattern's.
    pub(super) negated: bool,
}

/// Of which clients a match is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Source<'a> {
    /// Labels that they have.
    pub(crate) labels: Option<&'a BTreeMap<String, String>>,
    /// Their namespace.
    pub(crate) namespace: Option<&'a str>,
}

/// Every condition of a match; none: it takes every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions(pub(super) Vec<Condition>);

impl Conditions {
    /// Those of a match, of some clients.
    pub(crate) fn new(one: &HttpMatch, source: Source<'_>) -> Self {
        // Named one by one: a field that were left out would make a match seem wider than it is.
        let HttpMatch {
            path,
            ignore_path_case,
            method,
            authority,
            headers,
            without_headers,
            query,
            port,
            scheme,
            path_segments,
            host,
        } = one;
        let mut all = Vec::new();
        let mut add = |part: Part, pattern: Pattern, negated: bool| {
            // Of a path `/` says nothing: all begin so.
            let root = Shape::Prefix("/".to_owned());
            let is_idle =
                pattern.shape == Shape::Any || (part == Part::Path && pattern.shape == root);
            if negated || !is_idle || !part.is_always_there() {
                all.push(Condition {
                    part,
                    pattern,
                    negated,
                });
            }
        };
        match path_segments.as_str() {
            "" => {
                if path.is_some() {
                    add(
                        Part::Path,
                        Pattern::new(path.as_ref(), *ignore_path_case),
                        false,
                    );
                }
            }
            segments => {
                let any_case = *ignore_path_case;
                let pattern = Pattern::segments(segments);
                add(
                    Part::Path,
                    Pattern {
                        any_case,
                        ..pattern
                    },
                    false,
                );
            }
        }
        let single = [
            (Part::Method, method),
            (Part::Authority, authority),
            (Part::Scheme, scheme),
        ];
        for (part, value) in single {
            if value.is_some() {
                add(part, Pattern::new(value.as_ref(), false), false);
            }
        }
        if !host.is_empty() {
            // Also of `*.`: two that are written alike are alike, of others nothing is said.
            let kind = Some(string_match::Kind::Exact(host.clone()));
            let written = StringMatch { kind };
            add(Part::Host, Pattern::new(Some(&written), true), false);
        }
        let value = |named: &NamedMatch| Pattern::new(named.value.as_ref(), false);
        for named in headers {
            add(header(&named.name), value(named), false);
        }
        for named in without_headers {
            add(header(&named.name), value(named), true);
        }
        for named in query {
            add(Part::Query(named.name.clone()), value(named), false);
        }
        let exact = |text: String| Pattern {
            shape: Shape::Exact(text),
            any_case: false,
        };
        if *port != 0 {
            add(Part::Port, exact(port.to_string()), false);
        }
        if let Some(namespace) = source.namespace {
            add(Part::Namespace, exact(namespace.to_owned()), false);
        }
        for (key, value) in source.labels.into_iter().flatten() {
            add(Part::Label(key.clone()), exact(value.clone()), false);
        }
        Self(all)
    }

    /// Whether each request that fulfils these fulfils `wider` too.
    pub(crate) fn are_within(&self, wider: &Self) -> bool {
        wider
            .0
            .iter()
            .all(|wanted| self.0.iter().any(|own| own.implies(wanted)))
    }
}

impl Condition {
    fn implies(&self, wanted: &Self) -> bool {
        if self.part != wanted.part {
            return false;
        }
        match (self.negated, wanted.negated) {
            (false, false) => self.pattern.is_within(&wanted.pattern),
            (true, true) => wanted.pattern.is_within(&self.pattern),
            (false, true) => self.pattern.is_apart(&wanted.pattern),
            (true, false) => false,
        }
    }

    /// Whether no request fulfils both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        if self.part != other.part {
            return false;
        }
        match (self.negated, other.negated) {
            (false, false) => self.pattern.is_apart(&other.pattern),
            (false, true) => self.pattern.is_within(&other.pattern),
            (true, false) => other.pattern.is_within(&self.pattern),
            (true, true) => false,
        }
    }
}

/// A sidecar takes `host` for the authority, whichever way it came.
fn header(name: &str) -> Part {
    match name.to_ascii_lowercase().as_str() {
        "host" | ":authority" => Part::Authority,
        ":method" => Part::Method,
        ":path" => Part::PathAndQuery,
        name => Part::Header(name.to_owned()),
    }
}
