//! What is said of a cluster: which one, and what is installed there.

use clap::{Args, ValueEnum};

/// Which mesh is asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// The cluster of KUBECONFIG, in place of the mesh on this machine.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Its context in KUBECONFIG; the current one unless given.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Three replicas of each part, never two more on one node than on another.
    #[arg(long)]
    pub(crate) ha: bool,
    /// Where the mesh's own parts run.
    #[arg(short, long, value_name = "NS", default_value = "heddle-system")]
    pub(crate) namespace: String,
    /// Trust domain of every identity.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) trust_domain: Option<String>,
    /// Where images are: REGISTRY/proxy:TAG, /identity, /control, /injector.
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) image_registry: Option<String>,
    /// Their tag.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Sidecars as init containers that go on (Kubernetes 1.29 or newer).
    #[arg(long, value_name = "BOOL")]
    pub(crate) native_sidecars: Option<bool>,
    /// A CNI plugin programs the redirect: pods need no capabilities for it.
    #[arg(long)]
    pub(crate) cni: bool,
    /// Which definitions of Istio's kinds to print: those that the cluster has not, by asking it, or all,
    /// or none.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Definitions::All)]
    pub(crate) crds: Definitions,
    /// Any setting (docs/kubernetes.md); may be repeated, the last one holds.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Definitions {
    /// Every one that we read.
    All,
    /// Those that the cluster of KUBECONFIG does not have.
    Missing,
    /// None: another mesh's are there.
    None,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Where the mesh's own parts run.
    #[arg(short, long, value_name = "NS", default_value = "heddle-system")]
    pub(crate) namespace: String,
    /// Also the root's Secret and the namespace: no certificate can be renewed any more.
    #[arg(long)]
    pub(crate) purge: bool,
}
