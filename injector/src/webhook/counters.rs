//! The webhook's own metrics, in Prometheus' text format. A fixed set of series.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const OUTCOMES: [&str; 7] = [
    "injected",
    "unchanged",
    "skipped",
    "refused",
    "ignored",
    "bad_request",
    "unavailable",
];
/// Seconds; the target is a p99 of 5 ms.
const BUCKETS: [f64; 8] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0];

#[derive(Debug, Default)]
pub(super) struct Counters {
    outcomes: [AtomicU64; OUTCOMES.len()],
    buckets: [AtomicU64; BUCKETS.len()],
    micros: AtomicU64,
}

pub(super) struct Timer(Instant);

impl Counters {
    pub(super) fn start(&self) -> Timer {
        Timer(Instant::now())
    }

    pub(super) fn done(&self, Timer(started): Timer, outcome: &str) {
        let took = started.elapsed();
        if let Some(index) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.outcomes[index].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(index) = BUCKETS
            .iter()
            .position(|bound| took.as_secs_f64() <= *bound)
        {
            self.buckets[index].fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "# HELP heddle_injector_reviews_total Admission requests by what became of them.\n\
             # TYPE heddle_injector_reviews_total counter\n",
        );
        let mut total = 0;
        // Writing to a String does not fail.
        for (outcome, count) in OUTCOMES.iter().zip(&self.outcomes) {
            let count = count.load(Ordering::Relaxed);
            total += count;
            let _ = writeln!(
                text,
                "heddle_injector_reviews_total{{outcome=\"{outcome}\"}} {count}"
            );
        }
        text.push_str(
            "# HELP heddle_injector_review_duration_seconds Time to answer an admission request.\n\
             # TYPE heddle_injector_review_duration_seconds histogram\n",
        );
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "heddle_injector_review_duration_seconds_bucket{{le=\"{bound}\"}} {below}"
            );
        }
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(
            text,
            "heddle_injector_review_duration_seconds_bucket{{le=\"+Inf\"}} {total}"
        );
        let _ = writeln!(
            text,
            "heddle_injector_review_duration_seconds_sum {seconds}"
        );
        let _ = writeln!(
            text,
            "heddle_injector_review_duration_seconds_count {total}"
        );
        text
    }
}
