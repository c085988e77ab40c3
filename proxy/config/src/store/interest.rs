//! Which addresses this pod uses, and so subscribes to.
//!
//! Workers add and hold; the ADS client takes the changes and lets idle ones go. The table is
//! bounded: over the bound the one idle for longest makes room. A held address is never dropped;
//! whether it is held is read off the reference count, under the table's lock.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Says that an address is in use, until it is dropped.
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) subscribe: Vec<IpAddr>,
    pub(crate) unsubscribe: Vec<IpAddr>,
}

/// The addresses in use.
pub(crate) struct Interests {
    limit: usize,
    epoch: Instant,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    entries: HashMap<IpAddr, Arc<Interest>>,
    /// What the control plane was told on the current stream, or on the last one.
    told: HashSet<IpAddr>,
    /// Addresses whose entry came or went since the changes were last taken.
    dirty: HashSet<IpAddr>,
}

impl Interests {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            epoch: Instant::now(),
            table: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn hold(&self, ip: IpAddr) -> AddressUse {
        let mut table = self.table();
        if let Some(interest) = table.entries.get(&ip) {
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
            table.entries.insert(ip, interest.clone());
            table.dirty.insert(ip);
            drop(table);
            self.changed.notify_one();
        }
        AddressUse(interest)
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.table().entries.contains_key(&ip)
    }

    pub(super) fn answer(&self, addresses: &[IpAddr]) {
        let table = self.table();
        for interest in addresses.iter().filter_map(|ip| table.entries.get(ip)) {
            interest.answered.notify_waiters();
        }
    }

    /// Waits until [`Self::take_changes`] may have something to give.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A new stream begins, on which nothing has been subscribed to.
    pub(crate) fn restart(&self) -> Vec<IpAddr> {
        let mut table = self.table();
        table.dirty.clear();
        table.told = table.entries.keys().copied().collect();
        table.told.iter().copied().collect()
    }

    /// What to tell the control plane now.
    pub(crate) fn take_changes(&self) -> Wanted {
        let mut table = self.table();
        let mut wanted = Wanted::default();
        for ip in std::mem::take(&mut table.dirty) {
            if table.entries.contains_key(&ip) {
                if table.told.insert(ip) {
                    wanted.subscribe.push(ip);
                }
            } else if table.told.remove(&ip) {
                wanted.unsubscribe.push(ip);
            }
        }
        wanted
    }

    /// Lets go of addresses that nobody has used for `idle`.
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
        entries.retain(|ip, interest| {
            let keep = is_held(interest) || interest.last_used.load(Ordering::Relaxed) > oldest;
            if !keep {
                dirty.insert(*ip);
            }
            keep
        });
        let changed = !dirty.is_empty();
        drop(table);
        if changed {
            self.changed.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Makes room by dropping the entry idle for longest. A walk of the whole table, tens of
    /// microseconds at the default bound; only a pod that talks to more addresses than that pays.
    fn evict_one(&mut self) -> bool {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, interest)| !is_held(interest))
            .min_by_key(|(_, interest)| interest.last_used.load(Ordering::Relaxed))
            .map(|(ip, _)| *ip);
        let Some(ip) = oldest else { return false };
        self.entries.remove(&ip);
        // What the control plane was never told it need not be told to forget.
        if self.told.contains(&ip) {
            self.dirty.insert(ip);
        } else {
            self.dirty.remove(&ip);
        }
        true
    }
}

/// The table's own reference is one. New ones are made under the table's lock, or from another
/// that is held.
fn is_held(interest: &Arc<Interest>) -> bool {
    Arc::strong_count(interest) > 1
}
