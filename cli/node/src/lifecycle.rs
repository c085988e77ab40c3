//! A pod's life, from its sandbox to its end.
//!
//! One task owns a pod: it makes the sandbox and the volumes, runs init containers one after another,
//! starts the app's containers, keeps the volumes fresh, and takes everything away in the order a
//! kubelet would. Each container has a supervisor of its own; what they all do is on the [`Board`].

mod attend;
mod backoff;
mod board;
mod check;
mod container;
mod context;
mod dial;
mod fresh;
mod hook;
mod insecure;
mod pod;
mod probe;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1 as k8s;
use tokio::{sync::watch, task::JoinHandle};

pub(crate) use self::backoff::RestartBackoff;
use self::{board::Board, context::PodContext};
use crate::{DualIp, Node, PodStatus};

/// A running pod. Dropping the handle leaves it running; [`PodHandle::stop`] takes it away.
#[derive(Debug)]
pub struct PodHandle {
    status: watch::Receiver<PodStatus>,
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl PodHandle {
    /// Starts a pod at an address that the caller keeps for it.
    pub fn start(node: &Arc<Node>, pod: k8s::Pod, ip: DualIp) -> Self {
        let context = Arc::new(PodContext::new(node.clone(), pod, ip));
        let board = Board::new(&context);
        let status = board.subscribe();
        let grace = context.grace();
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(pod::Runner::new(context, board, stopped, grace).run());
        Self { status, stop, task }
    }

    /// The pod's status, and its changes.
    pub fn status(&self) -> watch::Receiver<PodStatus> {
        self.status.clone()
    }

    /// Asks the pod to stop; `grace` overrides its own termination grace period.
    pub fn request_stop(&self, grace: Option<Duration>) {
        self.stop.send_replace(Some(grace.unwrap_or(Duration::MAX)));
    }

    /// Stops the pod in order and removes its sandbox and volumes; returns when they are gone.
    pub async fn stop(self, grace: Option<Duration>) {
        self.request_stop(grace);
        // The task bounds every wait of its own by the grace period; a panic in it was logged.
        let _ = self.task.await;
    }
}
