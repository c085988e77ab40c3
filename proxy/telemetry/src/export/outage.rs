//! Says once that the collector is away and once that it is back, however many attempts fail
//! between.

use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    lost: u64,
}

impl Outage {
    pub(super) fn failed(&mut self, collector: &str, reason: &str) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(
                collector,
                reason,
                "spans cannot be exported; they are kept while the queue has room. Check that the \
                 collector runs and takes OTLP over gRPC"
            );
        }
    }

    pub(super) fn lost(&mut self, spans: u64) {
        self.lost += spans;
    }

    pub(super) fn succeeded(&mut self, collector: &str) {
        if let Some(since) = self.since.take() {
            let lost = std::mem::take(&mut self.lost);
            tracing::info!(collector, lost, away = ?since.elapsed(), "spans are exported again");
        }
    }

    #[cfg(test)]
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_and_ends_once() {
        let mut outage = Outage::default();
        outage.succeeded("a");
        assert!(!outage.is_on());
        outage.failed("a", "refused");
        outage.failed("a", "refused");
        outage.lost(3);
        assert!(outage.is_on());
        outage.succeeded("a");
        assert!(!outage.is_on());
        assert_eq!(outage.lost, 0);
    }
}
