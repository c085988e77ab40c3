//! How many tasks the sidecar's runtimes have alive: a number that must come back to where it was
//! when the load has gone. Counted by the runtimes themselves, and asked for at a scrape alone.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeMetrics};

/// The runtimes: one for each worker, and the one that everything else runs on. Clone is a reference
/// count.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<Vec<RuntimeMetrics>>>);

impl Tasks {
    /// Counts the runtime that this is called on.
    pub(crate) fn count_own(&self) {
        let mut runtimes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.push(Handle::current().metrics());
    }

    /// Those alive now.
    pub(crate) fn alive(&self) -> usize {
        let runtimes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.iter().map(RuntimeMetrics::num_alive_tasks).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    #[test]
    fn local_tasks_are_counted_while_they_live() {
        let runtime = Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let tasks = Tasks::default();
            tasks.count_own();
            let before = tasks.alive();
            let task = tokio::task::spawn_local(std::future::pending::<()>());
            assert_eq!(tasks.alive(), before + 1);
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(tasks.alive(), before);
        });
    }
}
