//! What the webhook is among: whoever knows the namespaces. A cluster's API is one (in the server's
//! crate); namespaces known beforehand are another.

use std::pin::Pin;

use crate::context::{NamespaceLabels, NamespaceMeta};

/// What is known of a namespace, or why nothing can be known now.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<NamespaceMeta, String>> + Send + 'a>>;

/// What the webhook is among.
pub trait Surroundings: Send + Sync {
    /// Labels and annotations of a namespace; empty when it has none.
    fn namespace<'a>(&'a self, name: &'a str) -> Lookup<'a>;

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
