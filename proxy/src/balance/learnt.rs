//! What a worker has learnt of a cluster's endpoints: who was ejected and until when, who is new,
//! whose turn it is, and the tables that were made of them. It belongs to the cluster's name, so a
//! push forgets nothing but the endpoints that it takes away.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_proxy_config::snapshot::{Endpoint, HashTable, OutlierDetection, TrafficPolicy};
use heddle_proxy_telemetry::Metrics;

use super::ejections::Ejections;
use super::outlier::{Count, Outcome};
use super::table::Table;

/// What a table is made of.
pub(super) type TableOf = (HashTable, Vec<(SocketAddr, u32)>);

/// Least part of its share that a new endpoint has (Envoy's).
const COLDEST: f64 = 0.1;

/// Longest that an endpoint is left out, however often it was (Envoy's), unless the base is longer.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// One cluster's.
pub(crate) struct Learnt {
    /// `subset v1 of service default/reviews port 9080`.
    cluster: String,
    service: Arc<str>,
    metrics: Metrics,
    ejections: Ejections,
    /// What of it is shown there.
    shown: RefCell<Vec<SocketAddr>>,
    standings: RefCell<HashMap<SocketAddr, Rc<Standing>>>,
    pub(super) tables: RefCell<Vec<(TableOf, Rc<Table>)>>,
    terms: RefCell<Option<OutlierDetection>>,
    warmup: Cell<Option<Duration>>,
    warm_at: Cell<Option<Instant>>,
    ejected: Cell<usize>,
    next_return: Cell<Option<Instant>>,
    /// Another whenever somebody else is well than before.
    version: Cell<u64>,
    linked: Cell<bool>,
}

/// One endpoint's, as part of a cluster.
pub(crate) struct Standing {
    endpoint: RefCell<Arc<Endpoint>>,
    count: Count,
    /// Left out until then.
    until: Cell<Option<Instant>>,
    /// How often it was left out, less what is forgotten.
    times: Cell<u32>,
    /// When it came back last.
    back: Cell<Option<Instant>>,
    /// New since then; `None`: warm.
    since: Cell<Option<Instant>>,
    /// See [`super::choose::Candidates::in_turn`].
    pub(super) turn: Cell<i64>,
    /// It is no longer one of the cluster's.
    gone: Cell<bool>,
}

impl Standing {
    fn new(endpoint: Arc<Endpoint>, since: Option<Instant>) -> Self {
        Self {
            endpoint: RefCell::new(endpoint),
            count: Count::default(),
            until: Cell::new(None),
            times: Cell::new(0),
            back: Cell::new(None),
            since: Cell::new(since),
            turn: Cell::new(0),
            gone: Cell::new(false),
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.until.get().is_some()
    }

    /// Part of its share that it has while it warms up.
    pub(super) fn warmth(&self, warmup: Duration, now: Instant) -> f64 {
        let Some(since) = self.since.get() else {
            return 1.0;
        };
        let warm = now.saturating_duration_since(since);
        (warm.as_secs_f64() / warmup.as_secs_f64()).clamp(COLDEST, 1.0)
    }
}

impl Learnt {
    pub(crate) fn new(
        cluster: String,
        service: Arc<str>,
        metrics: Metrics,
        ejections: Ejections,
    ) -> Self {
        Self {
            cluster,
            service,
            metrics,
            ejections,
            shown: RefCell::default(),
            standings: RefCell::default(),
            tables: RefCell::default(),
            terms: RefCell::default(),
            warmup: Cell::new(None),
            warm_at: Cell::new(None),
            ejected: Cell::new(0),
            next_return: Cell::new(None),
            version: Cell::new(0),
            linked: Cell::new(false),
        }
    }

    /// Takes over a policy and the endpoints that there are now; what is known of each, in their
    /// order. Those of the first push are not new: all are as warm as each other.
    pub(crate) fn link(
        &self,
        policy: &TrafficPolicy,
        endpoints: &[(SocketAddr, Arc<Endpoint>)],
        now: Instant,
    ) -> Vec<Rc<Standing>> {
        let since = (self.linked.replace(true) && policy.warmup.is_some()).then_some(now);
        self.warmup.set(policy.warmup);
        *self.terms.borrow_mut() = policy.outlier.clone();
        let mut known = self.standings.borrow_mut();
        let mut before = std::mem::take(&mut *known);
        let mut linked = Vec::with_capacity(endpoints.len());
        for (addr, endpoint) in endpoints {
            let standing = known.entry(*addr).or_insert_with(|| {
                let standing = before.remove(addr);
                standing.unwrap_or_else(|| Rc::new(Standing::new(Arc::clone(endpoint), since)))
            });
            *standing.endpoint.borrow_mut() = Arc::clone(endpoint);
            linked.push(Rc::clone(standing));
        }
        if since.is_some() {
            self.warms_until(now);
        }
        for gone in before.into_values() {
            gone.gone.set(true);
            if gone.until.take().is_some() {
                self.count_ejected(-1);
            }
        }
        let nobody = policy.outlier.is_none();
        for standing in known.values().filter(|s| nobody && s.is_ejected()) {
            self.put_back(standing, now);
        }
        drop(known);
        self.recount();
        linked
    }

    pub(super) fn version(&self) -> u64 {
        self.version.get()
    }

    /// Whether anything depends on the time.
    pub(super) fn is_timed(&self) -> bool {
        self.next_return.get().is_some() || self.warm_at.get().is_some()
    }

    fn warms_until(&self, now: Instant) {
        if let Some(warmup) = self.warmup.get() {
            self.warm_at.set(Some(now + warmup));
        }
    }

    /// Takes note of how a request or a connection went.
    pub(crate) fn observe(&self, standing: &Standing, outcome: Outcome) {
        let terms = self.terms.borrow();
        let Some(terms) = &*terms else { return };
        if standing.gone.get() || standing.is_ejected() {
            return;
        }
        if let Some(reason) = standing.count.observe(terms, outcome) {
            self.eject(standing, terms, reason, Instant::now());
        }
    }

    fn eject(
        &self,
        standing: &Standing,
        terms: &OutlierDetection,
        reason: &'static str,
        now: Instant,
    ) {
        let endpoint = standing.endpoint.borrow();
        let (endpoint, address) = (&endpoint.workload, endpoint.ip);
        let all = self.standings.borrow().len();
        let most = (all * terms.max_ejection_percent as usize / 100)
            .max(usize::from(all > 1 && terms.max_ejection_percent > 0));
        let (cluster, name) = (&self.cluster, &*self.service);
        if self.ejected.get() >= most {
            let help = "Endpoints that would have been ejected, had not too many been already.";
            self.count(
                "heddle_outlier_overflow_total",
                help,
                &[("destination_service", name)],
            );
            tracing::warn!(
                %endpoint, %address, %cluster, reason,
                "not ejected: {} of {all} are, which is all that may be", self.ejected.get(),
            );
            return;
        }
        let quiet = standing
            .back
            .get()
            .map(|back| now.saturating_duration_since(back));
        let forgotten = quiet.map_or(0, |quiet| {
            quiet.as_millis() / terms.interval.as_millis().max(1)
        });
        let times = standing
            .times
            .get()
            .saturating_sub(forgotten.try_into().unwrap_or(u32::MAX))
            + 1;
        let longest = LONGEST_EJECTION.max(terms.base_ejection_time);
        let time = terms.base_ejection_time.saturating_mul(times).min(longest);
        standing.times.set(times);
        standing.until.set(Some(now + time));
        self.count_ejected(1);
        let help = "Endpoints that were left out because they failed.";
        let labels = [("destination_service", name), ("reason", reason)];
        self.count("heddle_outlier_ejections_total", help, &labels);
        tracing::warn!(%endpoint, %address, %cluster, reason, times, ?time, "ejected");
        self.recount();
    }

    /// Lets those return whose time has passed.
    pub(crate) fn review(&self, now: Instant) {
        if self.warm_at.get().is_some_and(|at| at <= now) {
            self.warm_at.set(None);
            for standing in self.standings.borrow().values() {
                standing.since.set(None);
            }
        }
        if self.next_return.get().is_none_or(|at| at > now) {
            return;
        }
        let standings = self.standings.borrow();
        for standing in standings.values() {
            if standing.until.get().is_some_and(|until| until <= now) {
                self.put_back(standing, now);
            }
        }
        drop(standings);
        self.recount();
    }

    fn put_back(&self, standing: &Standing, now: Instant) {
        // It may have been noticed late.
        standing.back.set(standing.until.take());
        standing.count.reset();
        if self.warmup.get().is_some() {
            standing.since.set(Some(now));
            self.warms_until(now);
        }
        self.count_ejected(-1);
        let help = "Endpoints that came back after they had been left out.";
        let labels = [("destination_service", &*self.service)];
        self.count("heddle_outlier_returns_total", help, &labels);
        let endpoint = standing.endpoint.borrow();
        let (address, cluster) = (endpoint.ip, &self.cluster);
        tracing::info!(endpoint = %endpoint.workload, %address, %cluster, "returned");
    }

    fn recount(&self) {
        let standings = self.standings.borrow();
        let until = standings
            .values()
            .filter_map(|standing| standing.until.get());
        self.ejected.set(until.clone().count());
        self.next_return.set(until.min());
        if self.ejected.get() > 0 || !self.shown.borrow().is_empty() {
            let out = standings.iter().filter(|(_, s)| s.is_ejected());
            let now: Vec<SocketAddr> = out.map(|(addr, _)| *addr).collect();
            let before = self.shown.replace(now.clone());
            self.ejections.replace(&self.cluster, &before, &now);
        }
        self.version.update(|version| version + 1);
    }

    fn count(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) {
        self.metrics.counter(name, help, labels).inc();
    }

    /// Over all workers.
    fn count_ejected(&self, change: i8) {
        let help = "Endpoints that are left out at the moment, each worker's counted.";
        let labels = [("destination_service", &*self.service)];
        let gauge = self.metrics.gauge("heddle_outlier_ejected", help, &labels);
        match change {
            1.. => gauge.add(1),
            _ => gauge.sub(1),
        }
    }
}

impl Drop for Learnt {
    fn drop(&mut self) {
        for _ in 0..self.ejected.get() {
            self.count_ejected(-1);
        }
        let shown = self.shown.take();
        self.ejections.replace(&self.cluster, &shown, &[]);
    }
}

#[cfg(test)]
mod tests;
