//! Work inside a named network namespace: on a thread of its own, so that the test's other threads
//! stay where they are. Sockets stay in the namespace that they were made in.

use std::fs::File;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

/// Runs `work` on a thread in the namespace.
///
/// # Panics
/// When there is no such namespace.
pub fn spawn<T: Send + 'static>(
    netns: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let path = format!("/run/netns/{netns}");
    std::thread::spawn(move || {
        let file = File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("{path}: {e}"));
        work()
    })
}

/// Runs `work` in the namespace and waits for it.
///
/// # Panics
/// When it panics, or there is no such namespace.
pub fn run<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn(netns, work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
