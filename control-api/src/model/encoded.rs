//! What a proxy is sent: a message in bytes, with a version that is a hash of its content, the same
//! in every process. And the cells that keep what has been computed until a change replaces them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use heddle_proto::mesh;
use prost::Message;
use sha2::{Digest, Sha256};

/// A resource, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Hash of the content.
    pub version: Arc<str>,
    /// The message.
    pub body: Arc<[u8]>,
}

impl Encoded {
    /// Bytes of the hash that make up a version: collisions need 2^48 resources.
    const VERSION_BYTES: usize = 12;

    /// Encodes. Maps come in any order, so they are hashed by themselves, sorted.
    pub(super) fn new<M: Canonical>(message: &M) -> Self {
        let body: Arc<[u8]> = message.encode_to_vec().into();
        let mut hash = Sha256::new();
        message.hash_content(&mut hash, &body);
        let mut version = String::with_capacity(2 * Self::VERSION_BYTES);
        for byte in &hash.finalize()[..Self::VERSION_BYTES] {
            // Writing to a String does not fail.
            let _ = write!(version, "{byte:02x}");
        }
        Self {
            version: version.into(),
            body,
        }
    }
}

/// Hashes to the same value wherever it is done. Messages without maps hash their bytes.
pub(super) trait Canonical: Message {
    fn hash_content(&self, hash: &mut Sha256, encoded: &[u8]) {
        hash.update(encoded);
    }
}

impl Canonical for mesh::Service {}
impl Canonical for mesh::RouteTable {}
impl Canonical for mesh::TrustBundle {}
impl Canonical for mesh::Telemetry {}

impl Canonical for mesh::Workload {
    fn hash_content(&self, hash: &mut Sha256, _: &[u8]) {
        let without = mesh::Workload {
            labels: Default::default(),
            ..self.clone()
        };
        hash.update(without.encode_to_vec());
        hash_labels(&self.labels, hash);
    }
}

impl Canonical for mesh::Address {
    fn hash_content(&self, hash: &mut Sha256, encoded: &[u8]) {
        match &self.kind {
            Some(mesh::address::Kind::Workload(endpoint)) => {
                hash_endpoint(endpoint, hash);
                let rest = mesh::Address {
                    kind: None,
                    workload_ports: self.workload_ports.clone(),
                };
                hash.update(rest.encode_to_vec());
            }
            _ => hash.update(encoded),
        }
    }
}

impl Canonical for mesh::Endpoints {
    fn hash_content(&self, hash: &mut Sha256, _: &[u8]) {
        let head = mesh::Endpoints {
            service_ports: self.service_ports.clone(),
            subset_names: self.subset_names.clone(),
            endpoints: Vec::new(),
        };
        hash.update(head.encode_to_vec());
        for endpoint in &self.endpoints {
            hash_endpoint(endpoint, hash);
        }
    }
}

fn hash_endpoint(endpoint: &mesh::Endpoint, hash: &mut Sha256) {
    let mesh::Endpoint {
        address,
        target_ports,
        subsets,
        identity,
        workload,
        labels,
        owner,
    } = endpoint;
    for part in [address, identity, workload, owner] {
        hash_text(part, hash);
    }
    for list in [target_ports, subsets] {
        hash.update((list.len() as u64).to_le_bytes());
        list.iter()
            .for_each(|number| hash.update(number.to_le_bytes()));
    }
    hash_labels(labels, hash);
}

fn hash_labels(labels: &std::collections::HashMap<String, String>, hash: &mut Sha256) {
    let mut sorted: Vec<_> = labels.iter().collect();
    sorted.sort_unstable();
    hash.update((sorted.len() as u64).to_le_bytes());
    for (key, value) in sorted {
        hash_text(key, hash);
        hash_text(value, hash);
    }
}

fn hash_text(text: &str, hash: &mut Sha256) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// Values computed once for each variant that someone asks for. Copies share what they hold.
pub(super) struct Cell<K, V>(Arc<Mutex<BTreeMap<K, V>>>);

impl<K, V> Clone for Cell<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Cell<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord, V: Clone> Cell<K, V> {
    /// The value of `variant`, computed now if nobody asked before.
    pub(super) fn get(&self, variant: K, compute: impl FnOnce() -> V) -> V {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.entry(variant).or_insert_with(compute).clone()
    }
}
