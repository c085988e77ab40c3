//! What an HTTP rule does with the requests that it matches, and when it tries one again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{Destination, Treatment};

/// What an HTTP rule does with the requests it matches.
#[derive(Clone, Debug, Default)]
pub struct HttpRule {
    /// The user's resource, rule, file and line.
    pub origin: Arc<str>,
    /// Where to, by weight. Empty only where the treatment answers.
    pub destinations: Vec<Destination>,
    /// For the whole request, retries included.
    pub timeout: Option<Duration>,
    /// When to try again; `None`: the default policy.
    pub retries: Option<Box<RetryPolicy>>,
    /// What it does beside sending requests on; most rules do nothing.
    pub treatment: Option<Box<Treatment>>,
}

/// When to try a request again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries beyond the first; 0: never.
    pub attempts: u32,
    /// Bound of each try.
    pub per_try_timeout: Option<Duration>,
    /// What else than a request that was not sent is tried again.
    pub retry_on: RetryOn,
    /// Base of the pause between tries; `None`: the default.
    pub backoff: Option<Duration>,
    /// The same endpoint again is as good as another.
    pub ignore_previous_hosts: bool,
}

/// Conditions under which a request is tried again, with Envoy's meanings. The default set names
/// nothing that can have been processed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// `5xx`: such an answer, or none.
    pub server_errors: bool,
    /// `gateway-error`: 502, 503, 504, or no answer.
    pub gateway_errors: bool,
    /// `reset`: no answer at all.
    pub resets: bool,
    /// `retriable-4xx`: 409.
    pub conflicts: bool,
    /// Statuses by number.
    pub statuses: Vec<StatusCode>,
    /// gRPC statuses by name.
    pub grpc: Vec<GrpcCode>,
}

/// A status of gRPC, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcCode(u8);

impl GrpcCode {
    /// `None`: there is no such status.
    pub fn new(code: u32) -> Option<Self> {
        u8::try_from(code).ok().filter(|c| *c <= 16).map(Self)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl RetryOn {
    /// Whether an answer with this status asks for another try.
    pub fn names(&self, status: StatusCode) -> bool {
        self.server_errors && status.is_server_error()
            || self.gateway_errors && matches!(status.as_u16(), 502..=504)
            || self.conflicts && status == StatusCode::CONFLICT
            || self.statuses.contains(&status)
    }

    /// Whether no answer, or none in time, asks for another try.
    pub fn names_no_answer(&self) -> bool {
        self.server_errors || self.gateway_errors || self.resets
    }

    /// Whether nothing that may have been processed is tried again.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_statuses() {
        let named = |on: &RetryOn, code| StatusCode::from_u16(code).is_ok_and(|s| on.names(s));
        let on = |change: fn(&mut RetryOn)| {
            let mut on = RetryOn::default();
            change(&mut on);
            on
        };
        let any = on(|o| o.server_errors = true);
        assert!(named(&any, 500) && named(&any, 503) && !named(&any, 404));
        let gateway = on(|o| o.gateway_errors = true);
        assert!(named(&gateway, 503) && !named(&gateway, 500));
        let conflict = on(|o| o.conflicts = true);
        assert!(named(&conflict, 409) && !named(&conflict, 400));
        let number = on(|o| o.statuses.push(StatusCode::TOO_MANY_REQUESTS));
        assert!(named(&number, 429) && !named(&number, 430) && !number.names_no_answer());
        let resets = on(|o| o.resets = true);
        assert!(!named(&resets, 503) && resets.names_no_answer());
        assert!(any.names_no_answer() && gateway.names_no_answer());
        assert!(RetryOn::default().is_default() && !conflict.is_default());
    }
}
