//! What the daemon tells `heddle container-init`: everything is decided already, nothing is looked up.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitSpec {
    /// The file of the network namespace to enter.
    pub(crate) netns: PathBuf,
    /// The container's own view of the machine; none for a system component, which keeps ours.
    pub(crate) view: Option<View>,
    /// What to run, and as whom.
    pub(crate) process: ProcessSpec,
}

/// What a container sees of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Its host name.
    pub(crate) hostname: String,
    /// The directory with its resolv.conf, hosts and hostname.
    pub(crate) etc: PathBuf,
    /// The directory with the mesh's programs.
    pub(crate) bin_dir: PathBuf,
    /// Its volumes.
    pub(crate) mounts: Vec<MountSpec>,
    /// Whether everything but its volumes is read-only.
    pub(crate) read_only_root: bool,
}

/// A directory or file of this machine, seen elsewhere in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    /// What is mounted.
    pub(crate) source: PathBuf,
    /// Where.
    pub(crate) target: PathBuf,
    /// Whether it cannot be written to there.
    pub(crate) read_only: bool,
}

/// What to run, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    /// The command and its arguments; never empty.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) cwd: PathBuf,
    /// Its credentials.
    pub(crate) user: User,
}

/// A process's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The capabilities it may ever have, as a mask; only uid 0 has them from the start.
    pub(crate) capabilities: u64,
    /// Whether set-user-id programs are ordinary ones to it.
    pub(crate) no_new_privileges: bool,
}

/// A command to run in a pod that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnterSpec {
    /// The pod's network namespace.
    pub(crate) netns: PathBuf,
    /// The process whose namespaces, environment and credentials to take; none: the network only.
    pub(crate) pid: Option<u32>,
    /// What to run.
    pub(crate) argv: Vec<String>,
    /// The credentials where there is no process to take them from.
    pub(crate) user: User,
}
