//! The handles that workers record with, and the cells behind them.
//!
//! A handle keeps the outcomes it has seen in a short list: usually one entry, compared by one
//! integer. An outcome is status, gRPC status and flag; a new one takes the slow path once.

use super::Labels;
use super::histogram::{Histogram, bump};
use super::lock;
use super::registry::ShardSeries;
use crate::flag::ResponseFlag;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Outcomes of one series that are told apart; a peer chooses its statuses, so this is a bound.
const MAX_OUTCOMES: usize = 64;
/// gRPC: a status that is not in the specification reads as UNKNOWN.
const GRPC_UNKNOWN: u8 = 2;
const GRPC_LAST: u8 = 16;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) grpc: Option<u8>,
    pub(super) flag: ResponseFlag,
}

#[derive(Debug, Default)]
pub(super) struct HttpCells {
    /// In milliseconds, the sum in microseconds. Its count is the number of requests.
    pub(super) duration: Histogram,
    pub(super) request: Histogram,
    pub(super) response: Histogram,
}

#[derive(Debug, Default)]
pub(super) struct TcpCells {
    pub(super) opened: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) closed: [AtomicU64; ResponseFlag::ALL.len()],
}

/// The outcomes of one series, for the scrape.
#[derive(Debug, Default)]
pub(super) struct HttpShared {
    outcomes: Mutex<Vec<(Outcome, Arc<HttpCells>)>>,
}

impl HttpShared {
    pub(super) fn len(&self) -> usize {
        lock(&self.outcomes).len()
    }

    pub(super) fn outcomes(&self) -> Vec<(Outcome, Arc<HttpCells>)> {
        lock(&self.outcomes).clone()
    }
}

/// A series of requests with the labels known per destination. Clone is a reference count.
#[derive(Clone, Debug)]
pub struct HttpSeries(Rc<HttpLocal>);

#[derive(Debug)]
struct HttpLocal {
    /// `None`: there was no room for the labels.
    shared: Option<Arc<HttpShared>>,
    shard: Arc<ShardSeries>,
    seen: RefCell<Vec<(Outcome, Arc<HttpCells>)>>,
}

impl HttpSeries {
    pub(super) fn new(shard: &Arc<ShardSeries>, labels: Labels) -> Self {
        let shared = shard.http(&labels);
        let seen = RefCell::new(Vec::with_capacity(2));
        Self(Rc::new(HttpLocal {
            shared,
            shard: Arc::clone(shard),
            seen,
        }))
    }

    /// One finished request. `status` 0: there was no response (the client went away).
    #[inline]
    pub fn record(
        &self,
        status: u16,
        grpc_status: Option<u8>,
        flag: ResponseFlag,
        duration: Duration,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let grpc = grpc_status.map(|code| if code > GRPC_LAST { GRPC_UNKNOWN } else { code });
        let outcome = Outcome { status, grpc, flag };
        let record = |cells: &HttpCells| cells.record(duration, request_bytes, response_bytes);
        let seen = self.0.seen.borrow();
        match seen.iter().find(|(known, _)| *known == outcome) {
            Some((_, cells)) => record(cells),
            None => {
                drop(seen);
                record(&self.0.resolve(outcome));
            }
        }
    }
}

impl HttpLocal {
    #[cold]
    fn resolve(&self, outcome: Outcome) -> Arc<HttpCells> {
        let other = || Arc::clone(&self.shard.other_http);
        let mut seen = self.seen.borrow_mut();
        let Some(shared) = self.shared.as_ref().filter(|_| seen.len() < MAX_OUTCOMES) else {
            return other();
        };
        let mut outcomes = lock(&shared.outcomes);
        let known = outcomes
            .iter()
            .find(|(known, _)| *known == outcome)
            .map(|(_, cells)| Arc::clone(cells));
        let cells = match known {
            Some(cells) => cells,
            None => match self.shard.http_cells() {
                Some(cells) => {
                    outcomes.push((outcome, Arc::clone(&cells)));
                    cells
                }
                None => other(),
            },
        };
        seen.push((outcome, Arc::clone(&cells)));
        cells
    }
}

impl HttpCells {
    fn record(&self, duration: Duration, request_bytes: u64, response_bytes: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration.observe(micros, micros);
        self.request
            .observe(request_bytes.saturating_mul(1000), request_bytes);
        self.response
            .observe(response_bytes.saturating_mul(1000), response_bytes);
    }
}

/// A series of connections. Clone is a reference count.
#[derive(Clone, Debug)]
pub struct TcpSeries {
    cells: Arc<TcpCells>,
    one_thread: PhantomData<Rc<()>>,
}

impl TcpSeries {
    pub(super) fn new(shard: &Arc<ShardSeries>, labels: Labels) -> Self {
        Self {
            cells: shard.tcp(&labels),
            one_thread: PhantomData,
        }
    }

    /// A connection was opened.
    pub fn opened(&self) {
        bump(&self.cells.opened, 1);
    }

    /// A connection was closed.
    pub fn closed(&self, flag: ResponseFlag) {
        bump(&self.cells.closed[flag as usize], 1);
    }

    /// Bytes sent to the client: the direction of a response.
    pub fn sent(&self, bytes: u64) {
        bump(&self.cells.sent, bytes);
    }

    /// Bytes received from the client: the direction of a request.
    pub fn received(&self, bytes: u64) {
        bump(&self.cells.received, bytes);
    }
}
