//! What the rest of the sidecar hands in: its state to show, and the two things that can be asked of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{SemaphorePermit, watch};

/// Whether the sidecar takes traffic, and in words why or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not, or since when.
    pub reason: String,
}

/// The end of draining.
pub type Drained = Pin<Box<dyn Future<Output = usize> + Send>>;

/// What the sidecar is asked to explain, as the body of a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A request of the app's.
    Request(Bytes),
    /// A connection to the app.
    Connection(Bytes),
}

/// One of the few places for explanations. It is kept in the work itself, which may go on when nobody
/// waits for it any more, and is free again when this is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "it is held")] pub(crate) SemaphorePermit<'static>);

/// An explanation on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Value, NoAnswer>> + Send>>;

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It is no question.
    #[error("{0}")]
    NotAsked(String),
    /// What it needs cannot be had.
    #[error("{0}")]
    NotKnown(String),
}

/// The sidecar as this crate sees it. Nothing here may block: it is called on the control thread.
#[derive(Clone)]
pub struct AdminHandles {
    /// Whether the sidecar takes traffic.
    pub ready: watch::Receiver<Readiness>,
    /// Appends the sidecar's metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn(&mut String) + Send + Sync>,
    /// The sidecar's state in short.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Everything that the control plane told the sidecar.
    pub config_dump: Arc<dyn Fn() -> Value + Send + Sync>,
    /// What becomes of a request, or of a connection, and why.
    pub explain: Arc<dyn Fn(Asked, Slot) -> Answer + Send + Sync>,
    /// Begins to drain: connections end as soon as they politely can.
    pub drain: Arc<dyn Fn() + Send + Sync>,
    /// The pod is ending: drains, and waits until that is done or its time is over. How many connections are left.
    pub drained: Arc<dyn Fn() -> Drained + Send + Sync>,
    /// Ends the sidecar.
    pub quit: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for AdminHandles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminHandles")
            .field("ready", &*self.ready.borrow())
            .finish_non_exhaustive()
    }
}
