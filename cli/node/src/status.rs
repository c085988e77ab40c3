//! What a pod tells of itself: the part of Kubernetes' PodStatus that `heddle` shows and waits for.

use std::{net::IpAddr, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its sandbox is being made or its init containers run.
    Pending,
    /// Its app containers have been started.
    Running,
    /// All app containers ended well and will not be restarted.
    Succeeded,
    /// A container failed and will not be restarted, or the pod cannot run at all.
    Failed,
    /// It was told to stop.
    Terminating,
}

/// What one pod is like now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its named network namespace.
    pub netns: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Every app container and sidecar is ready.
    pub ready: bool,
    /// Why it is not ready, or not running: for people.
    pub reason: Option<String>,
    /// Its addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// Its containers: init containers in order, then app containers in order.
    pub containers: Vec<ContainerStatus>,
    /// The sidecar's process (the running container named `heddle-proxy`).
    pub proxy_pid: Option<u32>,
    /// When it was started.
    pub started_at: SystemTime,
}

impl PodStatus {
    /// The container that `heddle exec` enters: the one named, or the first app container.
    pub fn container(&self, name: Option<&str>) -> Option<&ContainerStatus> {
        match name {
            Some(name) => self.containers.iter().find(|c| c.name == name),
            None => {
                let mut apps = self
                    .containers
                    .iter()
                    .filter(|c| c.kind == ContainerKind::App);
                let first = apps.clone().next();
                apps.find(|c| c.name != PROXY_CONTAINER).or(first)
            }
        }
    }
}

/// The name the injector gives the sidecar's container.
pub const PROXY_CONTAINER: &str = "heddle-proxy";

/// What part a container plays in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that stays (`restartPolicy: Always`).
    Sidecar,
    /// One of `spec.containers`.
    App,
}

/// What one container does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its part in the pod.
    pub kind: ContainerKind,
    /// Waiting, running or terminated.
    pub state: ContainerState,
    /// Its startup probe has succeeded (or it has none and runs).
    pub started: bool,
    /// It is ready to serve; for an init container: it has ended well.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Its process while it runs.
    pub pid: Option<u32>,
    /// When its process was started.
    pub started_at: Option<SystemTime>,
    /// How its last process ended.
    pub last_exit: Option<Exit>,
    /// Why it waits or is not ready: for people.
    pub reason: Option<String>,
    /// What it wrote.
    pub log: PathBuf,
}

/// Whether a container has a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Not started yet, or waiting to be started again.
    Waiting,
    /// Has a process.
    Running,
    /// Ended, and will not be started again.
    Terminated,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Its exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: SystemTime,
    /// Why it was ended or could not start, when the node knows.
    pub reason: Option<String>,
}
