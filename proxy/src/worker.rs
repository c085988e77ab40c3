//! A worker: a thread with its own single-threaded runtime, listeners, upstreams and metric shard.
//! Nothing here is shared with another worker but the configuration snapshot, read through one
//! atomic pointer, so a request takes no lock and never changes threads.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use heddle_identity::MeshTls;
use heddle_proxy_config::snapshot::Snapshot;
use heddle_proxy_config::store::ConfigStore;
use heddle_proxy_redirect::PortList;
use heddle_proxy_telemetry::{Labels, Metrics, Peer, Shard, TcpSeries, Tracer};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::balance::ejections::Ejections;
use crate::breaker::Breakers;
use crate::forward::tally::Tally;
use crate::inbound;
use crate::limits;
use crate::listener::{self, Gate, Listeners};
use crate::outbound;
use crate::refusals::Refusals;
use crate::serve::Habits;
use crate::tasks::Tasks;
use crate::upstream::connect::{ConnectError, Dialer};
use crate::view::{Upstreams, View};

/// Where the sidecar is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Connections end as soon as they politely can.
    Draining,
    Stopped,
}

/// What every worker is given; cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: ConfigStore,
    pub(crate) tls: MeshTls,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: Metrics,
    /// Counts of what is bounded over all workers.
    pub(crate) breakers: Breakers,
    /// Who is left out, for people.
    pub(crate) ejections: Ejections,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Connections under way, over all workers.
    pub(crate) connections: Arc<AtomicUsize>,
    /// The runtimes whose tasks are counted.
    pub(crate) tasks: Tasks,
    /// Ports of the application whose bytes are not looked at, whatever is declared.
    pub(crate) opaque_ports: PortList,
    pub(crate) habits: Habits,
}

/// One worker's state.
pub(crate) struct Worker {
    pub(crate) store: ConfigStore,
    pub(crate) tls: MeshTls,
    pub(crate) own_id: Arc<str>,
    pub(crate) tracer: Tracer,
    pub(crate) shard: Shard,
    pub(crate) dialer: Dialer,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) inbound: inbound::Ports,
    pub(crate) plain: inbound::Plain,
    pub(crate) opaque_ports: PortList,
    pub(crate) tally: Tally,
    pub(crate) habits: Habits,
    /// Copies of requests that are under way to mirrors.
    pub(crate) mirrors: Rc<Cell<u32>>,
    metrics: Metrics,
    view: RefCell<Rc<View>>,
    upstreams: RefCell<Upstreams>,
    own: RefCell<(
        Option<Arc<heddle_proxy_config::snapshot::Workload>>,
        Arc<Peer>,
    )>,
    passthrough: OnceCell<TcpSeries>,
    refusals: Refusals,
}

impl Worker {
    pub(crate) fn new(shared: &Shared) -> Self {
        let mut upstreams = Upstreams::new(
            shared.breakers.clone(),
            shared.ejections.clone(),
            shared.metrics.clone(),
        );
        let snapshot: Arc<Snapshot> = shared.store.snapshot().load_full();
        let view = Rc::new(View::new(snapshot, None, &mut upstreams));
        Self {
            store: shared.store.clone(),
            tls: shared.tls.clone(),
            own_id: shared.tls.own_id().as_str().into(),
            tracer: shared.tracer.clone(),
            shard: shared.metrics.shard(),
            dialer: Dialer::new(shared.tls.clone(), shared.habits.header_case),
            phase: shared.phase.clone(),
            inbound: inbound::Ports::default(),
            plain: inbound::Plain::default(),
            opaque_ports: shared.opaque_ports.clone(),
            tally: Tally::new(shared.metrics.clone()),
            habits: shared.habits,
            mirrors: Rc::default(),
            metrics: shared.metrics.clone(),
            view: RefCell::new(view),
            upstreams: RefCell::new(upstreams),
            own: RefCell::default(),
            passthrough: OnceCell::new(),
            refusals: Refusals::default(),
        }
    }

    /// The view of the newest snapshot.
    pub(crate) fn view(&self) -> Rc<View> {
        let current = self.store.snapshot().load();
        if Arc::ptr_eq(&current, &self.view.borrow().snapshot) {
            return Rc::clone(&self.view.borrow());
        }
        let snapshot = arc_swap::Guard::into_inner(current);
        let before = Rc::clone(&self.view.borrow());
        let view = View::new(snapshot, Some(&before), &mut self.upstreams.borrow_mut());
        let view = Rc::new(view);
        self.view.replace(Rc::clone(&view));
        view
    }

    pub(crate) fn with_upstreams<T>(&self, f: impl FnOnce(&mut Upstreams) -> T) -> T {
        f(&mut self.upstreams.borrow_mut())
    }

    /// This pod, as metrics name it.
    pub(crate) fn own_peer(&self, view: &View) -> Arc<Peer> {
        let Some(workload) = &view.snapshot.workload else {
            return Arc::default();
        };
        let mut own = self.own.borrow_mut();
        if !own.0.as_ref().is_some_and(|w| Arc::ptr_eq(w, workload)) {
            let peer = Peer {
                workload: match &*workload.owner {
                    "" => workload.name.name().to_owned(),
                    owner => owner.to_owned(),
                },
                namespace: workload.name.namespace().to_owned(),
                principal: workload.identity.to_string(),
                app: workload.app.to_string(),
                version: workload.version.to_string(),
            };
            *own = (Some(Arc::clone(workload)), Arc::new(peer));
        }
        Arc::clone(&own.1)
    }

    /// Where connections to addresses outside the mesh are counted.
    pub(crate) fn passthrough_series(&self, labels: impl FnOnce(Arc<Peer>) -> Labels) -> TcpSeries {
        self.passthrough
            .get_or_init(|| self.shard.tcp(labels(self.own_peer(&self.view()))))
            .clone()
    }

    /// Notes that an endpoint took no connection. One that is not who it should be is a refusal.
    pub(crate) fn connect_failed(&self, endpoint: &dyn fmt::Display, error: &ConnectError) {
        match error {
            ConnectError::Refused(refusal) => {
                self.refused("upstream-tls", || {
                    tracing::warn!(%endpoint, "refused: TLS handshake: {refusal}");
                });
            }
            other => tracing::debug!(%endpoint, error = %other, "cannot connect"),
        }
    }

    /// Counts a connection that was refused, and has it warned of unless there are many. `reason` is
    /// a label: one of a fixed few.
    pub(crate) fn refused(&self, reason: &'static str, warn: impl FnOnce()) {
        let Some(silent) = self.refusals.count(reason, &self.metrics, Instant::now()) else {
            return;
        };
        warn();
        if silent > 0 {
            tracing::warn!(
                reason,
                "and {silent} more were refused before that were not logged"
            );
        }
    }
}

/// Starts a worker's thread. It ends when the sidecar has drained.
pub(crate) fn spawn(
    index: usize,
    listeners: Listeners,
    shared: Shared,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(listeners, shared)),
                Err(error) => tracing::error!(%error, "cannot start worker {index}"),
            }
        })
}

async fn run(listeners: Listeners, shared: Shared) {
    shared.tasks.count_own();
    let mut phase = shared.phase.clone();
    let worker = Rc::new(Worker::new(&shared));
    let sweep = Rc::clone(&worker);
    tokio::task::spawn_local(async move {
        let mut tick = tokio::time::interval(limits::SWEEP);
        loop {
            tick.tick().await;
            // Also lets go of what the configuration no longer names, when no traffic does.
            sweep.view();
            sweep.with_upstreams(Upstreams::sweep);
        }
    });
    tokio::task::spawn_local(follow_policy(Rc::clone(&worker)));
    let gate = Gate::new(limits::CONNECTIONS_PER_WORKER, shared.connections);
    for socket in listeners.outbound {
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(listener::accept(
            socket,
            gate.clone(),
            move |stream, peer| outbound::connection(Rc::clone(&worker), stream, peer),
        ));
    }
    for socket in listeners.inbound {
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(listener::accept(
            socket,
            gate.clone(),
            move |stream, peer| inbound::connection(Rc::clone(&worker), stream, peer),
        ));
    }
    // Listeners stay open while connections drain: the pod's application may still call out. The
    // tasks above end with the runtime. An error means that the sender, and so the process, ends.
    let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
}

/// Ends connections that a new policy denies.
async fn follow_policy(worker: Rc<Worker>) {
    let mut changed = worker.store.changed();
    let workload = || worker.store.snapshot().load().workload.clone();
    let mut heeded = workload();
    // An error: the sidecar ends.
    while changed.changed().await.is_ok() {
        let now = workload();
        let same = match (&heeded, &now) {
            (Some(heeded), Some(now)) => Arc::ptr_eq(heeded, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            worker.plain.heed(&worker);
            heeded = now;
        }
    }
}
