//! One match of a rule: every condition in it must hold.
//!
//! Semantics are those of Envoy as Istio configures it. The path is compared without its query. A
//! query parameter is compared as it stands, not percent-decoded, by its first occurrence; one
//! without `=` has the empty value. `host` is the authority whichever way it arrived. Cookies
//! that HTTP/2 split are joined by `; `, other repeated headers by a comma.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, Method, Uri};

use super::host::HostMatch;
use super::pattern::StringMatch;

/// A request, as far as rules look at it.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) authority: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) port: u16,
}

impl<'a> Request<'a> {
    pub(super) fn path_and_query(&self) -> &'a str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }
}

/// Conditions on a request; all must hold. The default holds for every request.
#[derive(Clone, Debug, Default)]
pub struct HttpMatch {
    /// The path, without the query.
    pub path: Option<StringMatch>,
    /// Case of the path does not count. Not for a regex, which has its own flag for that.
    pub ignore_path_case: bool,
    /// The method.
    pub method: Option<StringMatch>,
    /// The scheme; what names none is plain HTTP.
    pub scheme: Option<StringMatch>,
    /// The authority, with its port where it has one.
    pub authority: Option<StringMatch>,
    /// The host, in any case and without its port.
    pub host: Option<HostMatch>,
    /// Headers that must match.
    pub headers: Vec<FieldMatch>,
    /// Headers that must not match; an absent one does not.
    pub without_headers: Vec<FieldMatch>,
    /// Query parameters that must match.
    pub query: Vec<QueryMatch>,
    /// Port of the service; `None`: any.
    pub port: Option<u16>,
}

/// What a header condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A header.
    Header(HeaderName),
    /// `:authority` or `host`.
    Authority,
    /// `:method`.
    Method,
    /// `:path`, with the query.
    PathAndQuery,
}

impl Field {
    /// Parses a header's name in any case, or a pseudo-header's.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            ":authority" => Self::Authority,
            ":method" => Self::Method,
            ":path" => Self::PathAndQuery,
            _ => match HeaderName::from_bytes(name.as_bytes()).ok()? {
                HOST => Self::Authority,
                name => Self::Header(name),
            },
        })
    }
}

/// A condition on a header.
#[derive(Clone, Debug)]
pub struct FieldMatch {
    /// Where to look.
    pub field: Field,
    /// What to find there.
    pub value: StringMatch,
}

impl FieldMatch {
    pub(super) fn is_match(&self, request: &Request<'_>) -> bool {
        match &self.field {
            Field::Header(name) => self
                .value
                .is_match_joined(request.headers.get_all(name).iter(), separator(name)),
            Field::Authority => self.value.is_match(request.authority.as_bytes()),
            Field::Method => self.value.is_match(request.method.as_str().as_bytes()),
            Field::PathAndQuery => self.value.is_match(request.path_and_query().as_bytes()),
        }
    }
}

/// A condition on a query parameter.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Its name, as it stands in the query.
    pub name: Box<str>,
    /// What its value must be.
    pub value: StringMatch,
}

impl QueryMatch {
    fn is_match(&self, query: &str) -> bool {
        parameters(query)
            .find(|(name, _)| *name == &*self.name)
            .is_some_and(|(_, value)| self.value.is_match(value.as_bytes()))
    }
}

impl HttpMatch {
    pub(super) fn is_match(&self, request: &Request<'_>) -> bool {
        self.port.is_none_or(|port| port == request.port)
            && self.path_matches(request.uri.path())
            && matches(self.method.as_ref(), request.method.as_str())
            && self.scheme.as_ref().is_none_or(|scheme| {
                scheme.is_match(request.uri.scheme_str().unwrap_or("http").as_bytes())
            })
            && matches(self.authority.as_ref(), request.authority)
            && self
                .host
                .as_ref()
                .is_none_or(|host| host.is_match(request.authority))
            && self.headers.iter().all(|field| field.is_match(request))
            && !self
                .without_headers
                .iter()
                .any(|field| field.is_match(request))
            && (self.query.is_empty()
                || request.uri.query().is_some_and(|query| {
                    self.query.iter().all(|parameter| parameter.is_match(query))
                }))
    }

    pub(super) fn path_matches(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|pattern| {
            if self.ignore_path_case {
                pattern.is_match_ignoring_case(path.as_bytes())
            } else {
                pattern.is_match(path.as_bytes())
            }
        })
    }

    /// Every pattern in it.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &StringMatch> {
        let single = [&self.path, &self.method, &self.authority, &self.scheme]
            .into_iter()
            .flatten();
        let fields = self
            .headers
            .iter()
            .chain(&self.without_headers)
            .map(|field| &field.value);
        single
            .chain(fields)
            .chain(self.query.iter().map(|parameter| &parameter.value))
    }
}

/// What stands between the values of a header that occurs several times.
pub(super) fn separator(name: &HeaderName) -> &'static [u8] {
    if *name == COOKIE { b"; " } else { b"," }
}

/// Names and values of a query, as they stand in it.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

fn matches(pattern: Option<&StringMatch>, value: &str) -> bool {
    pattern.is_none_or(|pattern| pattern.is_match(value.as_bytes()))
}
