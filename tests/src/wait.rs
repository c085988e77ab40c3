//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Asks until it is so; panics with what was wanted when it is not in time.
pub fn until(what: &str, bound: Duration, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !so() {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until there is an answer; panics with the last reason when there is none in time.
pub fn answer<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) => {
                assert!(
                    Instant::now() < deadline,
                    "not within {bound:?}: {what}: {reason}"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
