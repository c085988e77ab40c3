//! How long a served HTTP connection may do nothing: between requests, and in the middle of a head.
//! The connection is looked at now and then, so a request costs two integers and no timer; a head
//! that takes too long ends its connection within twice the time it may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::limits;

/// What one connection is doing. Only its own thread looks at it; atomic because an upgrade needs a
/// connection that can be sent to another.
pub(crate) struct Clock {
    started: Instant,
    /// Requests that are not answered whole.
    under_way: AtomicU32,
    /// When the last of them ended, in milliseconds.
    idle_since: AtomicU64,
    /// When the first bytes since then came, or [`NEVER`].
    head_since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// One request under way.
pub(crate) struct UnderWay(Arc<Clock>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let clock = &self.0;
        let others = clock.under_way.load(Relaxed) - 1;
        clock.under_way.store(others, Relaxed);
        clock.idle_since.store(clock.now(), Relaxed);
        clock.head_since.store(NEVER, Relaxed);
    }
}

impl Clock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            under_way: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
        })
    }

    fn now(&self) -> u64 {
        // Half a billion years fit.
        self.started.elapsed().as_millis() as u64
    }

    /// The peer has sent something.
    pub(crate) fn heard(&self) {
        if self.under_way.load(Relaxed) == 0 && self.head_since.load(Relaxed) == NEVER {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// A head is complete; the request lasts until the guard is dropped.
    pub(crate) fn asked(self: &Arc<Self>) -> UnderWay {
        self.under_way
            .store(self.under_way.load(Relaxed) + 1, Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Returns when the connection has waited too long, with what for.
    pub(crate) async fn expired(&self) -> &'static str {
        loop {
            sleep(limits::HEAD).await;
            if self.under_way.load(Relaxed) > 0 {
                continue;
            }
            let over = |since: u64, bound: Duration| {
                u128::from(self.now().saturating_sub(since)) >= bound.as_millis()
            };
            match self.head_since.load(Relaxed) {
                NEVER if over(self.idle_since.load(Relaxed), limits::DOWNSTREAM_IDLE) => {
                    return "no request came";
                }
                begun if begun != NEVER && over(begun, limits::HEAD) => return "no whole head came",
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
