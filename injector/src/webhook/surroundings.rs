//! What the webhook is among: whoever knows the namespaces and wants to hear of skips. A cluster's
//! API is one (in the server's crate); namespaces known beforehand are another.

use std::pin::Pin;

use serde_json::Value;

use crate::context::{NamespaceLabels, NamespaceMeta};
use crate::decide::SkipReason;

/// What is known of a namespace, or why nothing can be known now.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<NamespaceMeta, String>> + Send + 'a>>;

/// A pod that was not injected.
pub struct Skipped<'a> {
    /// Where it will run.
    pub namespace: &'a str,
    /// As it was sent, which may be without a name.
    pub pod: &'a Value,
    /// Why not.
    pub reason: &'a SkipReason,
}

/// What the webhook is among.
pub trait Surroundings: Send + Sync {
    /// Labels and annotations of a namespace; empty when it has none.
    fn namespace<'a>(&'a self, name: &'a str) -> Lookup<'a>;

    /// Hears of a pod that was skipped; never of one of a dry run. Must not block.
    fn skipped(&self, _: &Skipped<'_>) {}

    /// Whether questions can be answered; otherwise why not.
    ///
    /// # Errors
    /// With the reason.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// More metrics, in Prometheus' text format.
    fn metrics(&self) -> String {
        String::new()
    }
}

impl<T: NamespaceLabels> Surroundings for T {
    fn namespace<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(Ok(NamespaceLabels::namespace(
            self, name,
        ))))
    }
}
