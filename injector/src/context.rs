//! What injection knows about a pod besides the pod itself: its namespace, and what made it.
//! An AdmissionReview carries neither namespace labels nor owners' kinds, so they come from here.

use std::collections::BTreeMap;

/// Labels and annotations of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMeta {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`; only Linkerd's switch is read from them.
    pub annotations: BTreeMap<String, String>,
}

/// The controller whose template or pod this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `Deployment`, `Job`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Where a pod (template) stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContext {
    /// The namespace it will run in.
    pub namespace: String,
    /// That namespace's labels and annotations, as far as known.
    pub namespace_meta: NamespaceMeta,
    /// What made it, if anything did.
    pub owner: Option<Owner>,
}

impl PodContext {
    /// A pod of its own in `namespace`, of which nothing more is known.
    #[must_use]
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            ..Self::default()
        }
    }

    pub(crate) fn is_job(&self) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| matches!(owner.kind.as_str(), "Job" | "CronJob"))
    }
}

/// Looks namespaces up. In a cluster whose webhook configuration selects namespaces itself
/// (`namespaceSelector`), [`NoNamespaceLabels`] with `defaultInject: enabled` is right.
pub trait NamespaceLabels: Send + Sync {
    /// What is known of `namespace`; empty when nothing is.
    fn namespace(&self, namespace: &str) -> NamespaceMeta;
}

/// Knows no namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNamespaceLabels;

impl NamespaceLabels for NoNamespaceLabels {
    fn namespace(&self, _: &str) -> NamespaceMeta {
        NamespaceMeta::default()
    }
}

/// Namespaces known beforehand, from a file or flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticNamespaces(pub BTreeMap<String, NamespaceMeta>);

impl NamespaceLabels for StaticNamespaces {
    fn namespace(&self, namespace: &str) -> NamespaceMeta {
        self.0.get(namespace).cloned().unwrap_or_default()
    }
}
