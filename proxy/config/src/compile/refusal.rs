//! Why a resource was refused, and where in it: what a person reads in `heddle status`.

use std::fmt;

use crate::route::{MAX_REGEX_BYTES, RegexError, RewriteError, TableError};

/// Longest body of a direct response, in bytes (Istio's limit).
pub(super) const MOST_BODY: usize = 1 << 20;

/// A refused resource: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    field: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a resource. All of them are the sender's fault, and asking again for the
/// same version cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not the message that its type says.
    #[error("not a message of its type: {0}")]
    Undecodable(String),
    /// A type that this proxy does not know.
    #[error("unknown type {0:?}: is the control plane newer than this proxy?")]
    UnknownType(String),
    /// The resource's name has the wrong form.
    #[error("the resource is named {name:?}, not {want}")]
    ResourceName {
        /// The name.
        name: String,
        /// What it should be.
        want: &'static str,
    },
    /// The resource's name and content disagree.
    #[error("the resource named {name:?} says that it is {says:?}")]
    OtherName {
        /// The name.
        name: String,
        /// What the content says.
        says: String,
    },
    /// Not a resource that this proxy asked for.
    #[error("not subscribed to; this proxy asked for {0:?} only")]
    NotOurs(String),
    /// Not `NAMESPACE/NAME`.
    #[error("{0:?} is not NAMESPACE/NAME")]
    ObjectName(String),
    /// Not an IP address.
    #[error("{0:?} is not an IP address")]
    Ip(String),
    /// Not a port number.
    #[error("{0} is not a port (1 to 65535)")]
    Port(u32),
    /// Not a SPIFFE id.
    #[error("{id:?} is not a SPIFFE id: {reason}")]
    SpiffeId {
        /// The text.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An enum number that this proxy does not know.
    #[error("{number} is no known {of}: is the control plane newer than this proxy?")]
    Enum {
        /// The number.
        number: i32,
        /// The enum.
        of: &'static str,
    },
    /// A field that must be there is absent.
    #[error("missing")]
    Missing,
    /// A list that must have elements has none.
    #[error("empty")]
    Empty,
    /// No destination has weight.
    #[error("the weights are all 0")]
    NoWeight,
    /// Longer than the list it runs parallel to.
    #[error("{0} values for {1} service_ports")]
    TooManyPorts(usize, usize),
    /// An index past the end of `subset_names`.
    #[error("subset {0} of {1}")]
    SubsetIndex(u32, usize),
    /// The same number twice.
    #[error("port {0} occurs twice")]
    DuplicatePort(u16),
    /// Not a header name.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// Not a name that TLS clients ask for.
    #[error("{0:?} is not a name, *.NAME or *")]
    ServerName(String),
    /// `present: false`.
    #[error("present is false; to match absence put it in without_headers")]
    NotPresent,
    /// Not a header value.
    #[error("{0:?} is not a header value")]
    HeaderValue(String),
    /// A header that frames messages or names the host.
    #[error("{0} is not a route's to change: it belongs to the connection, the body or the host")]
    HeaderReserved(String),
    /// Not a condition for retries.
    #[error("{0:?} is not a condition that this proxy tries again on")]
    RetryCondition(String),
    /// Not a status that can be answered.
    #[error("{0} is not a status that can be answered here")]
    Status(u32),
    /// Not a status of gRPC.
    #[error("{0} is not a gRPC status (0 to 16)")]
    GrpcStatus(u32),
    /// Neither `http` nor `https`.
    #[error("{0:?} is not http or https")]
    Scheme(String),
    /// Not a host, with or without port.
    #[error("{0:?} is not a host")]
    Authority(String),
    /// A body that is too long to be kept.
    #[error("a body of {0} bytes; at most {MOST_BODY} are allowed")]
    Body(usize),
    /// A path's rewrite is refused.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// A regex is refused.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// A route table is refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Longer than anybody waits.
    #[error("{0} ms is more than ten years")]
    TooLong(u64),
    /// More than a whole.
    #[error("{0} parts in a million")]
    Sampling(u32),
    /// More than all.
    #[error("{0} percent")]
    Percent(u32),
    /// A hash table of a size that none can have, or none should.
    #[error("{0} is not a prime of at most {1}")]
    Maglev(u64, u32),
    /// A ring that takes too much memory.
    #[error("{0} is more than {1}, the most points that a ring may have")]
    Ring(u64, u32),
    /// A certificate without its key, or a key without its certificate.
    #[error("a certificate and its key must both be named, or neither")]
    HalfCertificate,
    /// Not a cookie's name.
    #[error("{0:?} is not a cookie's name")]
    CookieName(String),
    /// Not a collector's address.
    #[error("{0:?} is not http://HOST:PORT, https://HOST:PORT or spiffe+https://HOST:PORT")]
    Collector(String),
    /// The trust roots were refused by the TLS library.
    #[error("the roots are refused: {0}")]
    Roots(String),
    /// More resources than a sidecar keeps.
    #[error("this proxy already keeps {0} resources, its limit")]
    TooManyResources(usize),
}

impl Refusal {
    /// Puts the refusal inside a field.
    pub(crate) fn within(mut self, field: impl fmt::Display) -> Self {
        self.field = if self.field.is_empty() {
            field.to_string()
        } else {
            format!("{field}.{}", self.field)
        };
        self
    }
}

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        Self {
            field: String::new(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}", self.problem)
        } else {
            write!(f, "{}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for Refusal {}

// The limit is part of what users are told; keep it what Istio's documentation says.
const _: () = assert!(MAX_REGEX_BYTES == 1024);
