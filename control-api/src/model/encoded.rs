//! What a proxy is sent: a message in bytes, with a version that is a hash of its content, the same
//! in every process. And the cells that keep what has been computed until a change replaces them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

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

    /// Encodes. Equal messages have equal bytes: maps are in order.
    pub(super) fn new(message: &impl Message) -> Self {
        let body: Arc<[u8]> = message.encode_to_vec().into();
        let hash = Sha256::digest(&body);
        let mut version = String::with_capacity(2 * Self::VERSION_BYTES);
        for byte in &hash[..Self::VERSION_BYTES] {
            // Writing to a String does not fail.
            let _ = write!(version, "{byte:02x}");
        }
        Self {
            version: version.into(),
            body,
        }
    }
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
