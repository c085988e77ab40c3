//! What etcd and the watch cache are to the real server: objects, one ever growing resourceVersion, and
//! the events that led here. Events before a compaction are gone: who needs them is told 410.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::kinds::{self, Kind};

/// Events that are kept before the oldest are compacted.
const MAX_EVENTS: usize = 50_000;
/// Lists that are being read in chunks.
const MAX_SNAPSHOTS: usize = 64;

/// `PLURAL.GROUP`.
pub(crate) type Resource = String;
/// Namespace (or nothing) and name.
pub(crate) type Name = (String, String);

/// One step.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) resource: Resource,
    /// None: it is new.
    pub(crate) before: Option<Arc<Value>>,
    /// None: it is gone.
    pub(crate) after: Option<Arc<Value>>,
}

/// The rest of a list that is read in chunks.
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) items: Arc<Vec<Arc<Value>>>,
}

pub(crate) struct State {
    pub(crate) version: u64,
    /// Events up to this one are gone.
    pub(crate) compacted: u64,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) objects: HashMap<Resource, BTreeMap<Name, Arc<Value>>>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) snapshots: BTreeMap<u64, Snapshot>,
    /// Grows when every open watch is to end.
    pub(crate) cut: u64,
    /// Grows when every open watch is to be told that it is too old.
    pub(crate) expired: u64,
}

/// The state, and whoever waits for it to change.
pub(crate) struct Store {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// The object has changed since it was read.
pub(crate) struct Raced;

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                version: 1,
                compacted: 0,
                kinds: kinds::built_in(),
                objects: HashMap::new(),
                events: VecDeque::new(),
                snapshots: BTreeMap::new(),
                cut: 0,
                expired: 0,
            }),
            changed: watch::channel(()).0,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the watches.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn get(&self, resource: &str, name: &Name) -> Option<Arc<Value>> {
        self.lock().objects.get(resource)?.get(name).cloned()
    }

    pub(crate) fn all(&self, resource: &str) -> Vec<Arc<Value>> {
        let state = self.lock();
        let objects = state.objects.get(resource);
        objects
            .map(|objects| objects.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Puts `after` in the place of `before`, unless something else has got there first.
    pub(crate) fn commit(
        &self,
        resource: &str,
        name: &Name,
        before: Option<&Arc<Value>>,
        after: Option<Value>,
    ) -> Result<Arc<Value>, Raced> {
        self.change(|state| {
            let objects = state.objects.entry(resource.to_owned()).or_default();
            let now = objects.get(name).cloned();
            let same = match (&now, before) {
                (Some(now), Some(before)) => Arc::ptr_eq(now, before),
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(Raced);
            }
            state.version += 1;
            let version = state.version.to_string();
            let after = after.map(|mut after| {
                after["metadata"]["resourceVersion"] = version.clone().into();
                Arc::new(after)
            });
            match &after {
                Some(after) => objects.insert(name.clone(), after.clone()),
                None => objects.remove(name),
            };
            // Who watches is told of the last state, with the version of its end.
            let last = now.as_deref().cloned().map(|mut last| {
                last["metadata"]["resourceVersion"] = version.into();
                Arc::new(last)
            });
            let result = after.clone().or_else(|| last.clone());
            state.events.push_back(Event {
                version: state.version,
                resource: resource.to_owned(),
                before: if after.is_some() { now } else { last },
                after,
            });
            if state.events.len() > MAX_EVENTS
                && let Some(oldest) = state.events.pop_front()
            {
                state.compacted = oldest.version;
            }
            result.ok_or(Raced)
        })
    }
}

impl State {
    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| {
            kind.group == group
                && kind.plural == plural
                && kind.versions.iter().any(|v| v == version)
        })
    }

    /// Forgets all events and unfinished lists.
    pub(crate) fn compact(&mut self) {
        self.version += 1;
        self.compacted = self.version;
        self.events.clear();
        self.snapshots.clear();
    }

    /// Keeps the rest of a list for who asks with the number that is returned.
    pub(crate) fn keep(&mut self, snapshot: Snapshot) -> u64 {
        let number = self.snapshots.keys().next_back().map_or(1, |last| last + 1);
        self.snapshots.insert(number, snapshot);
        while self.snapshots.len() > MAX_SNAPSHOTS {
            self.snapshots.pop_first();
        }
        number
    }
}
