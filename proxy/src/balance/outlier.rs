//! When an endpoint has failed too often in a row, by the kinds of failure that Envoy tells apart. A
//! success of a kind begins its count anew.

use std::cell::Cell;

use heddle_proxy_config::snapshot::OutlierDetection;

/// How a request or a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The endpoint answered with this status (a connection: it was made).
    Answered(u16),
    /// It took no connection, broke off, or did not answer in time.
    Failed,
}

/// What HTTP would have said for a status of gRPC (Envoy's mapping).
pub(crate) fn status_of_grpc(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Failures in a row.
#[derive(Default)]
pub(super) struct Count {
    errors: Cell<u32>,
    gateway_errors: Cell<u32>,
    local_failures: Cell<u32>,
}

impl Count {
    pub(super) fn reset(&self) {
        self.errors.set(0);
        self.gateway_errors.set(0);
        self.local_failures.set(0);
    }

    /// Counts one; the reason when it was one too many.
    pub(super) fn observe(
        &self,
        terms: &OutlierDetection,
        outcome: Outcome,
    ) -> Option<&'static str> {
        let more = |count: &Cell<u32>, failed: bool| {
            count.set(if failed {
                count.get().saturating_add(1)
            } else {
                0
            });
        };
        match (outcome, terms.consecutive_local_failures) {
            (Outcome::Answered(status), _) => {
                more(&self.errors, status >= 500);
                more(&self.gateway_errors, matches!(status, 502..=504));
                more(&self.local_failures, false);
            }
            (Outcome::Failed, Some(_)) => more(&self.local_failures, true),
            (Outcome::Failed, None) => {
                more(&self.errors, true);
                more(&self.gateway_errors, true);
            }
        }
        let local = terms.consecutive_local_failures.unwrap_or(0);
        let reached = |count: &Cell<u32>, most: u32| {
            let reached = most > 0 && count.get() >= most;
            if reached {
                count.set(0);
            }
            reached
        };
        if reached(&self.errors, terms.consecutive_5xx) {
            Some("consecutive-5xx")
        } else if reached(&self.gateway_errors, terms.consecutive_gateway_errors) {
            Some("consecutive-gateway-errors")
        } else if reached(&self.local_failures, local) {
            Some("consecutive-local-failures")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Answered, Failed};

    fn verdicts(terms: &OutlierDetection, outcomes: &[Outcome]) -> Vec<Option<&'static str>> {
        let count = Count::default();
        outcomes
            .iter()
            .map(|outcome| count.observe(terms, *outcome))
            .collect()
    }

    fn terms(errors: u32, gateway: u32, local: Option<u32>) -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: errors,
            consecutive_gateway_errors: gateway,
            consecutive_local_failures: local,
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn so_many_in_a_row_are_one_too_many_and_a_success_begins_anew() {
        let three = terms(3, 0, None);
        let said = verdicts(
            &three,
            &[
                Answered(500),
                Answered(503),
                Answered(404),
                Answered(500),
                Failed,
                Answered(599),
            ],
        );
        assert_eq!(
            said,
            [None, None, None, None, None, Some("consecutive-5xx")]
        );
        assert_eq!(verdicts(&terms(0, 0, None), &[Failed; 50]), [None; 50]);
    }

    #[test]
    fn gateway_errors_are_told_apart() {
        let two = terms(0, 2, None);
        let said = verdicts(&two, &[Answered(502), Answered(500), Answered(503), Failed]);
        assert_eq!(said, [None, None, None, Some("consecutive-gateway-errors")]);
    }

    #[test]
    fn local_failures_count_alone_when_they_are_told_apart() {
        let split = terms(1, 1, Some(2));
        let said = verdicts(&split, &[Failed, Answered(200), Failed, Failed]);
        assert_eq!(said, [None, None, None, Some("consecutive-local-failures")]);
        assert_eq!(
            verdicts(&split, &[Failed, Answered(500)])[1],
            Some("consecutive-5xx")
        );
        assert_eq!(verdicts(&terms(1, 1, Some(0)), &[Failed; 9]), [None; 9]);
    }
}
