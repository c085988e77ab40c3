//! A pod's life, from its sandbox to its end.

use std::time::Duration;

use tokio::sync::watch;

use crate::PodStatus;

/// A running pod; dropping it does not stop the pod, [`PodHandle::stop`] does.
#[derive(Debug)]
pub struct PodHandle {
    status: watch::Receiver<PodStatus>,
    stop: watch::Sender<Option<Duration>>,
    task: tokio::task::JoinHandle<()>,
}

impl PodHandle {
    /// The pod's status, and its changes.
    pub fn status(&self) -> watch::Receiver<PodStatus> {
        self.status.clone()
    }

    /// Stops the pod in order and removes its sandbox; `grace` overrides the pod's own period.
    pub async fn stop(self, grace: Option<Duration>) {
        self.stop.send_replace(Some(grace.unwrap_or(Duration::MAX)));
        // The task bounds every wait of its own by the grace period.
        let _ = self.task.await;
    }
}
