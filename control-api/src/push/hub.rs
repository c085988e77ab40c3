//! The published model, and who is interested in what. A change wakes only those who hold something
//! that it may have changed; what wakes them is a set of keys, bounded by what they hold, so a
//! slow stream coalesces and never queues.

mod registration;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

pub use self::registration::Registration;
use super::state::Summary;
pub use super::wire::url as type_url;
use crate::{
    model::{Dirty, Model},
    name::NsName,
    source::{Batch, Refusal},
};

type StreamId = u64;

/// What may have changed for one stream since it looked.
#[derive(Debug, Default)]
pub struct Mail {
    /// Services of which something may have.
    pub services: HashSet<NsName>,
    /// Addresses of which something may have.
    pub addresses: HashSet<IpAddr>,
    /// Host names of which something may have.
    pub names: HashSet<Arc<str>>,
    /// Its own resources.
    pub own: bool,
}

impl Mail {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        !self.own && self.services.is_empty() && self.addresses.is_empty() && self.names.is_empty()
    }
}

/// One connected proxy, as `status` shows it.
#[derive(Debug)]
pub struct Connected {
    /// Its pod.
    pub node: NsName,
    /// What its certificate says.
    pub identity: String,
    /// Seconds since 1970.
    pub since: i64,
    mail: Mutex<Mail>,
    notify: Notify,
    summary: Mutex<Summary>,
}

/// What a proxy's stream knows of itself and of the model it has.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// Its pod.
    pub node: NsName,
    /// What its certificate says.
    pub identity: String,
    /// Seconds since 1970.
    pub since: i64,
    /// How it is doing.
    pub summary: Summary,
}

#[derive(Default)]
struct Interests {
    streams: HashMap<StreamId, Arc<Connected>>,
    services: HashMap<NsName, HashSet<StreamId>>,
    addresses: HashMap<IpAddr, HashSet<StreamId>>,
    names: HashMap<Arc<str>, HashSet<StreamId>>,
    next: StreamId,
}

/// The published model and those who follow it.
pub struct Hub {
    model: ArcSwap<Model>,
    refusals: ArcSwap<Arc<[Refusal]>>,
    interests: Mutex<Interests>,
    /// Of the last model of which everybody concerned has been told.
    told: AtomicU64,
    ready: watch::Sender<bool>,
    changed: watch::Sender<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Publishes an empty model; nobody is served before the first batch.
    pub fn new(model: Model) -> Arc<Self> {
        Arc::new(Self {
            model: ArcSwap::from_pointee(model),
            refusals: ArcSwap::from_pointee(Arc::new([])),
            interests: Mutex::default(),
            told: AtomicU64::new(0),
            ready: watch::Sender::new(false),
            changed: watch::Sender::new(()),
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> Arc<Model> {
        self.model.load_full()
    }

    /// Whether there is a model to serve from.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Told of each new model.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Applies a source's batch, publishes, and wakes those concerned. One caller at a time.
    pub fn apply(&self, batch: Batch) -> Dirty {
        self.refusals.store(Arc::new(batch.refusals));
        let dirty = self.update(|model| model.apply(batch.changes));
        self.ready.send_replace(true);
        dirty
    }

    /// Publishes a new trust bundle (DER).
    pub fn set_roots(&self, roots: Vec<Vec<u8>>) -> Dirty {
        self.update(|model| model.set_roots(roots))
    }

    fn update(&self, change: impl FnOnce(&mut Model) -> Dirty) -> Dirty {
        let mut model = (*self.model()).clone();
        let dirty = change(&mut model);
        model.version += 1;
        let version = model.version;
        self.model.store(Arc::new(model));
        self.tell(&dirty);
        self.told.store(version, Ordering::Release);
        self.changed.send_replace(());
        dirty
    }

    fn tell(&self, dirty: &Dirty) {
        let interests = lock(&self.interests);
        let mut concerned: HashSet<StreamId> = HashSet::new();
        let stream = |id: &StreamId| interests.streams.get(id);
        for service in &dirty.services {
            for id in interests.services.get(service).into_iter().flatten() {
                if let Some(connected) = stream(id) {
                    lock(&connected.mail).services.insert(service.clone());
                    concerned.insert(*id);
                }
            }
        }
        let exact = dirty.addresses.iter();
        let exact = exact.filter_map(|address| interests.addresses.get_key_value(address));
        // A change of a range is rare.
        let within = (!dirty.networks.is_empty()).then(|| {
            let holds = |ip: IpAddr| dirty.networks.iter().any(|network| network.holds(ip));
            interests
                .addresses
                .iter()
                .filter(move |(ip, _)| holds(**ip))
        });
        for (address, ids) in exact.chain(within.into_iter().flatten()) {
            for id in ids {
                if let Some(connected) = stream(id) {
                    lock(&connected.mail).addresses.insert(*address);
                    concerned.insert(*id);
                }
            }
        }
        let exact = dirty.names.iter().map(|name| &**name);
        let exact = exact.filter_map(|name| interests.names.get_key_value(name));
        // Few names are asked for, and few changes are of all names that end alike.
        let alike = (!dirty.suffixes.is_empty()).then(|| {
            let ends = |name: &str| dirty.suffixes.iter().any(|end| name.ends_with(&**end));
            interests.names.iter().filter(move |(name, _)| ends(name))
        });
        for (name, ids) in exact.chain(alike.into_iter().flatten()) {
            for id in ids {
                if let Some(connected) = stream(id) {
                    lock(&connected.mail).names.insert(name.clone());
                    concerned.insert(*id);
                }
            }
        }
        if !dirty.own.is_empty() {
            for (id, connected) in interests
                .streams
                .iter()
                .filter(|(_, c)| dirty.own.covers(&c.node))
            {
                lock(&connected.mail).own = true;
                concerned.insert(*id);
            }
        }
        for connected in concerned.iter().filter_map(stream) {
            connected.notify.notify_one();
        }
    }

    /// Returns once there is something to serve.
    pub async fn ready(&self) {
        // The sender lives as long as we do.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// A stream begins.
    pub fn connect(self: &Arc<Self>, node: NsName, identity: String, since: i64) -> Registration {
        let connected = Arc::new(Connected {
            node,
            identity,
            since,
            mail: Mutex::default(),
            notify: Notify::new(),
            summary: Mutex::default(),
        });
        let mut interests = lock(&self.interests);
        let id = interests.next;
        interests.next += 1;
        interests.streams.insert(id, connected.clone());
        Registration::new(self.clone(), id, connected)
    }

    /// Refusals of the source, those of the model, and likely mistakes.
    pub fn refusals(&self) -> Vec<Refusal> {
        let model = self.model();
        let of_source = self.refusals.load_full();
        let mut all: Vec<_> = of_source
            .iter()
            .cloned()
            .chain(model.refusals())
            .chain(model.warnings())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// How many proxies are connected.
    pub fn connected(&self) -> usize {
        lock(&self.interests).streams.len()
    }

    /// Every connected proxy, by name.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let told = self.told.load(Ordering::Acquire);
        let streams: Vec<_> = lock(&self.interests).streams.values().cloned().collect();
        let mut all: Vec<_> = streams
            .iter()
            .map(|connected| {
                let unread = !lock(&connected.mail).is_empty();
                let mut summary = lock(&connected.summary).clone();
                if unread {
                    summary.synced = false;
                } else if summary.synced {
                    // Nothing that it holds has changed since, so it has this model too.
                    summary.model = told.max(summary.model);
                }
                ProxyStatus {
                    node: connected.node.clone(),
                    identity: connected.identity.clone(),
                    since: connected.since,
                    summary,
                }
            })
            .collect();
        all.sort_by(|a, b| a.node.cmp(&b.node).then(a.since.cmp(&b.since)));
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Settings, testing};

    #[tokio::test]
    async fn only_those_concerned_are_woken() {
        let hub = Hub::new(Model::new(Settings::default()));
        hub.apply(testing::batch(testing::REVIEWS));
        let name = |text| NsName::parse(text).unwrap();
        let mut reviews = hub.connect(name("default/productpage-1"), String::new(), 0);
        reviews.follow_service(&name("default/reviews"));
        let mut ratings = hub.connect(name("default/reviews-v1-1"), String::new(), 0);
        ratings.follow_service(&name("default/ratings"));

        hub.apply(testing::batch(&testing::pod(
            "reviews-v2-9",
            "10.1.0.99",
            "reviews",
            "v2",
        )));
        reviews.mail().await;
        assert!(
            reviews
                .take_mail()
                .services
                .contains(&name("default/reviews"))
        );
        assert!(ratings.take_mail().is_empty());
        drop((reviews, ratings));
        let interests = lock(&hub.interests);
        assert!(interests.streams.is_empty() && interests.services.is_empty());
    }
}
