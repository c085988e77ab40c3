//! How long to wait before a container that ended is started again.
//!
//! At once the first time; then within a second, doubling to half a minute, jittered. A run of ten
//! seconds counts as good, and the next failure is a first one again.

use std::time::Duration;

use heddle_identity::backoff::Backoff;

const BASE: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);
const GOOD: Duration = Duration::from_secs(10);

/// Waits before restarts of one container.
#[derive(Debug)]
pub(crate) struct RestartBackoff {
    later: Backoff,
    failed: bool,
}

impl RestartBackoff {
    /// Before the first failure.
    pub(crate) fn new() -> Self {
        Self {
            later: Backoff::new(BASE, MAX),
            failed: false,
        }
    }

    /// The wait after a process that ran for `ran`.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD {
            *self = Self::new();
        }
        if std::mem::replace(&mut self.failed, true) {
            self.later.next()
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_a_good_run_forgives() {
        let mut backoff = RestartBackoff::new();
        let short = Duration::from_millis(5);
        assert_eq!(backoff.after(short), Duration::ZERO);
        let waits: Vec<Duration> = (0..50).map(|_| backoff.after(short)).collect();
        assert!(waits.iter().all(|wait| *wait <= MAX));
        assert!(waits.iter().any(|wait| *wait > BASE));
        assert_eq!(backoff.after(GOOD), Duration::ZERO);
    }
}
