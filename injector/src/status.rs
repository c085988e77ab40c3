//! The annotation `heddle.io/status`: what injection added, in enough detail to take it out again
//! and to see that it is already there. Where annotations are short (Podman) it names the version and
//! the hash, and a variable of the sidecar says the rest. Pod authors can write it too, so nothing
//! outside our own names is ever removed on its word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::InjectError;
use crate::names;
use crate::view::PodView;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) revision: String,
    /// Of everything that was added: the same hash, the same injection.
    pub(crate) hash: String,
    pub(crate) init_containers: Vec<String>,
    pub(crate) containers: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) annotations: BTreeMap<String, Change>,
    pub(crate) labels: BTreeMap<String, Change>,
}

/// A label or annotation that injection set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) set: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) was: Option<String>,
}

impl Status {
    pub(crate) fn of(pod: &PodView) -> Result<Option<Self>, InjectError> {
        let Some(text) = pod.annotation(names::STATUS) else {
            return Ok(None);
        };
        let proxy = pod
            .all_containers()
            .find(|container| container.name == names::PROXY_CONTAINER);
        let text = match proxy.and_then(|proxy| proxy.env(names::INJECTION)) {
            Some(all) if !text.starts_with('{') => all,
            _ => text,
        };
        let status: Self = serde_json::from_str(text).map_err(|error| InjectError::BadStatus {
            reason: error.to_string(),
        })?;
        let lists = [&status.init_containers, &status.containers, &status.volumes];
        if let Some(name) = lists
            .into_iter()
            .flatten()
            .find(|name| !name.starts_with(names::OWN_PREFIX))
        {
            return Err(InjectError::BadStatus {
                reason: format!("{name:?} is not a name that it adds"),
            });
        }
        Ok(Some(status))
    }
}

impl Status {
    /// For an annotation of at most 63 bytes.
    pub(crate) fn short(&self) -> String {
        format!("{} {}", self.version, self.hash)
    }
}

pub(crate) fn hash(added: &Value) -> String {
    let digest = Sha256::digest(added.to_string());
    // 64 bits: it tells injections of one pod apart, it protects nothing.
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
