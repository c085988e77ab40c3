//! What the cluster holds, as far as it is of use: one entry for each object, with what is in force of it.
//! Turns news into changes; a version that was seen before, and one that says nothing new, is none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::core::ApiResource;
use tracing::warn;

use super::{
    known::Registry,
    raw::{Raw, print},
};
use crate::{
    name::{Kind, NsName, ObjectKey},
    resources::labels::Interner,
    source::{
        Batch, Change, Object, Refusal, Resource, directory::contribution::Contribution,
        read::read_tree,
    },
};

#[derive(Default)]
struct OfKind {
    objects: HashMap<NsName, Held>,
    /// Counts lists; an object that the last one did not name is gone.
    list: u32,
    complete: bool,
}

struct Held {
    version: u64,
    list: u32,
    /// None: it is of no use, or bad and never was good.
    object: Option<Arc<Object>>,
}

/// The picture, and what has changed in it since the last batch.
pub(super) struct Index {
    kinds: HashMap<Kind, OfKind>,
    interner: Interner,
    bad: BTreeMap<ObjectKey, Vec<Refusal>>,
    kept: BTreeMap<ObjectKey, Arc<Object>>,
    /// Of the process before this one, until the first batch.
    last_good: HashMap<ObjectKey, Arc<Object>>,
    changes: HashMap<ObjectKey, Change>,
    dirty: bool,
    told: BTreeSet<Refusal>,
    registry: Arc<Registry>,
}

impl Index {
    pub(super) fn new(last_good: Vec<Arc<Object>>, registry: Arc<Registry>) -> Self {
        // Those of files are of another source.
        let ours = last_good
            .into_iter()
            .filter(|object| object.origin.file.is_none());
        Self {
            kinds: HashMap::new(),
            interner: Interner::default(),
            bad: BTreeMap::new(),
            kept: BTreeMap::new(),
            last_good: ours.map(|object| (object.key.clone(), object)).collect(),
            changes: HashMap::new(),
            dirty: true,
            told: BTreeSet::new(),
            registry,
        }
    }

    /// How many objects are held.
    pub(super) fn len(&self) -> usize {
        self.kinds.values().map(|of| of.objects.len()).sum()
    }

    pub(super) fn is_complete(&self, kind: Kind) -> bool {
        self.kinds.get(&kind).is_some_and(|of| of.complete)
    }

    /// A list begins.
    pub(super) fn begin(&mut self, kind: Kind) {
        let of = self.kinds.entry(kind).or_default();
        of.list = of.list.wrapping_add(1);
    }

    /// A list is complete: what it did not name is gone.
    pub(super) fn complete(&mut self, kind: Kind) {
        let of = self.kinds.entry(kind).or_default();
        of.complete = true;
        let gone = of.objects.iter().filter(|(_, held)| held.list != of.list);
        let gone: Vec<NsName> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.remove(kind, &name);
        }
    }

    /// The kind is served no more.
    pub(super) fn drop_kind(&mut self, kind: Kind) {
        self.begin(kind);
        self.complete(kind);
        self.kinds.remove(&kind);
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, kind: Kind, name: &NsName) {
        let held = self
            .kinds
            .get_mut(&kind)
            .and_then(|of| of.objects.remove(name));
        let key = ObjectKey {
            kind,
            name: name.clone(),
        };
        if self.bad.remove(&key).is_some() {
            self.dirty = true;
        }
        self.kept.remove(&key);
        self.registry.forget(&key);
        if held.is_some_and(|held| held.object.is_some()) {
            self.changes.insert(key.clone(), Change::Remove(key));
            self.dirty = true;
        }
    }

    /// The object is there, in this version.
    pub(super) fn here(&mut self, kind: Kind, resource: &ApiResource, raw: Raw) {
        let Some(name) = raw.name() else {
            return;
        };
        let version = raw.version();
        let of = self.kinds.entry(kind).or_default();
        let list = of.list;
        if let Some(held) = of.objects.get_mut(&name) {
            held.list = list;
            if held.version == version {
                return;
            }
        }
        let key = ObjectKey { kind, name };
        let before = of
            .objects
            .get(&key.name)
            .and_then(|held| held.object.clone());
        let is_new = !of.objects.contains_key(&key.name);
        let of_before = || self.last_good.get(&key).filter(|_| is_new).cloned();
        let before = before.or_else(of_before);
        self.registry.see(&key, &resource.api_version, &raw);
        let tree = raw.into_written(kind == Kind::Pod, &resource.api_version, &resource.kind);
        let items = read_tree(&tree, || print(&tree), &mut self.interner);
        let items: Vec<_> = items.into_iter().map(Arc::new).collect();
        let contents = before
            .iter()
            .map(|object| (key.clone(), object.clone()))
            .collect();
        let found = Contribution::of(&items, &contents);
        if let Some(kept) = found.kept.into_iter().next() {
            self.kept.insert(key.clone(), kept);
        } else {
            self.kept.remove(&key);
        }
        if found.refusals.is_empty() {
            self.dirty |= self.bad.remove(&key).is_some();
        } else {
            self.bad.insert(key.clone(), found.refusals);
            self.dirty = true;
        }
        let now = found.contents.into_iter().map(|(_, object)| object).next();
        let now = now.filter(|object| !matches!(object.resource, Resource::Deleted));
        // What the last process left is not in the model yet.
        let known = before.filter(|_| !is_new);
        let object = match (known, now) {
            (Some(before), Some(now)) if says_the_same(&before, &now) => Some(before),
            (_, Some(now)) => {
                self.changes
                    .insert(key.clone(), Change::Upsert(now.clone()));
                self.dirty = true;
                Some(now)
            }
            (Some(_), None) => {
                self.changes
                    .insert(key.clone(), Change::Remove(key.clone()));
                self.dirty = true;
                None
            }
            (None, None) => None,
        };
        let held = Held {
            version,
            list,
            object,
        };
        if let Some(of) = self.kinds.get_mut(&kind) {
            of.objects.insert(key.name, held);
        }
    }

    /// What has changed since the last one; None: nothing. The first is the whole.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.last_good = HashMap::new();
        let mut refusals: Vec<Refusal> = self.bad.values().flatten().cloned().collect();
        refusals.sort();
        refusals.dedup();
        for refusal in refusals
            .iter()
            .filter(|refusal| !self.told.contains(*refusal))
        {
            warn!("refused: {refusal}");
        }
        self.told = refusals.iter().cloned().collect();
        Some(Batch {
            changes: std::mem::take(&mut self.changes).into_values().collect(),
            refusals: refusals.into(),
            kept: self.kept.values().cloned().collect(),
        })
    }
}

/// Servers write often what changes nothing for us: heartbeats, statuses, owners.
fn says_the_same(before: &Object, now: &Object) -> bool {
    if before.created != now.created || before.stand_in != now.stand_in {
        return false;
    }
    match (&before.resource, &now.resource) {
        (Resource::Pod(before), Resource::Pod(now)) => before == now,
        (Resource::Node(before), Resource::Node(now)) => before == now,
        (Resource::EndpointSlice(before), Resource::EndpointSlice(now)) => before == now,
        (Resource::Namespace, Resource::Namespace)
        | (Resource::ServiceAccount, Resource::ServiceAccount)
        | (Resource::NetworkPolicy, Resource::NetworkPolicy) => true,
        _ => before.written.is_some() && before.written == now.written,
    }
}
