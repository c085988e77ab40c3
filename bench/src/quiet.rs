//! Whether the machine was ours alone: a measurement waits for a quiet moment, is made again when
//! others took much of the machine meanwhile, and says how much they took.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::peers::Peer;
use crate::stop;
use crate::usage::Machine;

/// Share of the machine that others may take before a measurement is made again.
pub(crate) const QUIET: f64 = 0.10;

/// What was not ours during one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    /// Share of the whole machine that others took, and that its hypervisor took.
    pub(crate) others: f64,
    pub(crate) stolen: f64,
}

impl Disturbance {
    pub(crate) fn share(&self) -> f64 {
        self.others + self.stolen
    }
}

/// Whether to wait for a quiet moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Wait,
    /// Measure once, at once.
    None,
}

/// Measures again, up to twice, while others are at work; the quietest counts. What is measured has no
/// say in it.
pub(crate) fn quietest<T>(
    patience: Patience,
    mut measure: impl FnMut() -> Result<(T, Disturbance)>,
) -> Result<(T, Disturbance)> {
    match patience {
        Patience::Wait => quietest_after(settle, measure),
        Patience::None => measure(),
    }
}

fn quietest_after<T>(
    settle: impl Fn() -> Result<()>,
    mut measure: impl FnMut() -> Result<(T, Disturbance)>,
) -> Result<(T, Disturbance)> {
    const ATTEMPTS: usize = 3;
    settle()?;
    let mut best = measure()?;
    for _ in 1..ATTEMPTS {
        if best.1.share() <= QUIET {
            break;
        }
        settle()?;
        let again = measure()?;
        if again.1.share() < best.1.share() {
            best = again;
        }
    }
    Ok(best)
}

/// Waits for a quiet moment, but not for ever: on a busy machine the figures come with a warning.
fn settle() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let before = Machine::now()?;
        stop::sleep(LOOK)?;
        let seen = Machine::now()?.since(before);
        // Nothing of ours is at work now.
        let busy = (seen.busy + seen.stolen).as_secs_f64();
        if busy <= QUIET * seen.total.as_secs_f64() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_quietest_attempt_counts() {
        let mut shares = [0.5, 0.2, 0.3].into_iter();
        let (share, seen) = quietest_after(
            || Ok(()),
            || {
                let others = shares.next().unwrap();
                let seen = Disturbance {
                    peer: Peer::Heddle,
                    round: 1,
                    others,
                    stolen: 0.0,
                };
                Ok((others, seen))
            },
        )
        .unwrap();
        assert_eq!((share, seen.share()), (0.2, 0.2));
    }
}
