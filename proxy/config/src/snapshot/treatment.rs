//! What a rule does with a request beside sending it on. Everything in it is parsed: names and
//! values can stand in a head, patterns are compiled.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN};
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{Destination, GrpcCode, HashKey};
use crate::route::{PathRewrite, StringMatch};

/// What a rule does beside sending a request on.
#[derive(Clone, Debug, Default)]
pub struct Treatment {
    /// In place of sending it anywhere.
    pub answer: Option<Answer>,
    /// What goes wrong on purpose.
    pub fault: Fault,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror>,
    /// What the path and the host become.
    pub rewrite: Rewrite,
    /// What is changed in the heads.
    pub headers: HeaderChanges,
    /// Who may read it from another origin.
    pub cors: Option<Cors>,
    /// Who is kept at one destination.
    pub sticky: Option<HashKey>,
    /// Parallel to the rule's destinations, or empty when none of them says anything.
    pub destinations: Vec<DestinationTreatment>,
}

impl Treatment {
    /// How many regexes it has.
    pub(crate) fn regexes(&self) -> usize {
        let redirect = match &self.answer {
            Some(Answer::Redirect(redirect)) => redirect.path.as_ref(),
            _ => None,
        };
        let rewrites = self.destinations.iter().map(|to| &to.rewrite);
        let paths = rewrites
            .chain([&self.rewrite])
            .filter_map(|rewrite| rewrite.path.as_ref())
            .chain(redirect);
        let paths = paths.filter(|path| matches!(path, PathRewrite::Regex(_)));
        let origins = self.cors.iter().flat_map(|cors| &cors.allow_origins);
        let origins = origins.filter(|origin| matches!(origin, StringMatch::Regex(_)));
        paths.count() + origins.count()
    }
}

/// What one destination of a rule does, after the rule.
#[derive(Clone, Debug, Default)]
pub struct DestinationTreatment {
    /// What is changed in the heads.
    pub headers: HeaderChanges,
    /// What the path and the host become.
    pub rewrite: Rewrite,
    /// Why its share is answered with 500.
    pub invalid: Option<Arc<str>>,
}

/// An answer of the sidecar's own.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Go elsewhere.
    Redirect(Redirect),
    /// This.
    Direct(DirectResponse),
}

/// Where to go instead; what is absent stays as it came.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    /// Host, with its port if it names one.
    pub authority: Option<Authority>,
    /// `None`: the scheme's own where the scheme is given.
    pub port: Option<u16>,
    /// Another authority has the port that came, where neither scheme nor port is given.
    pub keep_port: bool,
    /// What the path becomes.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Arc<[u8]>,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// First.
    pub delay: Option<Delay>,
    /// Then.
    pub abort: Option<Abort>,
}

/// A pause before a request is sent on.
#[derive(Clone, Debug)]
pub struct Delay {
    /// How long.
    pub fixed: Duration,
    /// Of how many requests in a million.
    pub ppm: u32,
}

/// A failure in place of an answer.
#[derive(Clone, Debug)]
pub struct Abort {
    /// As what.
    pub status: AbortStatus,
    /// Of how many requests in a million.
    pub ppm: u32,
}

/// What an injected failure looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(StatusCode),
    /// A status of gRPC.
    Grpc(GrpcCode),
}

/// Who gets a copy of a request.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its weight says nothing.
    pub destination: Destination,
    /// Of how many requests in a million.
    pub ppm: u32,
}

/// What a request's path and host become; what is absent stays as it came.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The path.
    pub path: Option<PathRewrite>,
    /// The host.
    pub authority: Option<Authority>,
}

/// What is changed in heads.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// Of the request.
    pub request: Changes,
    /// Of its answer.
    pub response: Changes,
}

/// Changes of one head, in this order.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Goes.
    pub remove: Vec<HeaderName>,
    /// Replaces what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Comes to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Who may read answers from another origin (the Fetch standard's CORS protocol).
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins that may.
    pub allow_origins: Vec<StringMatch>,
    /// The list as it is answered.
    pub allow_methods: Option<HeaderValue>,
    /// The list as it is answered.
    pub allow_headers: Option<HeaderValue>,
    /// The list as it is answered.
    pub expose_headers: Option<HeaderValue>,
    /// In seconds, as it is answered.
    pub max_age: Option<HeaderValue>,
    /// Also with cookies.
    pub allow_credentials: bool,
    /// A preflight from any other origin goes to the application.
    pub forward_unmatched_preflights: bool,
}

/// What a request is, to CORS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorsMeaning {
    /// Nothing of CORS' business, or of an origin that may not: browsers will keep its answer.
    Own,
    /// Of an origin that may read the answer.
    Allowed,
    /// A question that is answered here.
    Preflight {
        /// Its origin may.
        allowed: bool,
    },
}

impl Cors {
    /// What a request is.
    pub fn meaning(&self, method: &Method, headers: &HeaderMap) -> CorsMeaning {
        let Some(origin) = headers.get(ORIGIN) else {
            return CorsMeaning::Own;
        };
        let preflight =
            *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let mut origins = self.allow_origins.iter();
        let allowed = origins.any(|may| may.is_match(origin.as_bytes()));
        match (allowed, preflight) {
            (true, false) => CorsMeaning::Allowed,
            (false, false) => CorsMeaning::Own,
            (false, true) if self.forward_unmatched_preflights => CorsMeaning::Own,
            (allowed, true) => CorsMeaning::Preflight { allowed },
        }
    }
}
