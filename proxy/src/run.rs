//! Puts a sidecar together and takes it through its life: certificate and first configuration,
//! ready, serving, draining, stopped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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

use crate::listener::Listeners;
use crate::settings::{RunArgs, Settings, SettingsError};
use crate::tasks::Tasks;
use crate::worker::{self, Phase, Shared};

/// How often a certificate's expiry is looked at.
const EXPIRY_CHECK: Duration = Duration::from_secs(5);

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
    let settings = Settings::try_from(args).map_err(BadSettings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), RunError> {
    let started = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (quit, mut quit_asked) = watch::channel(false);
    let (phase, phase_seen) = watch::channel(Phase::Serving);
    let phase = Arc::new(phase);

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

    let connections = Arc::new(AtomicUsize::new(0));
    let tasks = Tasks::default();
    tasks.count_own();
    let shared = Shared {
        store: store.clone(),
        tls: tls.clone(),
        tracer: tracer.clone(),
        metrics: metrics.clone(),
        phase: phase_seen.clone(),
        connections: Arc::clone(&connections),
        tasks: tasks.clone(),
        opaque_ports: settings.opaque_ports.clone(),
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
    let readiness = tokio::spawn(follow_readiness(
        Arc::clone(&identity),
        store.clone(),
        phase_seen.clone(),
        ready,
        started,
    ));
    let admin = heddle_proxy_admin::serve(
        settings.admin.clone(),
        AdminHandles {
            ready: ready_seen,
            metrics: Arc::new({
                let (metrics, connections) = (metrics.clone(), Arc::clone(&connections));
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
            drain: Arc::new({
                let phase = Arc::clone(&phase);
                move || drain(&phase)
            }),
            quit: Arc::new(move || {
                quit.send_replace(true);
            }),
        },
        wait_stopped(phase_seen.clone()),
    );
    let admin = tokio::spawn(admin);
    tracing::info!(identity = %settings.own_id, workers = settings.workers, "sidecar started");

    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // An error: nobody can ask any more.
            Ok(_) = quit_asked.wait_for(|asked| *asked) => {}
        }
    };
    let mut admin = std::pin::pin!(admin);
    tokio::select! {
        () = end => {}
        ended = admin.as_mut() => {
            // Before the end of the sidecar it ends only when it cannot serve.
            ended.map_err(std::io::Error::other)??;
        }
    }
    drain(&phase);
    drained(&connections, settings.grace).await;
    phase.send_replace(Phase::Stopped);
    tracer.shutdown().await;
    readiness.abort();
    for thread in threads {
        // A worker that panicked has said so.
        let _ = thread.join();
    }
    tracing::info!("sidecar stopped");
    Ok(())
}

fn drain(phase: &watch::Sender<Phase>) {
    phase.send_if_modified(|phase| {
        let serving = *phase == Phase::Serving;
        if serving {
            *phase = Phase::Draining;
            tracing::info!("draining");
        }
        serving
    });
}

async fn wait_stopped(mut phase: watch::Receiver<Phase>) {
    // An error: the sidecar is gone altogether.
    let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
}

/// Waits until every connection has ended, at most for the grace period.
async fn drained(connections: &AtomicUsize, grace: Duration) {
    let deadline = Instant::now() + grace;
    while connections.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = connections.load(Ordering::Relaxed);
    if left > 0 {
        tracing::warn!(
            left,
            "the grace period has passed: closing the connections that are left"
        );
    }
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
    let control_plane = ads::MeshControlPlane {
        tls: identity.tls().clone(),
        address: settings.control_address.clone(),
        identity: settings.control_id.clone(),
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

/// Ready: there is a valid certificate and a configuration, and the sidecar is not draining. A
/// control plane or identity service that goes away later changes nothing.
async fn follow_readiness(
    identity: Arc<Workload>,
    store: ConfigStore,
    mut phase: watch::Receiver<Phase>,
    ready: watch::Sender<Readiness>,
    started: Instant,
) {
    let mut certificate = identity.status();
    let mut changed = store.changed();
    let mut was_ready = false;
    loop {
        let now = readiness(&identity, &store, *phase.borrow_and_update());
        if now.ready && !was_ready {
            let after = started.elapsed();
            tracing::info!(?after, "ready");
        }
        was_ready = now.ready;
        ready.send_replace(now);
        let any = tokio::select! {
            changed = certificate.changed() => changed.is_ok(),
            changed = changed.changed() => changed.is_ok(),
            changed = phase.changed() => changed.is_ok(),
            // A certificate can expire without anything happening.
            () = tokio::time::sleep(EXPIRY_CHECK) => true,
        };
        if !any {
            return;
        }
    }
}

fn readiness(identity: &Workload, store: &ConfigStore, phase: Phase) -> Readiness {
    let reason = if phase != Phase::Serving {
        "draining".to_owned()
    } else if !identity.tls().is_ready() {
        match &identity.status().borrow().last_error {
            Some(error) => format!("no valid certificate: {error}"),
            None => "waiting for a certificate from the identity service".to_owned(),
        }
    } else if store.snapshot().load().workload.is_none() {
        match store.status().last_error {
            Some(error) => format!("no configuration: {error}"),
            None => "waiting for the configuration from the control plane".to_owned(),
        }
    } else {
        return Readiness {
            ready: true,
            reason: "ready".into(),
        };
    };
    Readiness {
        ready: false,
        reason,
    }
}

/// Waits until the sidecar of this network namespace says that it is ready.
///
/// # Errors
/// When it does not in time: the reason that it gives.
pub fn wait(timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, heddle_proxy_admin::HEALTH_PORT));
    loop {
        let reason = match ask_ready(address) {
            Ok((true, _)) => return Ok(()),
            Ok((false, reason)) => reason,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(format!(
                "the sidecar is not ready after {}s: {reason}",
                timeout.as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ask_ready(address: SocketAddr) -> std::io::Result<(bool, String)> {
    let bound = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, bound)?;
    stream.set_read_timeout(Some(bound))?;
    stream.write_all(b"GET /healthz/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(8 * 1024).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let ready = answer.split_whitespace().nth(1) == Some("200");
    let reason = answer.rsplit("\r\n").next().unwrap_or_default();
    Ok((ready, reason.trim().to_owned()))
}
