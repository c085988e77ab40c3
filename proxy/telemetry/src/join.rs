//! Joins the traces of an app that does not pass trace context on.
//!
//! While exactly one inbound request is in progress in the pod, a request that the app sends
//! without any context can come from that one only (or from the app's own timers): it continues
//! its trace, marked as inferred, or its decision not to be sampled. With none or with several in
//! progress nothing is joined: never guessed. Work that an app does after it has answered is not
//! seen as belonging to the request. Costs two atomic additions per inbound request.

use crate::propagation::{FLAG_SAMPLED, RemoteContext};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Inbound requests in progress, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    in_progress: AtomicUsize,
    /// So that nothing is locked while nothing is sampled.
    sampled: AtomicUsize,
    spans: Mutex<Vec<RemoteContext>>,
}

/// What a request without context may be joined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// None or several requests are in progress.
    Unknown,
    /// The only one is not sampled.
    Unsampled,
    /// The only one has this span.
    Span(RemoteContext),
}

impl Joins {
    pub(crate) fn cause(&self) -> Cause {
        if self.in_progress.load(SeqCst) != 1 {
            return Cause::Unknown;
        }
        if self.sampled.load(SeqCst) == 0 {
            return Cause::Unsampled;
        }
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        // Read again: a span in the list was counted before it was put there.
        match (spans.as_slice(), self.in_progress.load(SeqCst)) {
            ([span], 1) => Cause::Span(*span),
            ([], 1) => Cause::Unsampled,
            _ => Cause::Unknown,
        }
    }
}

/// An inbound request or connection in progress. Hold it until the last byte of the answer.
#[derive(Debug)]
#[must_use = "dropping it says that the request is over"]
pub struct Serving {
    joins: Arc<Joins>,
    span_id: Option<u64>,
}

impl Serving {
    pub(crate) fn new(joins: &Arc<Joins>) -> Self {
        joins.in_progress.fetch_add(1, SeqCst);
        Self {
            joins: Arc::clone(joins),
            span_id: None,
        }
    }

    /// What the app now asks for continues from this span.
    pub(crate) fn sampled(&mut self, trace_id: u128, span_id: u64) {
        let span = RemoteContext {
            trace_id,
            span_id,
            flags: FLAG_SAMPLED,
            w3c: false,
        };
        self.joins
            .spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(span);
        self.joins.sampled.fetch_add(1, SeqCst);
        self.span_id = Some(span_id);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(span_id) = self.span_id {
            let mut spans = self
                .joins
                .spans
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            spans.retain(|span| span.span_id != span_id);
            self.joins.sampled.fetch_sub(1, SeqCst);
        }
        self.joins.in_progress.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_alone_is_a_cause() {
        let joins = Arc::new(Joins::default());
        assert_eq!(joins.cause(), Cause::Unknown);
        let plain = Serving::new(&joins);
        assert_eq!(joins.cause(), Cause::Unsampled);
        let mut sampled = Serving::new(&joins);
        sampled.sampled(7, 8);
        assert_eq!(joins.cause(), Cause::Unknown);
        drop(plain);
        assert!(
            matches!(joins.cause(), Cause::Span(span) if (span.trace_id, span.span_id) == (7, 8))
        );
        let mut second = Serving::new(&joins);
        second.sampled(7, 9);
        assert_eq!(joins.cause(), Cause::Unknown);
        drop(sampled);
        assert!(matches!(joins.cause(), Cause::Span(span) if span.span_id == 9));
        drop(second);
        assert_eq!(joins.cause(), Cause::Unknown);
        assert_eq!(joins.sampled.load(SeqCst), 0);
    }
}
