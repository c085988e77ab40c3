//! Which series exist: one map per worker, locked only when a series or outcome is new and at a
//! scrape, under one budget for all workers.

use super::series::{HttpCells, HttpShared, TcpCells};
use super::{Counter, Labels, MetricLimits, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many more series there may be.
#[derive(Debug)]
pub(super) struct Budget {
    limits: MetricLimits,
    used: AtomicUsize,
    refused: Counter,
}

impl Budget {
    pub(super) fn new(limits: MetricLimits, refused: Counter) -> Self {
        Self {
            limits,
            used: AtomicUsize::new(0),
            refused,
        }
    }

    fn take(&self) -> bool {
        let limit = self.limits.series;
        self.used
            .try_update(Relaxed, Relaxed, |used| (used < limit).then_some(used + 1))
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Relaxed);
    }
}

/// A series, and since when nobody has a handle of it.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) series: Arc<T>,
    gone_since: Option<Instant>,
}

/// The series of one worker.
#[derive(Debug)]
pub(super) struct ShardSeries {
    budget: Arc<Budget>,
    pub(super) http: Mutex<BTreeMap<Labels, Entry<HttpShared>>>,
    pub(super) tcp: Mutex<BTreeMap<Labels, Entry<TcpCells>>>,
    /// Where outcomes go that the budget has no room for.
    pub(super) other_http: Arc<HttpCells>,
    pub(super) other_tcp: Arc<TcpCells>,
}

impl ShardSeries {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            http: Mutex::default(),
            tcp: Mutex::default(),
            other_http: Arc::default(),
            other_tcp: Arc::default(),
        }
    }

    /// `None`: too many labels; everything of this series is `other`.
    pub(super) fn http(&self, labels: &Labels) -> Option<Arc<HttpShared>> {
        let mut series = lock(&self.http);
        if let Some(entry) = series.get_mut(labels) {
            entry.gone_since = None;
            return Some(Arc::clone(&entry.series));
        }
        // Not charged: its outcomes are. But labels without an outcome must be bounded too.
        if series.len() >= self.budget.limits.series {
            self.budget.refused.inc();
            return None;
        }
        let entry = Entry {
            series: Arc::<HttpShared>::default(),
            gone_since: None,
        };
        Some(Arc::clone(
            &series.entry(labels.clone()).or_insert(entry).series,
        ))
    }

    /// The cells of a new outcome.
    pub(super) fn http_cells(&self) -> Option<Arc<HttpCells>> {
        self.charge().then(Arc::default)
    }

    pub(super) fn tcp(&self, labels: &Labels) -> Arc<TcpCells> {
        if let Some(entry) = lock(&self.tcp).get_mut(labels) {
            entry.gone_since = None;
            return Arc::clone(&entry.series);
        }
        if !self.charge() {
            return Arc::clone(&self.other_tcp);
        }
        let entry = Entry {
            series: Arc::<TcpCells>::default(),
            gone_since: None,
        };
        Arc::clone(
            &lock(&self.tcp)
                .entry(labels.clone())
                .or_insert(entry)
                .series,
        )
    }

    fn charge(&self) -> bool {
        let charged = self.budget.take();
        if !charged {
            self.budget.refused.inc();
        }
        charged
    }

    /// Forgets the series that nobody has had a handle of for long enough.
    pub(super) fn forget_stale(&self, now: Instant) {
        let stale_after = self.budget.limits.stale_after;
        let is_stale = |used: bool, gone_since: &mut Option<Instant>| {
            if used {
                *gone_since = None;
                return false;
            }
            now.duration_since(*gone_since.get_or_insert(now)) >= stale_after
        };
        let mut freed = 0;
        lock(&self.http).retain(|_, entry| {
            let stale = is_stale(Arc::strong_count(&entry.series) > 1, &mut entry.gone_since);
            freed += if stale { entry.series.len() } else { 0 };
            !stale
        });
        lock(&self.tcp).retain(|_, entry| {
            let stale = is_stale(Arc::strong_count(&entry.series) > 1, &mut entry.gone_since);
            freed += usize::from(stale);
            !stale
        });
        self.budget.give_back(freed);
    }
}
