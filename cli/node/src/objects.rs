//! The objects of the cluster that containers read: ConfigMaps and Secrets.
//!
//! Handed in as one snapshot in a watch; a pod's mounted volumes follow it as a kubelet's would,
//! environment variables are read once when the container starts.

use std::collections::{BTreeMap, HashMap};

/// What a ConfigMap or Secret holds, by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// A snapshot of what containers may refer to; keys are (namespace, name).
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// `data` and `binaryData` of each ConfigMap.
    pub config_maps: HashMap<(String, String), Data>,
    /// Decoded `data` and `stringData` of each Secret.
    pub secrets: HashMap<(String, String), Data>,
}

impl Objects {
    /// The ConfigMap of that name.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Data> {
        self.config_maps
            .get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The Secret of that name.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Data> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned()))
    }
}
