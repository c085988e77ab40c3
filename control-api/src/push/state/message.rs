//! What goes into a stream's state machine and what comes out of it.

use std::sync::Arc;

use crate::model::Encoded;

/// Longest name or version that a proxy may send, in bytes: `NAMESPACE/NAME` has at most 317.
pub(super) const MAX_TEXT: usize = 512;

/// Types of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Endpoints of a service.
    Endpoints,
    /// A service.
    Service,
    /// Routes of a service.
    Routes,
    /// What an IP stands for.
    Address,
    /// The proxy's own pod.
    Workload,
    /// The trust bundle.
    Trust,
    /// Telemetry settings.
    Telemetry,
    /// What a host name stands for.
    DnsName,
}

impl Kind {
    /// All; the first four in the order in which they may be sent.
    pub const ALL: [Self; 8] = [
        Self::Endpoints,
        Self::Service,
        Self::Routes,
        Self::Address,
        Self::Workload,
        Self::Trust,
        Self::Telemetry,
        Self::DnsName,
    ];
    pub(super) const IMPLIED: [Self; 3] = [Self::Endpoints, Self::Service, Self::Routes];
    pub(super) const ORDERED: [Self; 4] =
        [Self::Endpoints, Self::Service, Self::Routes, Self::Address];
    pub(super) const OWN: [Self; 3] = [Self::Trust, Self::Workload, Self::Telemetry];

    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn is_implied(self) -> bool {
        Self::IMPLIED.contains(&self)
    }
}

/// What a proxy sends.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of which type.
    pub kind: Kind,
    /// Names to begin with.
    pub subscribe: Vec<String>,
    /// Names to end.
    pub unsubscribe: Vec<String>,
    /// What it holds from before: name and version.
    pub initial: Vec<(String, String)>,
    /// Of the response that it answers; empty: none.
    pub nonce: String,
    /// It refuses.
    pub nack: Option<Nack>,
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Nack {
    /// In general.
    pub message: String,
    /// Name and reason; empty: all of the response.
    pub resources: Vec<(String, String)>,
}

/// What it is sent.
#[derive(Clone, Debug)]
pub struct Response {
    /// Of which type.
    pub kind: Kind,
    /// To be answered with it.
    pub nonce: String,
    /// New and changed.
    pub resources: Vec<(Arc<str>, Arc<Encoded>)>,
    /// Gone, or never there.
    pub removed: Vec<Arc<str>>,
}

/// What a proxy may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Subscriptions of each type; what is beyond is answered as not existing.
    pub subscriptions: usize,
    /// Bytes of resources in one response, roughly; more follow in the next.
    pub response_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            subscriptions: 10_000,
            response_bytes: 1024 * 1024,
        }
    }
}

/// The stream is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It goes on asking for what it may not have.
    #[error("more than {0} names were asked for that this proxy may not have")]
    Refused(usize),
    /// Nothing has a name like that; it would only be kept.
    #[error("a name or version of {0} bytes was sent; none has more than {MAX_TEXT}")]
    TooLong(usize),
}

/// How a stream is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last model that it has in full.
    pub model: u64,
    /// Nothing awaits being sent or answered.
    pub synced: bool,
    /// Resources that it refused: type, name, reason.
    pub nacks: Vec<(Kind, Arc<str>, String)>,
    /// Resources that it holds.
    pub resources: usize,
}
