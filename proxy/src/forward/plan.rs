//! On what terms a request is forwarded, and what its route asks to be repeated. Nothing here
//! repeats what may have been processed unless the route names it, or it is idempotent.

use std::time::Duration;

use heddle_proxy_config::snapshot::RetryPolicy;
use heddle_proxy_telemetry::{Labels, RequestProtocol};
use http::{Method, Response};

use crate::cluster::{Cluster, Member};
use crate::upstream::Version;

/// Tries beyond the first when the route does not say (Istio's default).
const DEFAULT_RETRIES: u32 = 2;

/// Labels of what is counted for an endpoint, or for want of one.
pub(crate) type LabelsOf<'a> = &'a dyn Fn(Option<&Member>, RequestProtocol) -> Labels;

/// Where a request goes, and on what terms.
pub(crate) struct Plan<'a> {
    pub(crate) cluster: &'a Cluster,
    /// What keeps the request with one endpoint.
    pub(crate) hash: Option<u64>,
    pub(crate) version: Version,
    pub(crate) grpc: bool,
    /// The route's.
    pub(crate) timeout: Option<Duration>,
    /// The caller's, of a gRPC call.
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: Option<&'a RetryPolicy>,
    /// How long endpoints that refuse connections are tried again.
    pub(crate) patience: Duration,
    /// `None`: it is not counted.
    pub(crate) labels: Option<LabelsOf<'a>>,
}

/// Why there should be another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No server has seen anything of it.
    Unsent,
    /// The server says that it has not looked at it.
    Refused,
    /// It ended before an answer came.
    Reset,
    /// No answer came in the time that each try has.
    TooSlow,
    /// Such a status was answered.
    Status,
    /// Such a gRPC status was answered.
    GrpcStatus,
}

impl Cause {
    /// In metrics, in Envoy's words where it has one.
    pub(super) fn label(self) -> &'static str {
        match self {
            Cause::Unsent => "connect-failure",
            Cause::Refused => "refused-stream",
            Cause::Reset => "reset",
            Cause::TooSlow => "per-try-timeout",
            Cause::Status => "status",
            Cause::GrpcStatus => "grpc-status",
        }
    }
}

impl Plan<'_> {
    /// The whole of the time that the request has.
    pub(super) fn time(&self) -> Option<Duration> {
        match (self.timeout, self.deadline) {
            (Some(timeout), Some(deadline)) => Some(timeout.min(deadline)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.retries.map_or(DEFAULT_RETRIES, |r| r.attempts)
    }

    /// Why the route wants another answer than this one, if it does.
    pub(super) fn cause<B>(&self, response: &Response<B>) -> Option<Cause> {
        let on = &self.retries.filter(|r| r.attempts > 0)?.retry_on;
        if on.names(response.status()) {
            return Some(Cause::Status);
        }
        if on.grpc.is_empty() {
            return None;
        }
        // In the head only of a call that ended with it.
        let said = response.headers().get("grpc-status")?;
        let code: u8 = said.to_str().ok()?.parse().ok()?;
        let named = on.grpc.iter().any(|named| named.number() == code);
        named.then_some(Cause::GrpcStatus)
    }

    /// Whether the route asks to repeat what was not answered.
    pub(super) fn asks_for_no_answer(&self) -> bool {
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

    /// Whether that holds of a request with a body too: only where the route names what may have
    /// been processed.
    pub(super) fn repeats_bodies(&self) -> bool {
        self.retries
            .is_some_and(|policy| policy.attempts > 0 && !policy.retry_on.is_default())
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
    #![allow(clippy::unwrap_used)]
    use heddle_proxy_config::snapshot::{GrpcCode, RetryOn};

    use super::*;

    fn plan<'a>(cluster: &'a Cluster, retries: &'a RetryPolicy) -> Plan<'a> {
        Plan {
            hash: None,
            cluster,
            version: Version::Http1,
            grpc: false,
            timeout: None,
            deadline: None,
            retries: Some(retries),
            patience: Duration::ZERO,
            labels: None,
        }
    }

    #[test]
    fn a_post_is_never_harmless() {
        assert!(!is_idempotent(&Method::POST));
        assert!(!is_idempotent(&Method::PATCH));
        assert!(is_idempotent(&Method::GET));
    }

    #[test]
    fn the_earlier_of_timeout_and_deadline_counts() {
        let (cluster, policy) = (Cluster::new(None, None, 80, vec![]), RetryPolicy::default());
        let time = |timeout: Option<u64>, deadline: Option<u64>| {
            let plan = Plan {
                timeout: timeout.map(Duration::from_secs),
                deadline: deadline.map(Duration::from_secs),
                ..plan(&cluster, &policy)
            };
            plan.time().map(|time| time.as_secs())
        };
        assert_eq!(time(None, None), None);
        assert_eq!(time(Some(2), None), Some(2));
        assert_eq!(time(None, Some(3)), Some(3));
        assert_eq!(
            (time(Some(2), Some(3)), time(Some(3), Some(2))),
            (Some(2), Some(2))
        );
    }

    #[test]
    fn a_grpc_status_counts_only_in_a_head_and_by_name() {
        let cluster = Cluster::new(None, None, 80, vec![]);
        let unavailable = GrpcCode::new(14).unwrap();
        let policy = |attempts| RetryPolicy {
            attempts,
            retry_on: RetryOn {
                grpc: vec![unavailable],
                ..RetryOn::default()
            },
            ..RetryPolicy::default()
        };
        let answer = |status: &str| {
            let answer = Response::builder().header("grpc-status", status);
            answer.body(()).unwrap()
        };
        let (two, none) = (policy(2), policy(0));
        let plan_of = |policy| plan(&cluster, policy);
        assert_eq!(plan_of(&two).cause(&answer("14")), Some(Cause::GrpcStatus));
        assert_eq!(plan_of(&two).cause(&answer("13")), None);
        assert_eq!(plan_of(&two).cause(&Response::new(())), None);
        assert_eq!(plan_of(&none).cause(&answer("14")), None);
    }

    #[test]
    fn a_body_is_kept_only_where_what_was_processed_may_be_repeated() {
        let cluster = Cluster::new(None, None, 80, vec![]);
        let mut policy = RetryPolicy {
            attempts: 2,
            per_try_timeout: Some(Duration::from_secs(1)),
            ..RetryPolicy::default()
        };
        assert!(plan(&cluster, &policy).may_repeat());
        assert!(!plan(&cluster, &policy).repeats_bodies());
        policy.retry_on.server_errors = true;
        assert!(plan(&cluster, &policy).repeats_bodies());
        policy.attempts = 0;
        assert!(!plan(&cluster, &policy).repeats_bodies());
    }
}
