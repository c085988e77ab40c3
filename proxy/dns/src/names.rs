//! What this crate must be told of the mesh's names.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// What a name that the mesh knows stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// May be none: a headless service without a ready pod.
    pub ips: Vec<IpAddr>,
    /// How long it may be kept.
    pub ttl: Duration,
}

/// What the mesh says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is one of the mesh's.
    Addresses(Addresses),
    /// It is not: the pod's own resolvers are to be asked.
    Unknown,
}

/// The mesh's names. A name is lower-case text without its final dot.
pub trait Names: Send + Sync {
    /// What is known at once; counts as a use of the name.
    fn held(&self, name: &str) -> Option<Known>;

    /// Asks the control plane and waits for its answer, bounded; `None`: it did not come.
    fn ask<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Known>>;
}
