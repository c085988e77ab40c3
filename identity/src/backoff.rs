//! The one backoff of the mesh: exponential, with full jitter.
//!
//! Each delay is drawn evenly from zero to a ceiling that doubles from `base` to `max`, so that
//! clients that failed together do not come back together. It never gives up; the caller resets
//! it after a success.

use std::time::Duration;

use rand::RngExt;

/// Delays before each next attempt.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// The first delay is at most `base`; none is longer than `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        let max = max.max(base);
        Self {
            base,
            max,
            ceiling: base,
        }
    }

    /// How long to wait before the next attempt.
    #[allow(clippy::should_implement_trait)] // the iterator it would make never ends
    pub fn next(&mut self) -> Duration {
        self.next_with(&mut rand::rng())
    }

    /// After a success: the next failure waits at most `base` again.
    pub fn reset(&mut self) {
        self.ceiling = self.base;
    }

    /// The same after something that ended and had held for `lasted`: for longer than any delay, that was
    /// a success.
    pub fn next_after(&mut self, lasted: Duration) -> Duration {
        if lasted > self.max {
            self.reset();
        }
        self.next()
    }

    fn next_with(&mut self, random: &mut impl rand::Rng) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        random.random_range(Duration::ZERO..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn ceilings_double_up_to_the_longest_and_reset() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(BASE, MAX);
            for attempt in 0..40_u32 {
                let ceiling = BASE.saturating_mul(1 << attempt.min(20)).min(MAX);
                assert!(
                    backoff.next_with(&mut random) <= ceiling,
                    "seed {seed} attempt {attempt}"
                );
            }
            backoff.reset();
            assert!(backoff.next_with(&mut random) <= BASE);
        }
    }

    #[test]
    fn what_ends_again_and_again_is_waited_for_longer_until_it_has_held() {
        let mut backoff = Backoff::new(BASE, MAX);
        let quick: Duration = (0..100).map(|_| backoff.next_after(Duration::ZERO)).sum();
        assert!(quick > MAX * 20, "{quick:?}");
        assert!(backoff.next_after(MAX * 2) <= BASE);
    }

    #[test]
    fn delays_use_the_whole_range() {
        let mut random = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::new(MAX, MAX);
        let delays: Vec<_> = (0..1000).map(|_| backoff.next_with(&mut random)).collect();
        let mean = delays.iter().sum::<Duration>() / 1000;
        assert!(delays.iter().any(|d| *d < MAX / 20) && delays.iter().any(|d| *d > MAX / 20 * 19));
        assert!(mean > MAX / 100 * 45 && mean < MAX / 100 * 55, "{mean:?}");
    }

    #[test]
    fn a_base_above_the_maximum_and_a_zero_base_are_harmless() {
        let mut wide = Backoff::new(MAX, BASE);
        assert!(wide.next() <= MAX);
        let mut zero = Backoff::new(Duration::ZERO, MAX);
        assert_eq!(zero.next(), Duration::ZERO);
        assert_eq!(zero.next(), Duration::ZERO);
    }
}
