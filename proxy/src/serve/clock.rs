//! How long a served HTTP connection may do nothing: between requests, and in the middle of a head.
//! It is looked at now and then, so a request reads no clock and sets no timer; what takes too long
//! is found a look or two later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::sleep;

use crate::limits;

/// Between two looks.
const LOOK: Duration = limits::HEAD;

/// What one connection is doing. Only its own thread looks at it; atomic because an upgrade needs a
/// connection that can be sent to another.
#[derive(Default)]
pub(crate) struct Clock {
    /// Requests that are not answered whole.
    under_way: AtomicU32,
    /// Requests that ever came; wraps.
    requests: AtomicU32,
    /// Something has come since the last request was answered whole.
    head_begun: AtomicBool,
}

/// One request under way.
pub(crate) struct UnderWay(Arc<Clock>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let clock = &self.0;
        let others = clock.under_way.load(Relaxed) - 1;
        clock.under_way.store(others, Relaxed);
        clock.head_begun.store(false, Relaxed);
    }
}

impl Clock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::default()
    }

    /// The peer has sent something.
    pub(crate) fn heard(&self) {
        if self.under_way.load(Relaxed) == 0 {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// A head is complete; the request lasts until the guard is dropped.
    pub(crate) fn asked(self: &Arc<Self>) -> UnderWay {
        self.under_way
            .store(self.under_way.load(Relaxed) + 1, Relaxed);
        self.requests
            .store(self.requests.load(Relaxed).wrapping_add(1), Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Returns when the connection has waited too long, with what for.
    pub(crate) async fn expired(&self) -> &'static str {
        let mut seen = None;
        let mut idle = Duration::ZERO;
        loop {
            sleep(LOOK).await;
            if self.under_way.load(Relaxed) > 0 {
                seen = None;
                continue;
            }
            let now = (self.requests.load(Relaxed), self.head_begun.load(Relaxed));
            if seen.replace(now) != Some(now) {
                idle = Duration::ZERO;
                continue;
            }
            idle += LOOK;
            match now {
                (_, true) if idle >= limits::HEAD => return "no whole head came",
                (_, false) if idle >= limits::DOWNSTREAM_IDLE => return "no request came",
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_lasts_an_hour() {
        let clock = Clock::start();
        let begun = Instant::now();
        assert_eq!(clock.expired().await, "no request came");
        assert!((3600..3620).contains(&begun.elapsed().as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_not_waited_for() {
        let clock = Clock::start();
        clock.heard();
        let begun = Instant::now();
        assert_eq!(clock.expired().await, "no whole head came");
        assert!((10..=20).contains(&begun.elapsed().as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_last() {
        let clock = Clock::start();
        clock.heard();
        let request = clock.asked();
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, clock.expired()).await.is_err());
        clock.heard();
        drop(request);
        let begun = Instant::now();
        assert_eq!(clock.expired().await, "no request came");
        assert!(begun.elapsed().as_secs() >= 3600);
    }
}
