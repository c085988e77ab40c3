//! On what terms a request is forwarded, and what its route asks to be repeated. Nothing here
//! repeats what may have been processed unless the route names it, or it is idempotent.

use std::time::Duration;

use heddle_proxy_config::snapshot::RetryPolicy;
use heddle_proxy_telemetry::{Labels, RequestProtocol};
use http::{Method, StatusCode};

use crate::cluster::{Cluster, Member};
use crate::upstream::Version;

/// Tries beyond the first when the route does not say (Istio's default).
const DEFAULT_RETRIES: u32 = 2;

/// Where a request goes, and on what terms.
pub(crate) struct Plan<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) version: Version,
    pub(crate) grpc: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<&'a RetryPolicy>,
    /// How long endpoints that refuse connections are tried again.
    pub(crate) patience: Duration,
    /// Labels of what is counted for an endpoint, or for want of one.
    pub(crate) labels: &'a dyn Fn(Option<&Member>, RequestProtocol) -> Labels,
}

impl Plan<'_> {
    pub(super) fn attempts(&self) -> u32 {
        self.retries.map_or(DEFAULT_RETRIES, |r| r.attempts)
    }

    pub(super) fn asks_for(&self, status: StatusCode) -> bool {
        self.retries
            .is_some_and(|policy| policy.retry_on.names(status))
    }

    /// Whether the route asks to repeat what an upstream broke off.
    pub(super) fn asks_for_resets(&self) -> bool {
        self.retries
            .is_some_and(|policy| policy.retry_on.names_no_answer())
    }

    /// Whether any answer, or none in time, can lead to another try.
    pub(super) fn may_repeat(&self) -> bool {
        self.retries.is_some_and(|policy| {
            policy.attempts > 0
                && (!policy.retry_on.is_default() || policy.per_try_timeout.is_some())
        })
    }
}

/// RFC 9110 §9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_never_harmless() {
        assert!(!is_idempotent(&Method::POST));
        assert!(!is_idempotent(&Method::PATCH));
        assert!(is_idempotent(&Method::GET));
    }
}
