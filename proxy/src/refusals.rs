//! Connections that a worker refused: counted each, by reason, and warned of as long as there are few.
//! A peer that is refused all the time fills no log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use heddle_proxy_telemetry::{Counter, Metrics};

use crate::limits::{REFUSAL_WARNINGS, REFUSAL_WINDOW};

/// By reason: one of a fixed few.
#[derive(Default)]
pub(crate) struct Refusals(RefCell<HashMap<&'static str, Reason>>);

struct Reason {
    counter: Counter,
    since: Instant,
    /// Since then.
    warned: u32,
    silent: u64,
}

impl Refusals {
    /// Counts one. Whether it is to be warned of, and how many before it were not.
    pub(crate) fn count(
        &self,
        reason: &'static str,
        metrics: &Metrics,
        now: Instant,
    ) -> Option<u64> {
        let mut all = self.0.borrow_mut();
        let known = all.entry(reason).or_insert_with(|| Reason {
            counter: metrics.counter(
                "heddle_connections_refused_total",
                "Connections that the sidecar refused, by reason.",
                &[("reason", reason)],
            ),
            since: now,
            warned: 0,
            silent: 0,
        });
        known.counter.inc();
        if now.saturating_duration_since(known.since) >= REFUSAL_WINDOW {
            known.since = now;
            known.warned = 0;
        }
        if known.warned >= REFUSAL_WARNINGS {
            known.silent += 1;
            return None;
        }
        known.warned += 1;
        Some(std::mem::take(&mut known.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_warned_of_and_the_others_are_summed_up() {
        let (refusals, metrics, start) = (Refusals::default(), Metrics::default(), Instant::now());
        for _ in 0..REFUSAL_WARNINGS {
            assert_eq!(refusals.count("loop", &metrics, start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(refusals.count("loop", &metrics, start), None);
        }
        assert_eq!(refusals.count("tls", &metrics, start), Some(0));
        let later = start + REFUSAL_WINDOW;
        assert_eq!(refusals.count("loop", &metrics, later), Some(5));
        assert_eq!(refusals.count("loop", &metrics, later), Some(0));
    }
}
