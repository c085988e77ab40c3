//! What must hold of a request for a match to hold, in the form an index files matches by: a field,
//! and the text that its value is or begins with.
//!
//! A condition is necessary, not sufficient: texts are in lower case, so that one index serves
//! paths in any case too, and of a regex only its beginning is told. The match itself decides.

use http::HeaderName;

use super::host::HostMatch;
use super::matcher::{Field, HttpMatch};
use super::pattern::StringMatch;

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The path without the query.
    Path,
    /// `:path`.
    PathAndQuery,
    /// The method.
    Method,
    /// The authority.
    Authority,
    /// The port of the service, as [`port_text`].
    Port,
    /// A header; a condition on it asks at least for its presence.
    Header(HeaderName),
    /// A query parameter, likewise.
    Query(Box<str>),
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub(super) part: Part,
    /// In lower case.
    pub(super) text: Box<[u8]>,
    /// The value is the text; otherwise it begins with it.
    pub(super) whole: bool,
}

impl Condition {
    fn new(part: Part, pattern: &StringMatch) -> Self {
        let (text, whole) = match pattern {
            StringMatch::Exact(text) => (text.as_bytes().to_ascii_lowercase(), true),
            StringMatch::Prefix(text) | StringMatch::Segments(text) => {
                (text.as_bytes().to_ascii_lowercase(), false)
            }
            StringMatch::Regex(regex) => (regex.beginning(), false),
            StringMatch::Present => (Vec::new(), false),
        };
        Self {
            part,
            text: text.into(),
            whole,
        }
    }

    /// Holds for every request.
    fn is_idle(&self) -> bool {
        let may_be_absent = matches!(self.part, Part::Header(_) | Part::Query(_));
        !self.whole && self.text.is_empty() && !may_be_absent
    }
}

/// A port in a form without case.
pub(super) fn port_text(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high >> 4, high & 0xf, low >> 4, low & 0xf]
}

impl HttpMatch {
    /// What must hold for this to match, as far as an index can use it.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let single = [
            (Part::Path, &self.path),
            (Part::Method, &self.method),
            (Part::Authority, &self.authority),
        ];
        let single = single
            .into_iter()
            .filter_map(|(part, pattern)| Some(Condition::new(part, pattern.as_ref()?)));
        let port = self.port.map(|port| Condition {
            part: Part::Port,
            text: port_text(port).into(),
            whole: true,
        });
        // A port may follow.
        let host = self.host.as_ref().and_then(|host| match host {
            HostMatch::Exact(name) => Some(Condition {
                part: Part::Authority,
                text: name.as_bytes().into(),
                whole: false,
            }),
            HostMatch::Below(_) => None,
        });
        let headers = self.headers.iter().map(|header| {
            let part = match &header.field {
                Field::Header(name) => Part::Header(name.clone()),
                Field::Authority => Part::Authority,
                Field::Method => Part::Method,
                Field::PathAndQuery => Part::PathAndQuery,
            };
            Condition::new(part, &header.value)
        });
        let query = self
            .query
            .iter()
            .map(|parameter| Condition::new(Part::Query(parameter.name.clone()), &parameter.value));
        single
            .chain(port)
            .chain(host)
            .chain(headers)
            .chain(query)
            .filter(|condition| !condition.is_idle())
            .collect()
    }
}
