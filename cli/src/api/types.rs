//! What goes over the socket, and what `-o json` prints: one set of types, so that scripts and the
//! command line see the same.

use std::net::IpAddr;

use heddle_proxy_config::decision;
use serde::{Deserialize, Serialize};

use crate::manifests::{Key, Problem};
use crate::traces::Usage;

/// `heddle status -o json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) mesh: String,
    pub(crate) trust_domain: String,
    /// Every pod is ready and every part of the mesh runs.
    pub(crate) ready: bool,
    pub(crate) pods: Vec<Pod>,
    pub(crate) control_plane: Part,
    pub(crate) identity: Part,
    pub(crate) injector: Part,
    pub(crate) traces: Traces,
    pub(crate) dns: Dns,
    /// Of the control plane's model; 0 while it is away.
    pub(crate) model_version: u64,
    pub(crate) refused: Vec<Problem>,
    /// Objects in force that are likely to be mistakes.
    pub(crate) warnings: Vec<Problem>,
    /// Worth knowing, and nothing was refused for it.
    pub(crate) notes: Vec<String>,
    pub(crate) daemon_pid: u32,
    pub(crate) state_dir: String,
    /// What is read and watched.
    pub(crate) paths: Vec<String>,
}

/// One pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Kind and name of what made it.
    pub(crate) owner: String,
    /// Of the owner's template.
    #[serde(default)]
    pub(crate) revision: String,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) netns: String,
    pub(crate) node: String,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) reason: Option<String>,
    pub(crate) injected: bool,
    /// Why it has no sidecar.
    pub(crate) not_injected_because: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) proxy_pid: Option<u32>,
    pub(crate) app_pids: Vec<u32>,
    pub(crate) certificate_expiry: Option<String>,
    pub(crate) config_version: Option<String>,
    pub(crate) config_synced: Option<bool>,
    pub(crate) restarts: u32,
    pub(crate) nacks: Vec<Nack>,
    pub(crate) started: String,
    pub(crate) containers: Vec<Container>,
}

/// A resource that a sidecar refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Nack {
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// One container of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) reason: Option<String>,
    pub(crate) log: String,
}

/// A process of the mesh itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) address: String,
    /// Where it tells about itself, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) admin: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) ready: bool,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    pub(crate) restarts: u32,
    pub(crate) log: String,
}

/// The trace store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Traces {
    pub(crate) address: String,
    pub(crate) ready: bool,
    pub(crate) forwarded_to: Option<String>,
    #[serde(flatten)]
    pub(crate) usage: Usage,
}

/// Cluster DNS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Dns {
    pub(crate) address: String,
    pub(crate) names: usize,
}

/// A document that somebody wants applied, as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Objects to delete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deletion {
    pub(crate) keys: Vec<Key>,
}

/// What the sidecar of a pod is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) question: Question,
}

/// What becomes of this.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// From the pod.
    Request(decision::Asked),
    /// To the pod.
    Connection(decision::AskedInbound),
}

/// What became of an apply or a delete.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) changes: Vec<Change>,
    /// What was refused of what was sent, by the daemon or by the control plane.
    pub(crate) refused: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) notes: Vec<String>,
}

/// `deployment/reviews-v1 configured`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) outcome: String,
}

/// Which objects `get` wants.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Query {
    /// Manifest names of kinds, separated by commas; empty: every kind.
    #[serde(default)]
    pub(crate) kinds: String,
    #[serde(default)]
    pub(crate) namespace: Option<String>,
    #[serde(default)]
    pub(crate) name: Option<String>,
}

/// Why a request failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) advice: Option<String>,
}
