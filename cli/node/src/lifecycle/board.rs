//! A pod's status as its parts report it, and what follows from the parts.
//!
//! The only writer of the watch. Ready, the reason for people and the sidecar's pid are worked out
//! after every change, so that no reader sees them disagree with the containers.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;

use super::context::PodContext;
use crate::status::{
    ContainerKind, ContainerState, ContainerStatus, PROXY_CONTAINER, Phase, PodStatus,
};

/// Shared by the pod's task and its containers'.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    status: Arc<watch::Sender<PodStatus>>,
}

impl Board {
    pub(crate) fn new(context: &PodContext) -> Self {
        let containers = context
            .containers()
            .into_iter()
            .map(|(container, kind)| ContainerStatus {
                log: context.log(&container.name),
                name: container.name,
                kind,
                state: ContainerState::Waiting,
                started: false,
                ready: false,
                restarts: 0,
                pid: None,
                started_at: None,
                last_exit: None,
                reason: Some("waits for its turn".to_owned()),
            })
            .collect();
        let layout = &context.node.layout;
        let status = PodStatus {
            namespace: context.namespace.clone(),
            name: context.name.clone(),
            uid: context.uid.clone(),
            netns: layout.pod_netns(&context.namespace, &context.name),
            phase: Phase::Pending,
            ready: false,
            reason: Some("its sandbox is being made".to_owned()),
            ips: context.ips().to_vec(),
            containers,
            proxy_pid: None,
            started_at: SystemTime::now(),
        };
        Self {
            status: Arc::new(watch::Sender::new(status)),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<PodStatus> {
        self.status.subscribe()
    }

    pub(crate) fn phase(&self, phase: Phase, reason: Option<String>) {
        self.change(|status| {
            status.phase = phase;
            status.reason = reason;
        });
    }

    /// Changes one container's status.
    pub(crate) fn container(&self, index: usize, change: impl FnOnce(&mut ContainerStatus)) {
        self.change(|status| {
            if let Some(container) = status.containers.get_mut(index) {
                change(container);
            }
        });
    }

    /// Reads one container's status.
    pub(crate) fn read(&self, index: usize) -> Option<ContainerStatus> {
        self.status.borrow().containers.get(index).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut PodStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            derive(status);
            *status != before
        });
    }
}

fn derive(status: &mut PodStatus) {
    let proxy = status.containers.iter().find(|c| c.name == PROXY_CONTAINER);
    status.proxy_pid = proxy.and_then(|container| container.pid);
    let waited_for = status
        .containers
        .iter()
        .filter(|c| c.kind != ContainerKind::Init)
        .find(|c| !c.ready);
    status.ready = status.phase == Phase::Running && waited_for.is_none();
    match status.phase {
        Phase::Running => {
            status.reason = waited_for.map(explain);
        }
        Phase::Pending => {
            // The first container whose turn it is; before that the task's own words stand.
            let current = status.containers.iter().find(|c| {
                c.kind == ContainerKind::Init && !c.ready && c.state != ContainerState::Terminated
                    || c.kind != ContainerKind::Init && !c.started
            });
            let began = current.filter(|c| c.started_at.is_some() || c.last_exit.is_some());
            if let Some(container) = began {
                status.reason = Some(explain(container));
            }
        }
        _ => {}
    }
}

fn explain(container: &ContainerStatus) -> String {
    let kind = match container.kind {
        ContainerKind::Init => "init container",
        ContainerKind::Sidecar => "sidecar",
        ContainerKind::App => "container",
    };
    let why = container
        .reason
        .as_deref()
        .unwrap_or(match container.state {
            ContainerState::Waiting => "waits",
            ContainerState::Running => "is not ready yet",
            ContainerState::Terminated => "has ended",
        });
    format!("{kind} {}: {why}", container.name)
}
