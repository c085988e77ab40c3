//! How a sidecar ends. Connections are told to end as soon as they politely can, and those that do not
//! are waited for until one deadline. It runs from the first who says that the pod is ending: SIGTERM,
//! or a preStop hook (`heddle-proxy wait --drained`). Draining alone has none: a pod may be drained
//! for as long as somebody likes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::worker::Phase;

/// Between looks at the connections and at the application: what waits is the end of a pod.
const LOOK: Duration = Duration::from_millis(20);

/// The end of one sidecar; all clones are of the same.
#[derive(Clone)]
pub(crate) struct Drain(Arc<Shared>);

struct Shared {
    phase: watch::Sender<Phase>,
    /// Under way, over all workers.
    connections: Arc<AtomicUsize>,
    grace: Duration,
    deadline: OnceLock<Instant>,
}

impl Drain {
    pub(crate) fn new(grace: Duration) -> Self {
        Self(Arc::new(Shared {
            phase: watch::Sender::new(Phase::Serving),
            connections: Arc::default(),
            grace,
            deadline: OnceLock::new(),
        }))
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Where workers count their connections.
    pub(crate) fn connections(&self) -> &Arc<AtomicUsize> {
        &self.0.connections
    }

    /// Begins to drain, once.
    pub(crate) fn begin(&self) {
        self.0.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Draining;
                tracing::info!("draining");
            }
            serving
        });
    }

    /// The pod is ending: drains, and waits until no connection is left, at most until the deadline.
    pub(crate) async fn ended(&self) -> usize {
        self.ended_unless(|| false).await
    }

    /// The same, and as long as the application takes connections: it may still open some.
    pub(crate) async fn ended_after_app(&self) -> usize {
        self.ended_unless(app_listens).await
    }

    async fn ended_unless(&self, still: impl Fn() -> bool) -> usize {
        self.begin();
        let deadline = *self
            .0
            .deadline
            .get_or_init(|| Instant::now() + self.0.grace);
        let mut phase = self.phase();
        loop {
            let left = self.0.connections.load(Ordering::Relaxed);
            let over = Instant::now() >= deadline || *phase.borrow_and_update() == Phase::Stopped;
            if over || left == 0 && !still() {
                return left;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends every worker.
    pub(crate) fn stop(&self) {
        self.0.phase.send_replace(Phase::Stopped);
    }

    /// Returns when the workers are to end.
    pub(crate) async fn stopped(&self) {
        let mut phase = self.phase();
        // An error: the sidecar is gone altogether.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    }
}

/// Whether somebody but the sidecar listens in this network namespace: then the application has not
/// ended.
fn app_listens() -> bool {
    let own = nix::unistd::getuid().as_raw();
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // One that cannot be read, where there is no IPv6, holds nobody.
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table
            .lines()
            .skip(1)
            .any(|line| listener(line).is_some_and(|uid| uid != own))
    })
}

/// Whose a line of the kernel's table is, if it is of a listening socket.
fn listener(line: &str) -> Option<u32> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    if fields.nth(3)? != LISTEN {
        return None;
    }
    fields.nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn listeners_are_told_from_connections_with_their_owner() {
        let table = "\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 32 1 0 20 4 30 10 -1
   2: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 33 1 0 100 0 0 10 0
  odd";
        let owners: Vec<_> = table.lines().map(listener).collect();
        assert_eq!(owners, [Some(1000), None, Some(1337), None]);
    }

    #[tokio::test]
    async fn connections_are_waited_for_until_one_deadline() {
        let drain = Drain::new(Duration::from_millis(100));
        drain.connections().store(2, Ordering::Relaxed);
        drain.begin();
        assert_eq!(*drain.phase().borrow(), Phase::Draining);
        assert!(
            drain.0.deadline.get().is_none(),
            "draining alone has no deadline"
        );
        assert_eq!(drain.ended().await, 2);
        let deadline = *drain.0.deadline.get().unwrap();
        assert!(Instant::now() >= deadline);
        assert_eq!(drain.ended().await, 2, "asked again, it is over at once");
        assert_eq!(*drain.0.deadline.get().unwrap(), deadline);
    }

    #[tokio::test]
    async fn nothing_left_is_the_end() {
        let drain = Drain::new(Duration::from_secs(3600));
        drain.connections().store(1, Ordering::Relaxed);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.ended().await }
        });
        tokio::task::yield_now().await;
        drain.connections().store(0, Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_stops_now_does_not_wait() {
        let drain = Drain::new(Duration::from_secs(3600));
        drain.connections().store(1, Ordering::Relaxed);
        drain.stop();
        assert_eq!(drain.ended().await, 1);
        drain.stopped().await;
    }
}
