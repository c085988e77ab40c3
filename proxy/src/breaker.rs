//! Bounds of what goes to a cluster: connections, requests, those that wait for a connection,
//! retries. What is over a bound is refused at once. The counts are the sidecar's, shared by its
//! workers as atomics; only clusters with bounds have any.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use heddle_proxy_config::snapshot::ConnectionPool;
use heddle_proxy_telemetry::{Counter, Metrics};

use crate::limits;
use crate::view::ClusterKey;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    Pending,
    Requests,
    Retries,
}

impl Limit {
    fn label(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::Pending => "pending",
            Limit::Requests => "requests",
            Limit::Retries => "retries",
        }
    }
}

/// A bound was reached: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    limit: Limit,
    most: u32,
    cluster: Rc<str>,
}

impl std::error::Error for Overflow {}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            most,
            cluster,
            limit,
        } = self;
        let (what, field) = match limit {
            Limit::Connections => ("connections to", "maxConnections"),
            Limit::Pending => (
                "requests that wait for a connection to",
                "http1MaxPendingRequests",
            ),
            Limit::Requests => ("requests to", "http2MaxRequests"),
            Limit::Retries => ("retries to", "maxRetries"),
        };
        write!(
            f,
            "there are {most} {what} {cluster} already, all that its DestinationRule allows ({field})"
        )
    }
}

/// How many there are at the moment.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU32; 4]);

impl Counts {
    fn of(&self, limit: Limit) -> &AtomicU32 {
        &self.0[limit as usize]
    }
}

/// Counts of the clusters that have bounds, for all workers; asked when configuration changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breakers(Arc<Mutex<HashMap<ClusterKey, Weak<Counts>>>>);

impl Breakers {
    pub(crate) fn counts(&self, key: &ClusterKey) -> Arc<Counts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(key).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, counts| counts.strong_count() > 0);
        let made = Arc::<Counts>::default();
        all.insert(key.clone(), Arc::downgrade(&made));
        made
    }
}

/// One of what is bounded, while it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: Arc<Counts>,
    limit: Limit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.of(self.limit).fetch_sub(1, Relaxed);
    }
}

/// The bounds of one cluster, for one worker.
pub(crate) struct Pool {
    cluster: Rc<str>,
    service: Arc<str>,
    counts: Arc<Counts>,
    terms: RefCell<ConnectionPool>,
    metrics: Metrics,
    overflowed: [OnceCell<Counter>; 4],
}

impl Pool {
    pub(crate) fn new(
        cluster: String,
        service: Arc<str>,
        counts: Arc<Counts>,
        metrics: Metrics,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            service,
            counts,
            terms: RefCell::default(),
            metrics,
            overflowed: Default::default(),
        }
    }

    /// Takes over what a push says. Connections that stand are not touched.
    pub(crate) fn set(&self, terms: &ConnectionPool) {
        *self.terms.borrow_mut() = terms.clone();
    }

    pub(crate) fn terms(&self) -> std::cell::Ref<'_, ConnectionPool> {
        self.terms.borrow()
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.terms().connect_timeout.unwrap_or(limits::CONNECT)
    }

    fn most(&self, limit: Limit) -> Option<u32> {
        let terms = self.terms();
        match limit {
            Limit::Connections => terms.max_connections,
            // Whatever is said, memory is bounded.
            Limit::Pending => Some(terms.max_pending_requests.unwrap_or(limits::PENDING)),
            Limit::Requests => terms.max_requests,
            Limit::Retries => terms.max_retries,
        }
    }

    /// One more, if there may be. `Ok(None)`: they are not counted.
    pub(crate) fn admit(&self, limit: Limit) -> Result<Option<Permit>, Overflow> {
        let Some(most) = self.most(limit) else {
            return Ok(None);
        };
        match self.take(limit, most) {
            Some(permit) => Ok(Some(permit)),
            None => Err(self.overflow(limit, most)),
        }
    }

    /// As [`Pool::admit`], for who can wait: nothing is said when there is no room.
    pub(crate) fn connection(&self) -> Option<Option<Permit>> {
        match self.most(Limit::Connections) {
            None => Some(None),
            Some(most) => self.take(Limit::Connections, most).map(Some),
        }
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self, limit: Limit) -> bool {
        let count = self.counts.of(limit).load(Relaxed);
        self.most(limit).is_some_and(|most| count >= most)
    }

    /// One more, whatever the bound.
    pub(crate) fn one_more(&self, limit: Limit) -> Permit {
        self.counts.of(limit).fetch_add(1, Relaxed);
        Permit {
            counts: Arc::clone(&self.counts),
            limit,
        }
    }

    fn take(&self, limit: Limit, most: u32) -> Option<Permit> {
        let more = |count| (count < most).then_some(count + 1);
        let counts = &self.counts;
        counts.of(limit).fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Permit {
            counts: Arc::clone(counts),
            limit,
        })
    }

    /// That a bound was reached, counted.
    pub(crate) fn overflow(&self, limit: Limit, most: u32) -> Overflow {
        let counter = self.overflowed[limit as usize].get_or_init(|| {
            self.metrics.counter(
                "heddle_circuit_breaker_overflow_total",
                "What was refused because a bound of its DestinationRule was reached.",
                &[
                    ("destination_service", &self.service),
                    ("limit", limit.label()),
                ],
            )
        });
        counter.inc();
        Overflow {
            limit,
            most,
            cluster: Rc::clone(&self.cluster),
        }
    }

    /// Waited for a connection in vain.
    pub(crate) fn no_connection(&self) -> Overflow {
        let most = self.most(Limit::Connections).unwrap_or(0);
        self.overflow(Limit::Connections, most)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_proxy_config::snapshot::Name;

    use super::*;

    fn pool(breakers: &Breakers, terms: &ConnectionPool) -> Pool {
        let key = (Name::new("default/a"), None, 80);
        let counts = breakers.counts(&key);
        let pool = Pool::new(
            "service a".into(),
            "default/a".into(),
            counts,
            Metrics::default(),
        );
        pool.set(terms);
        pool
    }

    fn terms() -> ConnectionPool {
        ConnectionPool {
            max_requests: Some(2),
            max_connections: Some(1),
            ..ConnectionPool::default()
        }
    }

    #[test]
    fn workers_share_what_there_may_be() {
        let breakers = Breakers::default();
        let (one, two) = (pool(&breakers, &terms()), pool(&breakers, &terms()));
        let first = one.admit(Limit::Requests).unwrap();
        let _second = two.admit(Limit::Requests).unwrap();
        let refused = two.admit(Limit::Requests).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "there are 2 requests to service a already, all that its DestinationRule allows \
             (http2MaxRequests)"
        );
        drop(first);
        assert!(two.admit(Limit::Requests).is_ok());
    }

    #[test]
    fn what_has_no_bound_is_not_counted_but_waiting_always_is() {
        let pool = pool(&Breakers::default(), &ConnectionPool::default());
        assert!(pool.admit(Limit::Requests).unwrap().is_none());
        assert!(pool.connection().unwrap().is_none());
        let waiting: Vec<_> = (0..limits::PENDING)
            .map(|_| pool.admit(Limit::Pending).unwrap())
            .collect();
        assert!(pool.admit(Limit::Pending).is_err());
        drop(waiting);
        assert!(pool.admit(Limit::Pending).is_ok());
    }

    #[test]
    fn a_push_changes_the_bound_and_keeps_the_count() {
        let pool = pool(&Breakers::default(), &terms());
        let _one = pool.admit(Limit::Requests).unwrap();
        pool.set(&ConnectionPool {
            max_requests: Some(1),
            ..terms()
        });
        assert!(pool.admit(Limit::Requests).is_err());
        pool.set(&ConnectionPool::default());
        assert!(pool.admit(Limit::Requests).unwrap().is_none());
    }

    #[test]
    fn counts_are_forgotten_with_the_last_who_uses_them() {
        let breakers = Breakers::default();
        let kept = pool(&breakers, &terms());
        for n in 0..100 {
            drop(breakers.counts(&(Name::new(format!("default/{n}")), None, 80)));
        }
        assert!(breakers.0.lock().unwrap().len() <= 2);
        drop(kept);
    }
}
