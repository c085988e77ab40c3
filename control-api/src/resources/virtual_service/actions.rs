//! What a rule does with a request besides sending it somewhere: answers in the destination's place,
//! faults, copies, rewrites, CORS.

use serde::Deserialize;

use super::Destination;
use crate::resources::{
    at::{At, Unsupported},
    duration::Span,
    string_match::StringMatch,
    telemetry::ppm,
};

/// `redirect:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// The path, in place of the whole that came.
    pub uri: Option<At<String>>,
    /// The authority.
    pub authority: Option<At<String>>,
    /// The port.
    pub port: Option<At<u16>>,
    /// Where the port comes from.
    pub derive_port: Option<RedirectPort>,
    /// `http` or `https`.
    pub scheme: Option<At<String>>,
    /// 301 when absent.
    pub redirect_code: Option<At<u32>>,
}

/// What the path of a redirect becomes, and whether it stands for what the match named alone.
pub fn redirected_uri(uri: &str) -> (&str, bool) {
    match uri.strip_prefix("%PREFIX()%") {
        Some(rest) => (rest, true),
        None => (uri, false),
    }
}

/// `derivePort:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPort {
    /// 80 or 443, by the scheme.
    FromProtocolDefault,
    /// The one that was called.
    FromRequestPort,
}

/// `directResponse:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DirectResponse {
    /// Its status.
    pub status: At<u32>,
    /// Its body.
    pub body: Option<At<DirectResponseBody>>,
}

/// `directResponse.body:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DirectResponseBody {
    /// As text.
    pub string: Option<String>,
    bytes: Option<Unsupported>,
}

/// `{value: 12.5}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Percentage {
    /// Percent.
    #[serde(default)]
    pub value: f64,
}

impl Percentage {
    /// Parts in a million.
    pub fn ppm(self) -> u32 {
        ppm(self.value)
    }
}

/// `fault:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Fault {
    /// Late.
    pub delay: Option<At<Delay>>,
    /// Not at all.
    pub abort: Option<At<Abort>>,
}

/// `fault.delay:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// By this much.
    pub fixed_delay: At<Span>,
    /// Of requests; none when absent.
    pub percentage: Option<At<Percentage>>,
    /// The older spelling of the same.
    pub percent: Option<At<u32>>,
    exponential_delay: Option<Unsupported>,
}

/// `fault.abort:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// With this HTTP status.
    pub http_status: Option<At<u32>>,
    /// With this gRPC status, by name or number.
    pub grpc_status: Option<At<String>>,
    /// Of requests; none when absent.
    pub percentage: Option<At<Percentage>>,
    http2_error: Option<Unsupported>,
}

/// Names of gRPC statuses, in the order of their numbers.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Abort {
    /// Names that `grpcStatus` may have.
    pub const GRPC_NAMES: [&'static str; 17] = GRPC;

    /// The number of `grpcStatus`, if it is one.
    pub fn grpc_number(&self) -> Option<u32> {
        let status = self.grpc_status.as_deref()?;
        let by_name = GRPC.iter().position(|name| name == status);
        let number = by_name.or_else(|| status.parse().ok())?;
        u32::try_from(number).ok().filter(|number| *number < 17)
    }
}

/// `mirrors[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// Of which requests; all of them when absent.
    pub percentage: Option<At<Percentage>>,
}

/// `rewrite:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// In place of what the match named of the path.
    pub uri: Option<At<String>>,
    /// The authority.
    pub authority: Option<At<String>>,
    /// The path, by a regex.
    pub uri_regex_rewrite: Option<At<RegexRewrite>>,
}

/// `uriRegexRewrite:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RegexRewrite {
    /// What is replaced (RE2).
    #[serde(rename = "match")]
    pub pattern: At<String>,
    /// By what; `\1` stands for a group.
    pub rewrite: At<String>,
}

/// `corsPolicy:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Origins that may call.
    #[serde(default)]
    pub allow_origins: Vec<At<StringMatch>>,
    /// The older spelling: exact, or `*`.
    #[serde(default)]
    pub allow_origin: Vec<At<String>>,
    /// With these methods.
    #[serde(default)]
    pub allow_methods: Vec<At<String>>,
    /// With these headers.
    #[serde(default)]
    pub allow_headers: Vec<At<String>>,
    /// And may see these of the answer.
    #[serde(default)]
    pub expose_headers: Vec<At<String>>,
    /// How long a browser may remember that.
    pub max_age: Option<Span>,
    /// Whether with cookies.
    pub allow_credentials: Option<bool>,
    /// What becomes of preflights of other origins.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

/// `unmatchedPreflights:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// They are forwarded.
    Unspecified,
    /// They are forwarded.
    Forward,
    /// They are answered here.
    Ignore,
}
