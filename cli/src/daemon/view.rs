//! What the controller shows to the others: one immutable picture, replaced after every change.
//! Status and `get` are answered from it, so that asking never waits for doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::cluster::with_status;
use crate::manifests::{Key, Origin, Problem};
use crate::node::PodStatus;

/// One pod, whether it starts, runs or stops.
#[derive(Debug, Clone)]
pub(crate) struct PodView {
    pub(crate) object: Arc<Value>,
    pub(crate) owner: Key,
    /// Of the owner's template.
    pub(crate) revision: String,
    pub(crate) status: PodStatus,
    /// Since when it is being stopped.
    pub(crate) stopping: Option<SystemTime>,
    pub(crate) skipped: Option<&'static str>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) pods: Vec<PodView>,
    /// Server-filled Services by key.
    pub(crate) services: BTreeMap<Key, Arc<Value>>,
    /// Every other object as it was written.
    pub(crate) objects: BTreeMap<Key, Arc<Value>>,
    /// Where each object was written.
    pub(crate) origins: BTreeMap<Key, Origin>,
    /// Deleted by command, and still in the watched paths.
    pub(crate) removed: BTreeMap<Key, Origin>,
    pub(crate) refused: Vec<Problem>,
    pub(crate) notes: Vec<String>,
    /// Nothing is left to start or to stop.
    pub(crate) settled: bool,
    pub(crate) names: usize,
}

impl PodView {
    /// As the API server would show it.
    pub(crate) fn with_status(&self) -> Value {
        with_status(&self.object, &self.status, self.stopping)
    }

    /// The SPIFFE id of its sidecar.
    pub(crate) fn identity(&self, trust_domain: &str) -> String {
        let account = self.object["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default");
        format!(
            "spiffe://{trust_domain}/ns/{}/sa/{account}",
            self.status.namespace
        )
    }
}

impl View {
    /// Objects of some kinds (all for none), as `get` shows them.
    pub(crate) fn select(
        &self,
        kinds: &[&str],
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Vec<Value> {
        let wanted = |kind: &str, ns: &str, own: &str| {
            (kinds.is_empty() || kinds.contains(&kind))
                && namespace.is_none_or(|namespace| ns.is_empty() || ns == namespace)
                && name.is_none_or(|name| own == name)
        };
        let objects = self.objects.iter().chain(&self.services);
        let objects = objects.filter(|(key, _)| wanted(&key.kind, &key.namespace, &key.name));
        let pods = self
            .pods
            .iter()
            .filter(|pod| wanted("Pod", &pod.status.namespace, &pod.status.name));
        objects
            .map(|(_, object)| Value::clone(object))
            .chain(pods.map(PodView::with_status))
            .collect()
    }
}
