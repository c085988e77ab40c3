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
            .is_some_and(|policy| policy.retry_on.iter().any(|on| asks_for(on, status)))
    }

    /// Whether the route asks to repeat what an upstream broke off (Envoy: both of these cover it).
    pub(super) fn asks_for_resets(&self) -> bool {
        let covers = |on: &str| matches!(on, "reset" | "5xx" | "gateway-error");
        self.retries
            .is_some_and(|policy| policy.retry_on.iter().any(|on| covers(on)))
    }

    /// Whether any answer, or none in time, can lead to another try.
    pub(super) fn may_repeat(&self) -> bool {
        self.retries.is_some_and(|policy| {
            policy.attempts > 0 && (!policy.retry_on.is_empty() || policy.per_try_timeout.is_some())
        })
    }
}

/// Whether a condition of `retryOn` names a status.
fn asks_for(condition: &str, status: StatusCode) -> bool {
    match condition {
        "5xx" => status.is_server_error(),
        "gateway-error" => matches!(status.as_u16(), 502..=504),
        "retriable-4xx" => status == StatusCode::CONFLICT,
        code => code.parse::<u16>().is_ok_and(|c| c == status.as_u16()),
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
    fn retry_conditions_name_statuses() {
        let named = |condition, code| {
            StatusCode::from_u16(code).is_ok_and(|status| asks_for(condition, status))
        };
        assert!(named("5xx", 500) && named("5xx", 503) && !named("5xx", 404));
        assert!(named("gateway-error", 503) && !named("gateway-error", 500));
        assert!(named("retriable-4xx", 409) && !named("retriable-4xx", 400));
        assert!(named("429", 429) && !named("429", 430));
        assert!(!named("connect-failure", 503));
    }

    #[test]
    fn a_post_is_never_harmless() {
        assert!(!is_idempotent(&Method::POST));
        assert!(!is_idempotent(&Method::PATCH));
        assert!(is_idempotent(&Method::GET));
    }
}
