//! Which addresses, or which names, this pod uses, and so subscribes to.
//!
//! Workers add and hold; the ADS client takes the changes and lets idle ones go. The table is
//! bounded: over the bound the one idle for longest makes room. A held address is never dropped;
//! whether it is held is read off the reference count, under the table's lock.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Says that an address, or a name, is in use, until it is dropped.
#[derive(Clone, Debug)]
pub struct AddressUse(Arc<Interest>);

#[derive(Debug)]
struct Interest {
    /// Milliseconds since `epoch` of the last use.
    last_used: AtomicU64,
    epoch: Instant,
    answered: Notify,
    /// `false`: the table was full of addresses in use, and this one is not in it.
    subscribed: bool,
}

impl Interest {
    fn touch(&self) {
        // Over half a billion years fit.
        let now = self.epoch.elapsed().as_millis() as u64;
        self.last_used.store(now, Ordering::Relaxed);
    }
}

impl AddressUse {
    pub(super) fn is_subscribed(&self) -> bool {
        self.0.subscribed
    }

    pub(super) fn answered(&self) -> Notified<'_> {
        self.0.answered.notified()
    }
}

impl Drop for AddressUse {
    fn drop(&mut self) {
        self.0.touch();
    }
}

/// What to tell the control plane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted<K> {
    pub(crate) subscribe: Vec<K>,
    pub(crate) unsubscribe: Vec<K>,
}

/// What is in use of one kind.
pub(crate) struct Interests<K> {
    limit: usize,
    epoch: Instant,
    table: Mutex<Table<K>>,
    changed: Notify,
}

struct Table<K> {
    entries: HashMap<K, Arc<Interest>>,
    /// What the control plane was told on the current stream, or on the last one.
    told: HashSet<K>,
    /// What came or went since the changes were last taken.
    dirty: HashSet<K>,
}

impl<K: Clone + Eq + Hash> Interests<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            epoch: Instant::now(),
            table: Mutex::new(Table {
                entries: HashMap::new(),
                told: HashSet::new(),
                dirty: HashSet::new(),
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn hold(&self, key: K) -> AddressUse {
        let mut table = self.table();
        if let Some(interest) = table.entries.get(&key) {
            return AddressUse(interest.clone());
        }
        let room = table.entries.len() < self.limit || table.evict_one();
        let interest = Arc::new(Interest {
            last_used: AtomicU64::new(0),
            epoch: self.epoch,
            answered: Notify::new(),
            subscribed: room,
        });
        interest.touch();
        if room {
            table.entries.insert(key.clone(), interest.clone());
            table.dirty.insert(key);
            drop(table);
            self.changed.notify_one();
        }
        AddressUse(interest)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.table().entries.contains_key(key)
    }

    pub(super) fn answer(&self, key: &K) {
        if let Some(interest) = self.table().entries.get(key) {
            interest.answered.notify_waiters();
        }
    }

    /// Waits until [`Self::take_changes`] may have something to give.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A new stream begins, on which nothing has been subscribed to.
    pub(crate) fn restart(&self) -> Vec<K> {
        let mut table = self.table();
        table.dirty.clear();
        table.told = table.entries.keys().cloned().collect();
        table.told.iter().cloned().collect()
    }

    /// What to tell the control plane now.
    pub(crate) fn take_changes(&self) -> Wanted<K> {
        let mut table = self.table();
        let mut wanted = Wanted {
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
        };
        for key in std::mem::take(&mut table.dirty) {
            if table.entries.contains_key(&key) {
                if table.told.insert(key.clone()) {
                    wanted.subscribe.push(key);
                }
            } else if table.told.remove(&key) {
                wanted.unsubscribe.push(key);
            }
        }
        wanted
    }

    /// Lets go of what nobody has used for `idle`.
    pub(crate) fn expire(&self, idle: Duration) {
        let Some(oldest) = self
            .epoch
            .elapsed()
            .checked_sub(idle)
            .map(|age| age.as_millis() as u64)
        else {
            return;
        };
        let mut table = self.table();
        let Table { entries, dirty, .. } = &mut *table;
        entries.retain(|key, interest| {
            let keep = is_held(interest) || interest.last_used.load(Ordering::Relaxed) > oldest;
            if !keep {
                dirty.insert(key.clone());
            }
            keep
        });
        let changed = !dirty.is_empty();
        drop(table);
        if changed {
            self.changed.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Table<K> {
    /// Makes room by dropping the entry idle for longest. A walk of the whole table, tens of
    /// microseconds at the default bound; only a pod that talks to more addresses than that pays.
    fn evict_one(&mut self) -> bool {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, interest)| !is_held(interest))
            .min_by_key(|(_, interest)| interest.last_used.load(Ordering::Relaxed))
            .map(|(key, _)| key.clone());
        let Some(key) = oldest else { return false };
        self.entries.remove(&key);
        // What the control plane was never told it need not be told to forget.
        if self.told.contains(&key) {
            self.dirty.insert(key);
        } else {
            self.dirty.remove(&key);
        }
        true
    }
}

/// The table's own reference is one. New ones are made under the table's lock, or from another
/// that is held.
fn is_held(interest: &Arc<Interest>) -> bool {
    Arc::strong_count(interest) > 1
}
