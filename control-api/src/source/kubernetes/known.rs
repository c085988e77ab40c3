//! Objects that people write, as they stand on the server: enough to speak about one, and to write the
//! status of a route. One entry each, for the kinds that can be refused.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use super::raw::Raw;
use crate::name::{Kind, ObjectKey};

/// An object on the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its `apiVersion`, as it is followed.
    pub api_version: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// Its generation.
    pub generation: i64,
    /// Of Gateway API's routes: `spec.parentRefs`.
    pub parent_refs: Vec<Value>,
    /// Of Gateway API's routes: `status.parents`.
    pub parents: Vec<Value>,
}

/// All of them.
#[derive(Debug)]
pub struct Registry {
    objects: Mutex<HashMap<ObjectKey, Known>>,
    changed: watch::Sender<()>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            changed: watch::channel(()).0,
        }
    }
}

impl Registry {
    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<Known> {
        self.lock().get(key).cloned()
    }

    /// Told at each change of any of them.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// It stands so since we wrote it, unless it has changed since `before`.
    pub(crate) fn replace(&self, key: &ObjectKey, before: &str, now: Known) {
        if let Some(known) = self
            .lock()
            .get_mut(key)
            .filter(|known| known.version == before)
        {
            *known = now;
        }
    }

    pub(super) fn see(&self, key: &ObjectKey, api_version: &str, raw: &Raw) {
        if !is_known(key.kind) {
            return;
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let list = |part: &str, name: &str| match has_status(key.kind) {
            true => raw.list(part, name),
            false => Vec::new(),
        };
        let known = Known {
            api_version: api_version.to_owned(),
            uid: text(&raw.meta.uid),
            version: text(&raw.meta.resource_version),
            generation: raw.meta.generation.unwrap_or_default(),
            parent_refs: list("spec", "parentRefs"),
            parents: list("status", "parents"),
        };
        self.lock().insert(key.clone(), known);
        self.changed.send_replace(());
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        if is_known(key.kind) && self.lock().remove(key).is_some() {
            self.changed.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Known>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Services are many, and seldom refused.
fn is_known(kind: Kind) -> bool {
    kind.is_kept() && kind != Kind::Service
}

/// Whether its status is ours to write.
fn has_status(kind: Kind) -> bool {
    matches!(kind, Kind::HttpRoute | Kind::GrpcRoute)
}
