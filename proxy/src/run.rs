//! Puts a sidecar together and takes it through its life: certificate and first configuration,
//! ready, serving, draining, stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use heddle_identity::workload::{Settings as IdentitySettings, Workload};
use heddle_proxy_admin::{AdminHandles, Readiness};
use heddle_proxy_config::node::ProxyNode;
use heddle_proxy_config::store::{ConfigStore, Limits, roots_into};
use heddle_proxy_config::{ads, persist};
use heddle_proxy_redirect::{INBOUND_PORT, OUTBOUND_PORT};
use heddle_proxy_telemetry::{CollectorSpec, Metrics, Tracer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::balance::ejections::Ejections;
use crate::drain::Drain;
use crate::listener::Listeners;
use crate::readiness;
use crate::settings::{RunArgs, Settings, SettingsError};
use crate::tasks::Tasks;
use crate::worker::{self, Shared};

/// Most metric series of the whole sidecar.
const MAX_SERIES: usize = 10_000;

/// Why a sidecar could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag cannot be used.
    #[error(transparent)]
    Settings(#[from] BadSettings),
    /// A socket, thread or runtime could not be had.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// An admin endpoint could not be served.
    #[error("{0}")]
    Admin(#[from] heddle_proxy_admin::Error),
    /// The pod's DNS could not be served.
    #[error(transparent)]
    Dns(#[from] heddle_proxy_dns::ServeError),
}

/// A flag that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadSettings(SettingsError);

/// Runs the sidecar until SIGTERM or SIGINT, or `POST /quitquitquit`.
///
/// # Errors
/// When it cannot start: a bad setting, or a port that is taken.
pub fn run(args: RunArgs) -> Result<(), RunError> {
    // Before there is a key: other processes of this user, of another pod's sidecar for one, must
    // not look into this one's memory or files, nor a core dump hold them.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "other processes of this user can read the sidecar's key");
    }
    raise_file_limit();
    let settings = Settings::try_from(args).map_err(BadSettings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings))
}

/// A connection takes two descriptors, and the usual limit of 1024 is for programs that use `select`.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(settings: Settings) -> Result<(), RunError> {
    let started = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (quit, mut quit_asked) = watch::channel(false);
    let drain = Drain::new(settings.grace);

    let identity = Arc::new(Workload::start(IdentitySettings {
        identity_address: settings.identity_address.clone(),
        identity_id: settings.identity_id.clone(),
        own_id: settings.own_id.clone(),
        token_file: settings.token_file.clone(),
        trust_bundle_file: settings.trust_bundle_file.clone(),
        state_dir: Some(settings.state_dir.clone()),
        ttl: settings.cert_ttl,
        dns_names: Vec::new(),
    }));
    let tls = identity.tls().clone();
    let store = store(&settings, &tls);
    let metrics = Metrics::new(MAX_SERIES);
    let tracer = tracer(&settings, &tls, &metrics);
    let _telemetry = follow_telemetry(&store, &tracer);
    let _discovery = discovery(&settings, &store, &identity);
    let _dns = crate::dns::start(
        &store,
        &metrics,
        &settings.resolv_conf,
        settings.dns_capture,
    )?;

    let tasks = Tasks::default();
    tasks.count_own();
    let shared = Shared {
        store: store.clone(),
        tls: tls.clone(),
        tracer: tracer.clone(),
        metrics: metrics.clone(),
        breakers: Default::default(),
        ejections: Ejections::default(),
        phase: drain.phase(),
        connections: Arc::clone(drain.connections()),
        tasks: tasks.clone(),
        opaque_ports: settings.opaque_ports.clone(),
        habits: settings.habits,
    };
    let mut threads = Vec::with_capacity(settings.workers);
    for index in 0..settings.workers {
        let listeners = Listeners::bind(OUTBOUND_PORT, INBOUND_PORT)?;
        threads.push(worker::spawn(index, listeners, shared.clone())?);
    }

    let (ready, ready_seen) = watch::channel(Readiness {
        ready: false,
        reason: "starting".into(),
    });
    let readiness = tokio::spawn(readiness::follow(
        Arc::clone(&identity),
        store.clone(),
        drain.phase(),
        ready,
        started,
    ));
    let admin = heddle_proxy_admin::serve(
        settings.admin.clone(),
        AdminHandles {
            ready: ready_seen,
            metrics: Arc::new({
                let metrics = metrics.clone();
                let connections = Arc::clone(drain.connections());
                let alive = metrics.gauge("heddle_tasks", "Tasks alive in the sidecar.", &[]);
                let open = metrics.gauge(
                    "heddle_connections",
                    "Connections that the sidecar has accepted and serves.",
                    &[],
                );
                move |out: &mut String| {
                    alive.set(tasks.alive() as u64);
                    open.set(connections.load(Ordering::Relaxed) as u64);
                    metrics.render(out);
                }
            }),
            status: Arc::new({
                let (store, identity) = (store.clone(), Arc::clone(&identity));
                let (own, started) = (settings.own_id.to_string(), started);
                move || crate::status::status(&store, &identity, &own, started)
            }),
            config_dump: Arc::new({
                let store = store.clone();
                move || crate::status::config_dump(&store)
            }),
            explain: crate::explain::answers(store.clone(), shared.ejections.clone()),
            drain: Arc::new({
                let drain = drain.clone();
                move || drain.begin()
            }),
            drained: Arc::new({
                let drain = drain.clone();
                move || {
                    let drain = drain.clone();
                    Box::pin(async move { drain.ended_after_app().await })
                }
            }),
            quit: Arc::new(move || {
                quit.send_replace(true);
            }),
        },
        {
            let drain = drain.clone();
            async move { drain.stopped().await }
        },
    );
    let admin = tokio::spawn(admin);
    tracing::info!(identity = %settings.own_id, workers = settings.workers, "sidecar started");

    let mut admin = std::pin::pin!(admin);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // An error: nobody can ask any more.
        Ok(_) = quit_asked.wait_for(|asked| *asked) => {}
        ended = admin.as_mut() => {
            // Before the end of the sidecar it ends only when it cannot serve.
            ended.map_err(std::io::Error::other)??;
        }
    }
    let left = tokio::select! {
        left = drain.ended() => left,
        // The second: now.
        _ = terminate.recv() => drain.connections().load(Ordering::Relaxed),
        _ = interrupt.recv() => drain.connections().load(Ordering::Relaxed),
    };
    if left > 0 {
        tracing::warn!(
            left,
            "closing the connections that have not ended by themselves"
        );
    }
    drain.stop();
    tracer.shutdown().await;
    readiness.abort();
    for thread in threads {
        // A worker that panicked has said so.
        let _ = thread.join();
    }
    tracing::info!("sidecar stopped");
    Ok(())
}

fn store(settings: &Settings, tls: &heddle_identity::MeshTls) -> ConfigStore {
    let node = ProxyNode {
        namespace: settings.pod_namespace.clone(),
        pod: settings.pod_name.clone(),
        trust_domain: settings.trust_domain.clone(),
    };
    ConfigStore::new(node, Limits::default(), roots_into(tls.clone()))
}

/// Begins with what was accepted before, if anything was, then follows the control plane.
fn discovery(settings: &Settings, store: &ConfigStore, identity: &Arc<Workload>) -> JoinSet<()> {
    let restored = persist::restore(store, &settings.state_dir);
    if restored > 0 {
        tracing::info!(
            resources = restored,
            "serving from the last accepted configuration"
        );
    }
    let control_plane = ads::OfWorkload {
        mesh: ads::MeshControlPlane {
            tls: identity.tls().clone(),
            address: settings.control_address.clone(),
            identity: settings.control_id.clone(),
        },
        workload: Arc::clone(identity),
    };
    let mut tasks = JoinSet::new();
    let keep = persist::keep(store.clone(), settings.state_dir.clone());
    tasks.spawn(async move {
        keep.await;
    });
    let (store, identity) = (store.clone(), Arc::clone(identity));
    tasks.spawn(async move {
        identity.ready().await;
        ads::run(store, control_plane, ads::AdsConfig::default()).await;
    });
    tasks
}

fn tracer(settings: &Settings, tls: &heddle_identity::MeshTls, metrics: &Metrics) -> Tracer {
    let workload = heddle_proxy_telemetry::Workload {
        service: String::new(),
        pod: settings.pod_name.clone(),
        namespace: settings.pod_namespace.clone(),
    };
    let tls = tls.clone();
    let channel = Arc::new(move |address: &str, peer: &heddle_identity::SpiffeId| {
        Ok(heddle_identity::channel::connect_lazy(&tls, address, peer)?)
    });
    let runtime = tokio::runtime::Handle::current();
    Tracer::new(&runtime, workload, Some(channel), metrics)
}

/// Keeps the tracer as the pushed configuration says.
fn follow_telemetry(store: &ConfigStore, tracer: &Tracer) -> tokio::task::JoinHandle<()> {
    let (store, tracer) = (store.clone(), tracer.clone());
    tokio::spawn(async move {
        let mut changed = store.changed();
        let mut applied = None;
        loop {
            let snapshot = store.snapshot().load_full();
            let current = (Arc::clone(&snapshot.telemetry), snapshot.workload.clone());
            if applied.as_ref() != Some(&current) {
                apply_telemetry(&tracer, &snapshot);
                applied = Some(current);
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    })
}

fn apply_telemetry(tracer: &Tracer, snapshot: &heddle_proxy_config::snapshot::Snapshot) {
    let telemetry = &snapshot.telemetry;
    let spec = match &telemetry.collector {
        None => Ok(None),
        Some(collector) => {
            let identity = collector.identity.as_ref().map(ToString::to_string);
            CollectorSpec::parse(&collector.endpoint, &identity.unwrap_or_default())
        }
    };
    match spec {
        Ok(spec) => tracer.configure(telemetry.sampling_ppm, spec),
        Err(error) => tracing::warn!(%error, "the pushed telemetry is not used"),
    }
    if let Some(workload) = &snapshot.workload {
        let service = match (&*workload.app, &*workload.owner) {
            ("", owner) => owner,
            (app, _) => app,
        };
        tracer.set_resource(heddle_proxy_telemetry::Workload {
            service: service.to_owned(),
            pod: workload.name.name().to_owned(),
            namespace: workload.name.namespace().to_owned(),
        });
    }
}
