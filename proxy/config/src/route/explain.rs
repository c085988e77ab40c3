//! Why each rule takes a request or does not, in words. It asks the same matchers that `find` asks,
//! one condition at a time and without the index, so that it tells what traffic meets.

use std::fmt;

use http::{HeaderMap, Method, Uri};

use super::matcher::{Field, FieldMatch, HttpMatch, Request, parameters};
use super::pattern::StringMatch;
use super::table::HttpTable;

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request: by what, for each condition; none: it takes every request.
    Taken(Vec<String>),
    /// It does not: for each of its matches the first condition that does not hold.
    Missed(Vec<String>),
}

/// What became of the rules, up to the one that takes the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Places of rules, in order, and what became of each; the last may be the one that takes it.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Rules that did not take it and are not told.
    pub left_out: usize,
}

impl Explained {
    /// The rule that takes the request.
    pub fn taken(&self) -> Option<usize> {
        let (rule, verdict) = self.verdicts.last()?;
        matches!(verdict, Verdict::Taken(_)).then_some(*rule)
    }
}

impl HttpTable {
    /// The rules up to the one that takes the request, in order; of those that do not, `most` at most
    /// are told. `port` is that of the service.
    pub fn explain(
        &self,
        method: &Method,
        uri: &Uri,
        authority: &str,
        headers: &HeaderMap,
        port: u16,
        most: usize,
    ) -> Explained {
        let request = Request {
            method,
            uri,
            authority,
            headers,
            port,
        };
        let mut told = Explained::default();
        let mut missed: Option<usize> = None;
        for (rule, matcher) in self.matches() {
            let again = missed == Some(rule);
            if matcher.is_match(&request) {
                if again && told.left_out > 0 {
                    told.left_out -= 1;
                } else if again {
                    told.verdicts.pop();
                }
                let taken = Verdict::Taken(matcher.conditions_in_words());
                told.verdicts.push((rule, taken));
                return told;
            }
            missed = Some(rule);
            let whole = told.verdicts.len() >= most;
            match told.verdicts.last_mut() {
                Some((_, Verdict::Missed(reasons))) if again && told.left_out == 0 => {
                    reasons.push(matcher.miss(&request));
                }
                _ if again => {}
                _ if whole => told.left_out += 1,
                _ => {
                    let reasons = vec![matcher.miss(&request)];
                    told.verdicts.push((rule, Verdict::Missed(reasons)));
                }
            }
        }
        told
    }
}

impl HttpMatch {
    /// The first condition that does not hold, in the order in which people write them.
    fn miss(&self, request: &Request<'_>) -> String {
        let single = |what: &str, pattern: &Option<StringMatch>, value: &str| {
            let pattern = pattern.as_ref().filter(|p| !p.is_match(value.as_bytes()))?;
            Some(format!("{what} {value:?} {}", Not(pattern)))
        };
        let path = || {
            let path = request.uri.path();
            let pattern = self.path.as_ref().filter(|_| !self.path_matches(path))?;
            Some(format!("path {path:?} {}", Not(pattern)))
        };
        let port = || {
            let port = self.port.filter(|port| *port != request.port)?;
            Some(format!("port {} is not {port}", request.port))
        };
        let field = |field: &FieldMatch| {
            let value = match field.in_request(request) {
                None => return format!("{} is not there", name(&field.field)),
                Some(value) => value,
            };
            format!("{} {value:?} {}", name(&field.field), Not(&field.value))
        };
        path()
            .or_else(|| single("method", &self.method, request.method.as_str()))
            .or_else(|| {
                let mut headers = self.headers.iter();
                headers.find(|h| !h.is_match(request)).map(field)
            })
            .or_else(|| {
                let mut without = self.without_headers.iter();
                let met = without.find(|h| h.is_match(request))?;
                Some(format!(
                    "{} {}, which it must not",
                    name(&met.field),
                    met.value
                ))
            })
            .or_else(|| self.query_miss(request))
            .or_else(|| single("authority", &self.authority, request.authority))
            .or_else(|| {
                let host = self.host.as_ref()?;
                let misses = !host.is_match(request.authority);
                misses.then(|| format!("host {:?} is not {host}", request.authority))
            })
            .or_else(|| {
                single(
                    "scheme",
                    &self.scheme,
                    request.uri.scheme_str().unwrap_or("http"),
                )
            })
            .or_else(port)
            .unwrap_or_else(|| "it does not match".to_owned())
    }

    fn query_miss(&self, request: &Request<'_>) -> Option<String> {
        self.query.iter().find_map(|wanted| {
            let mut given = request.uri.query().into_iter().flat_map(parameters);
            let found = given.find(|(name, _)| *name == &*wanted.name);
            match found {
                None => Some(format!("query parameter {} is not there", wanted.name)),
                Some((_, value)) if !wanted.value.is_match(value.as_bytes()) => Some(format!(
                    "query parameter {} {value:?} {}",
                    wanted.name,
                    Not(&wanted.value)
                )),
                Some(_) => None,
            }
        })
    }

    fn conditions_in_words(&self) -> Vec<String> {
        let single = |what: &str, pattern: &Option<StringMatch>| {
            pattern.as_ref().map(|pattern| format!("{what} {pattern}"))
        };
        let mut words: Vec<String> = [
            single("path", &self.path),
            single("method", &self.method),
            single("authority", &self.authority),
            single("scheme", &self.scheme),
            self.port.map(|port| format!("port is {port}")),
            self.host.as_ref().map(|host| format!("host is {host}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let headers = self.headers.iter();
        words.extend(headers.map(|header| format!("{} {}", name(&header.field), header.value)));
        let without = self.without_headers.iter();
        words
            .extend(without.map(|header| format!("not: {} {}", name(&header.field), header.value)));
        let query = self.query.iter();
        words.extend(query.map(|one| format!("query parameter {} {}", one.name, one.value)));
        words
    }
}

impl FieldMatch {
    /// What the condition looks at; `None`: it is not there.
    fn in_request(&self, request: &Request<'_>) -> Option<String> {
        match &self.field {
            Field::Header(name) => {
                let values = request.headers.get_all(name).iter();
                let values: Vec<_> = values
                    .map(|value| String::from_utf8_lossy(value.as_bytes()))
                    .collect();
                (!values.is_empty()).then(|| values.join(","))
            }
            Field::Authority => Some(request.authority.to_owned()),
            Field::Method => Some(request.method.to_string()),
            Field::PathAndQuery => Some(request.path_and_query().to_owned()),
        }
    }
}

pub(super) fn name(field: &Field) -> String {
    match field {
        Field::Header(name) => format!("header {name}"),
        Field::Authority => "authority".to_owned(),
        Field::Method => "method".to_owned(),
        Field::PathAndQuery => "path with query".to_owned(),
    }
}

/// The condition as it holds.
impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "is {text:?}"),
            Self::Prefix(text) => write!(f, "begins with {text:?}"),
            Self::Segments(path) => write!(f, "is {path:?} or below it"),
            Self::Regex(regex) => write!(f, "matches the regex {:?}", regex.as_str()),
            Self::Present => f.write_str("is there"),
        }
    }
}

/// The condition as it does not hold.
struct Not<'a>(&'a StringMatch);

impl fmt::Display for Not<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StringMatch::Exact(text) => write!(f, "is not {text:?}"),
            StringMatch::Prefix(text) => write!(f, "does not begin with {text:?}"),
            StringMatch::Segments(path) => write!(f, "is neither {path:?} nor below it"),
            StringMatch::Regex(regex) => {
                write!(f, "does not match the regex {:?}", regex.as_str())
            }
            StringMatch::Present => f.write_str("is not there"),
        }
    }
}
