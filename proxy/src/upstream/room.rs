//! The bounds that the connections to one endpoint are held to, where its cluster has any: who may
//! open one, who waits, and when one has served long enough.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::breaker::{Limit, Overflow, Permit, Pool};
use crate::limits;

/// One endpoint's share of a cluster's bounds.
pub(crate) struct Room {
    pub(super) pool: Rc<Pool>,
    /// Connections of this worker.
    open: Cell<u32>,
    /// A connection can take a request, or is gone.
    freed: Notify,
}

/// The place of one connection, while it stands.
pub(crate) struct Slot {
    room: Rc<Room>,
    made: Instant,
    served: Cell<u32>,
    resting: Cell<Option<Instant>>,
    _permit: Option<Permit>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.room.open.update(|open| open.saturating_sub(1));
        self.room.free();
    }
}

impl Room {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self {
            pool,
            open: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// Whoever waits may look again.
    pub(super) fn free(&self) {
        self.freed.notify_one();
    }

    /// A place for a connection; `None`: there are as many as there may be. A worker may have one to
    /// each endpoint whatever the bound: it could wait for ever for what others hold.
    pub(super) fn enter(self: &Rc<Self>) -> Option<Slot> {
        let permit = match self.pool.connection() {
            Some(permit) => permit,
            None if self.open.get() == 0 => Some(self.pool.one_more(Limit::Connections)),
            None => return None,
        };
        self.open.update(|open| open + 1);
        Some(Slot {
            room: Rc::clone(self),
            made: Instant::now(),
            served: Cell::new(0),
            resting: Cell::new(None),
            _permit: permit,
        })
    }

    /// Whether there is no place for another connection.
    pub(super) fn is_full(&self) -> bool {
        self.open.get() > 0 && self.pool.is_full(Limit::Connections)
    }

    /// Waits, as long as a connection may take to be made, until `look` finds something.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> Result<T, Overflow> {
        let deadline = tokio::time::Instant::now() + self.pool.connect_timeout();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if timeout_at(deadline, self.freed.notified()).await.is_err() {
                return Err(self.pool.no_connection());
            }
        }
    }

    /// How long a connection without a request is kept.
    pub(super) fn idle_timeout(&self) -> Duration {
        let told = self.pool.terms().idle_timeout;
        told.unwrap_or(limits::UPSTREAM_IDLE)
    }

    fn is_spent(&self, served: u32, made: Instant) -> bool {
        let terms = self.pool.terms();
        terms
            .max_requests_per_connection
            .is_some_and(|most| served >= most)
            || terms
                .max_connection_duration
                .is_some_and(|most| made.elapsed() >= most)
    }
}

impl Slot {
    /// Another request begins.
    pub(super) fn serves(&self) {
        self.served.update(|served| served + 1);
        self.resting.set(None);
    }

    /// No request is on it.
    pub(super) fn rests(&self) {
        self.resting.set(Some(Instant::now()));
        self.room.free();
    }

    /// Nothing more comes over it.
    pub(super) fn ended(&self) {
        self.room.free();
    }

    /// Whether it has served long enough.
    pub(super) fn is_spent(&self) -> bool {
        self.room.is_spent(self.served.get(), self.made)
    }

    /// Whether it has rested for too long.
    pub(super) fn is_stale(&self) -> bool {
        let most = self.room.idle_timeout();
        self.resting
            .get()
            .is_some_and(|since| since.elapsed() >= most)
    }
}
