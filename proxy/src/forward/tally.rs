//! What one worker counts of requests beside their ends: repetitions, and copies to mirrors. None of
//! it is on the way of a request that is sent once.

use std::cell::RefCell;
use std::collections::HashMap;

use heddle_proxy_config::snapshot::Name;
use heddle_proxy_telemetry::{Counter, Metrics};

/// Handles that are kept; a service whose handle was let go of is looked up again.
const KEPT: usize = 1024;

/// Counters, by what they are of.
pub(crate) struct Tally {
    metrics: Metrics,
    retried: RefCell<HashMap<(Option<Name>, &'static str), Counter>>,
    others: RefCell<HashMap<(&'static str, &'static str), Counter>>,
}

impl Tally {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            retried: RefCell::default(),
            others: RefCell::default(),
        }
    }

    /// A request is tried again.
    pub(crate) fn retried(&self, service: Option<&Name>, reason: &'static str) {
        let mut kept = self.retried.borrow_mut();
        if kept.len() >= KEPT {
            kept.clear();
        }
        let counter = kept.entry((service.cloned(), reason)).or_insert_with(|| {
            let service = service.map_or("unknown", Name::as_str);
            self.metrics.counter(
                "heddle_retries_total",
                "Requests that were tried again, by destination and by why.",
                &[("destination_service", service), ("reason", reason)],
            )
        });
        counter.inc();
    }

    /// A request is not tried again, though its route asks for it.
    pub(crate) fn denied(&self, reason: &'static str) {
        let name = "heddle_retries_denied_total";
        let help = "Requests that were not tried again: the attempts or the budget are spent.";
        self.count(name, help, "reason", reason);
    }

    /// What became of a copy to a mirror.
    pub(crate) fn mirrored(&self, result: &'static str) {
        let name = "heddle_mirrored_requests_total";
        let help = "Copies of requests to mirrors, by what became of them.";
        self.count(name, help, "result", result);
    }

    fn count(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        value: &'static str,
    ) {
        let mut kept = self.others.borrow_mut();
        let counter = kept
            .entry((name, value))
            .or_insert_with(|| self.metrics.counter(name, help, &[(label, value)]));
        counter.inc();
    }
}
