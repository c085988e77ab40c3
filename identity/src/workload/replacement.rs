//! When a certificate that peers refuse is replaced: soon at first, spread over all that are refused at the
//! same moment, and ever more seldom while it goes on. It may be they who are wrong, and no certificate
//! helps then.

use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;

/// The first is asked for within this time: everybody may be refused at once.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// Between two at least, and the most that is added to it.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// Who is refused asks its peers again every few seconds: after so long without news they have accepted it.
const CALM: Duration = Duration::from_secs(60);

/// What is known of refusals.
#[derive(Debug)]
pub(super) struct Replacement {
    more: Backoff,
    /// When another certificate is asked for.
    at: Option<Instant>,
    /// The last refusal.
    heard: Option<Instant>,
}

impl Replacement {
    pub(super) fn new() -> Self {
        Self {
            more: Backoff::new(PAUSE, LONGEST),
            at: None,
            heard: None,
        }
    }

    /// A peer refuses the certificate; how long until another is asked for, unless that was settled
    /// already.
    pub(super) fn refused(&mut self, now: Instant) -> Option<Duration> {
        let goes_on = self.heard.replace(now);
        let goes_on = goes_on.is_some_and(|heard| now.duration_since(heard) < CALM);
        if self.at.is_some() {
            return None;
        }
        let wait = if goes_on {
            PAUSE + self.more.next()
        } else {
            self.more.reset();
            FIRST_WITHIN.mul_f64(rand::rng().random())
        };
        self.at = Some(now + wait);
        Some(wait)
    }

    /// Until another is to be asked for.
    pub(super) async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Another was asked for.
    pub(super) fn asked(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    /// The seconds at which one that is refused every three seconds asks for another.
    fn asks(from: Instant) -> Vec<u64> {
        let mut replacement = Replacement::new();
        let mut asks = Vec::new();
        for second in (0..DAY).step_by(3) {
            let now = from + Duration::from_secs(second);
            if replacement.at.is_some_and(|at| at <= now) {
                replacement.asked();
                asks.push(second);
            }
            replacement.refused(now);
        }
        asks
    }

    #[test]
    fn a_thousand_that_are_refused_for_a_day_do_not_ask_together() {
        let from = Instant::now();
        let all: Vec<_> = (0..1000).map(|_| asks(from)).collect();
        for asks in &all {
            assert!(asks[0] <= 12, "{asks:?}");
            assert!(asks.windows(2).all(|two| two[1] - two[0] >= 60), "{asks:?}");
            assert!((20..100).contains(&asks.len()), "{asks:?}");
        }
        // In the first minute they come within ten seconds, and then ever fewer at a time.
        let most = |first: u64, last: u64| {
            let mut seconds = vec![0; DAY as usize];
            for second in all.iter().flatten() {
                seconds[*second as usize] += 1;
            }
            seconds[first as usize..last as usize].iter().copied().max()
        };
        assert!(most(0, 60) < Some(450), "{:?}", most(0, 60));
        assert!(most(60, 3600) < Some(100), "{:?}", most(60, 3600));
        assert!(
            most(12 * 3600, DAY) < Some(20),
            "{:?}",
            most(12 * 3600, DAY)
        );
    }

    #[test]
    fn after_a_calm_it_is_asked_for_soon_again() {
        let mut replacement = Replacement::new();
        let mut now = Instant::now();
        for _ in 0..5 {
            let wait = replacement.refused(now).expect("it is asked for");
            assert!(wait <= FIRST_WITHIN, "{wait:?}");
            assert_eq!(replacement.refused(now), None, "once");
            replacement.asked();
            let again = replacement.refused(now).expect("it is asked for again");
            assert!(again >= PAUSE, "{again:?}");
            replacement.asked();
            now += CALM;
        }
    }
}
