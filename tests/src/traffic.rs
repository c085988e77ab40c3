//! Steady load of three kinds at once from inside a pod: HTTP/1.1 requests, messages on long gRPC
//! streams, messages on WebSockets; and short streams beside the long ones, because a new one can
//! fail where an old one lives on. Every request and message has an id, and what comes back is
//! compared with what was sent: nothing is counted as answered that was not.
//!
//! A stream that the server ends politely (a gRPC status or a close frame that says so) has *moved*:
//! what was not acknowledged on it is sent again on the next one, as clients of such servers do. One
//! that ends in any other way is *broken*.

mod grpc;
mod http1;
mod record;
mod session;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

pub use self::record::{Failure, Kind, Record, Tally};
use crate::{netns, wait};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(15);

/// Where to, and how much of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom HTTP/1.1 is spoken with: where it is, and the name that is asked for.
    pub http: (SocketAddr, String),
    /// The same of gRPC.
    pub grpc: (SocketAddr, String),
    /// The same of WebSocket.
    pub websocket: (SocketAddr, String),
    /// Clients of HTTP/1.1, one request after the other; the last one makes new connections.
    pub clients: usize,
    /// Also send what must not be repeated (POST).
    pub posts: bool,
    /// Long streams of each kind.
    pub streams: usize,
    /// Between the requests of a client, and the messages of a stream.
    pub pace: Duration,
    /// How often a short stream of each kind is made.
    pub churn: Option<Duration>,
}

/// Load that runs until it is stopped.
pub struct Traffic {
    stop: watch::Sender<bool>,
    record: Arc<Record>,
    thread: JoinHandle<()>,
}

/// What every client shares.
#[derive(Clone)]
struct Work {
    plan: Arc<Plan>,
    record: Arc<Record>,
    ids: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
}

impl Work {
    fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits so long, or until the end.
    async fn pause(&mut self, pause: Duration) {
        let stopped = self.stop.wait_for(|stop| *stop);
        // An error: there is nobody to stop it any more, which is the end too.
        let _ = tokio::time::timeout(pause, stopped).await;
    }
}

impl Traffic {
    /// Starts it in a network namespace.
    pub fn start(netns: &str, plan: Plan) -> Self {
        Self::on(|clients| netns::spawn(netns, clients), plan)
    }

    /// Starts it where the caller is.
    pub fn start_here(plan: Plan) -> Self {
        Self::on(std::thread::spawn, plan)
    }

    fn on<S>(spawn: S, plan: Plan) -> Self
    where
        S: FnOnce(Box<dyn FnOnce() + Send>) -> JoinHandle<()>,
    {
        let (stop, stopped) = watch::channel(false);
        let record = Arc::new(Record::default());
        let work = Work {
            plan: Arc::new(plan),
            record: Arc::clone(&record),
            ids: Arc::default(),
            stop: stopped,
        };
        let thread = spawn(Box::new(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            LocalSet::new().block_on(&runtime, all(work));
        }));
        Self {
            stop,
            record,
            thread,
        }
    }

    /// What has come of it so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Waits until every kind of it has been answered this many times more.
    pub fn more(&self, answers: usize, kinds: &[Kind]) {
        for kind in kinds {
            let wanted = self.record.answered(*kind) + answers;
            wait::until(
                &format!("{answers} more answers of {kind}"),
                Duration::from_secs(60),
                || self.record.answered(*kind) >= wanted,
            );
        }
    }

    /// Lets what is under way end, and says what came of all.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn stop(self) -> Arc<Record> {
        self.stop.send_replace(true);
        self.thread.join().expect("the clients");
        self.record
    }
}

async fn all(work: Work) {
    let mut clients = JoinSet::new();
    for index in 0..work.plan.clients {
        let fresh = index > 0 && index + 1 == work.plan.clients;
        clients.spawn_local(http1::run(work.clone(), fresh));
    }
    let long = (0..work.plan.streams).map(|_| None);
    let short = work.plan.churn.map(Some);
    for life in long.chain(short) {
        clients.spawn_local(session::run::<websocket::Socket>(work.clone(), life));
        clients.spawn_local(session::run::<grpc::Stream>(work.clone(), life));
    }
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// What a message of this id looks like: unlike any other.
fn payload(id: u64) -> Bytes {
    id.to_be_bytes().repeat(8).into()
}
