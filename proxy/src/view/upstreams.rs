//! What a worker keeps of endpoints and clusters by their names, whatever view they are in at the
//! moment: connections, what was learnt, bounds. Nothing is kept that no view uses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use heddle_proxy_telemetry::Metrics;

use super::ClusterKey;
use crate::balance::ejections::Ejections;
use crate::balance::learnt::Learnt;
use crate::breaker::{Breakers, Pool};
use crate::upstream::Upstream;
use crate::upstream::connect::Link;

/// Upstreams of one worker, shared by the clusters that name them. Those of a cluster with bounds
/// are its own.
#[derive(Default)]
pub(crate) struct Upstreams {
    upstreams: HashMap<(SocketAddr, Link, Option<ClusterKey>), Weak<Upstream>>,
    learnt: HashMap<ClusterKey, Weak<Learnt>>,
    pools: HashMap<ClusterKey, Weak<Pool>>,
    breakers: Breakers,
    ejections: Ejections,
    metrics: Metrics,
}

impl Upstreams {
    pub(crate) fn new(breakers: Breakers, ejections: Ejections, metrics: Metrics) -> Self {
        Self {
            breakers,
            ejections,
            metrics,
            ..Self::default()
        }
    }

    pub(crate) fn upstream(&mut self, addr: SocketAddr, link: Link) -> Rc<Upstream> {
        self.upstream_of(addr, link, None)
    }

    pub(super) fn upstream_of(
        &mut self,
        addr: SocketAddr,
        link: Link,
        bounded: Option<(&ClusterKey, &Rc<Pool>)>,
    ) -> Rc<Upstream> {
        let key = (addr, link, bounded.map(|(key, _)| key.clone()));
        if let Some(known) = self.upstreams.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let pool = bounded.map(|(_, pool)| Rc::clone(pool));
        let made = Rc::new(Upstream::new(addr, key.1.clone(), pool));
        self.upstreams.insert(key, Rc::downgrade(&made));
        made
    }

    /// What was learnt of a cluster.
    pub(super) fn learnt(&mut self, key: &ClusterKey, cluster: String) -> Rc<Learnt> {
        let (metrics, ejections) = (self.metrics.clone(), self.ejections.clone());
        kept(&mut self.learnt, key, || {
            Learnt::new(cluster, key.0.as_str().into(), metrics, ejections)
        })
    }

    /// A cluster's bounds.
    pub(super) fn pool(&mut self, key: &ClusterKey, cluster: String) -> Rc<Pool> {
        let (metrics, counts) = (self.metrics.clone(), self.breakers.counts(key));
        kept(&mut self.pools, key, || {
            let service: Arc<str> = key.0.as_str().into();
            Pool::new(cluster, service, counts, metrics)
        })
    }

    /// Closes what has been idle for too long, lets ejected endpoints return, and forgets what is
    /// gone.
    pub(crate) fn sweep(&mut self) {
        self.upstreams
            .retain(|_, upstream| match upstream.upgrade() {
                Some(upstream) => {
                    upstream.sweep();
                    true
                }
                None => false,
            });
        let now = Instant::now();
        self.learnt.retain(|_, learnt| match learnt.upgrade() {
            Some(learnt) => {
                learnt.review(now);
                true
            }
            None => false,
        });
        self.pools.retain(|_, pool| pool.strong_count() > 0);
    }
}

fn kept<T>(
    all: &mut HashMap<ClusterKey, Weak<T>>,
    key: &ClusterKey,
    make: impl FnOnce() -> T,
) -> Rc<T> {
    if let Some(known) = all.get(key).and_then(Weak::upgrade) {
        return known;
    }
    let made = Rc::new(make());
    all.insert(key.clone(), Rc::downgrade(&made));
    made
}
