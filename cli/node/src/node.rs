//! What every pod of one mesh shares: where things are, keys, sockets, the cluster's objects.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{Layout, NodeError, NodeSockets, Objects, TokenMinter};

/// What the caller decides about a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The program that is run again as `container-init`: `heddle` itself.
    pub program: PathBuf,
    /// The issuer that tokens name.
    pub issuer: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// ConfigMaps and Secrets, now and later.
    pub objects: watch::Receiver<Arc<Objects>>,
}

/// The running half of a node; its network is made before, by [`crate::create`].
#[derive(Debug)]
pub struct Node {
    /// Names, directories, addresses.
    pub layout: Layout,
    /// Signs service-account tokens.
    pub tokens: TokenMinter,
    /// Makes sockets in the node namespace.
    pub sockets: NodeSockets,
    pub(crate) options: NodeOptions,
}

impl Node {
    /// Opens the node namespace of a mesh that has been made.
    pub fn open(layout: Layout, options: NodeOptions) -> Result<Arc<Self>, NodeError> {
        let tokens = TokenMinter::open(&layout, &options.issuer)?;
        let sockets = NodeSockets::open(&layout.node_netns())?;
        Ok(Arc::new(Self {
            layout,
            tokens,
            sockets,
            options,
        }))
    }

    /// The directory whose programs containers find in their PATH.
    pub fn bin_dir(&self) -> &Path {
        self.options.program.parent().unwrap_or(Path::new("/"))
    }
}
