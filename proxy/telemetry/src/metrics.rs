//! Metrics of the data path under Istio's standard names and labels, and of the process.
//!
//! Every worker has a [`Shard`]: integers that only its thread writes, with plain loads and stores
//! instead of locked additions. A series is looked up when configuration changes, never per
//! request; a scrape sums the shards. Invariant: recording an outcome seen before allocates
//! nothing, hashes nothing and takes no lock. Bounded: past the limit, outcomes are counted in one
//! series whose labels read `other`, and series whose destination is gone are forgotten.

mod counters;
mod histogram;
mod labels;
mod process;
mod registry;
mod render;
mod series;

pub use counters::{Counter, Gauge};
pub use labels::{Labels, Peer, Reporter, RequestProtocol, Security, Service};
pub use series::{HttpSeries, TcpSeries};

use registry::{Budget, ShardSeries};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct MetricLimits {
    /// Combinations of labels and outcome, over all workers. About 550 bytes each.
    pub series: usize,
    /// How long a series without a destination stays, so that Prometheus sees its last value.
    pub stale_after: Duration,
}

impl Default for MetricLimits {
    fn default() -> Self {
        Self {
            series: 10_000,
            stale_after: Duration::from_secs(15 * 60),
        }
    }
}

/// All metrics of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    budget: Arc<Budget>,
    shards: Mutex<Vec<Arc<ShardSeries>>>,
    counters: counters::Counters,
    process: process::Process,
}

impl Metrics {
    /// At most `max_series` combinations of labels and outcome; more are counted in one, `other`.
    pub fn new(max_series: usize) -> Self {
        Self::with_limits(MetricLimits {
            series: max_series,
            ..MetricLimits::default()
        })
    }

    /// Empty metrics with these limits.
    pub fn with_limits(limits: MetricLimits) -> Self {
        let counters = counters::Counters::default();
        let help = "Label combinations that were refused because the limit was reached.";
        let refused = counters.counter("heddle_metric_series_refused_total", help, &[]);
        let inner = Inner {
            budget: Arc::new(Budget::new(limits, refused)),
            shards: Mutex::default(),
            counters,
            process: process::Process::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A worker's shard. Call it once per worker, on the worker's thread.
    pub fn shard(&self) -> Shard {
        let series = Arc::new(ShardSeries::new(Arc::clone(&self.inner.budget)));
        lock(&self.inner.shards).push(Arc::clone(&series));
        Shard {
            series,
            one_thread: PhantomData,
        }
    }

    /// The counter of this name (`heddle_…_total`) and labels, made if need be. Keep the handle.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.inner.counters.counter(name, help, labels)
    }

    /// The gauge of this name and labels, made if need be. Keep the handle.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        self.inner.counters.gauge(name, help, labels)
    }

    /// Appends everything in the Prometheus text format, and forgets what is stale.
    pub fn render(&self, out: &mut String) {
        let shards = lock(&self.inner.shards).clone();
        let now = Instant::now();
        shards.iter().for_each(|shard| shard.forget_stale(now));
        render::series(&shards, out);
        self.inner.counters.render(out);
        self.inner.process.render(out);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::with_limits(MetricLimits::default())
    }
}

/// One worker's part of the metrics. It and its series stay on one thread: that thread alone
/// writes them.
#[derive(Debug)]
pub struct Shard {
    series: Arc<ShardSeries>,
    one_thread: PhantomData<Rc<()>>,
}

impl Shard {
    /// The series of HTTP requests with these labels. Slow path: when configuration changes.
    /// Dropping every handle of a series lets it be forgotten.
    pub fn http(&self, labels: Labels) -> HttpSeries {
        HttpSeries::new(&self.series, labels)
    }

    /// The series of TCP connections with these labels. Slow path: when configuration changes.
    pub fn tcp(&self, labels: Labels) -> TcpSeries {
        TcpSeries::new(&self.series, labels)
    }
}

/// What these locks guard is valid after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
