//! The life of a daemon: claims the mesh, makes its network, starts its parts and its pods, answers
//! until a signal or a command, then takes all of it away again. Whatever fails on the way, what was
//! made before is taken away.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use heddle_identity::{SpiffeId, TrustDomain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::collector::{self, Collector, CollectorError};
use super::control::ControlAdmin;
use super::controller::{Controller, Outlets};
use super::guard::{Guard, GuardError};
use super::mesh::Mesh;
use super::publish::{Mirror, MirrorError};
use super::runner::Runner;
use super::system::{Plan, System, SystemError};
use super::{injection, names};
use crate::api;
use crate::cluster::ServiceIps;
use crate::failure::Failure;
use crate::manifests::{Source, SourceError};
use crate::node::dns::{ClusterDns, DnsOptions};
use crate::node::{self, Layout, MeshName, Node, NodeError, NodeOptions};
use crate::traces::{Forwarder, InvalidEndpoint, Receiver, Store};

/// Who issues tokens, as in a cluster.
const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What a mesh is started with; paths are absolute.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) mesh: MeshName,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) sampling_percentage: f64,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) log_level: String,
    /// Of sidecars' certificates; 0: the identity service's default.
    pub(crate) cert_ttl_seconds: u32,
    pub(crate) root_spread_seconds: u32,
}

/// Why a mesh did not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Otlp(#[from] InvalidEndpoint),
    #[error(transparent)]
    Collector(#[from] CollectorError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("the mesh's injection cannot be set up: {0}")]
    Injection(String),
    #[error("{what}")]
    Io {
        what: String,
        source: std::io::Error,
    },
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let failure = Self::error(&error);
        match error {
            StartError::System(SystemError::Missing { .. }) => {
                failure.advise("cargo build --workspace --bins  makes them all")
            }
            StartError::System(error) => error
                .log()
                .iter()
                .fold(failure, |failure, line| failure.why(line)),
            _ => failure,
        }
    }
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// Runs a mesh from its start to its end.
pub(crate) async fn run(options: Options) -> Result<(), StartError> {
    let _guard = Guard::take(&options.mesh)?;
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let mut signals = tokio::spawn(on_signals(Arc::clone(&stop)));
    let mesh = options.mesh.clone();
    let layout = blocking(move || node::create(&mesh)).await?;
    let outcome = tokio::select! {
        outcome = live(options, &layout, stop, stopped) => outcome,
        // The second signal: no grace for anybody.
        _ = &mut signals => Ok(()),
    };
    signals.abort();
    let mesh = layout.mesh.clone();
    let destroyed = blocking(move || node::destroy(&mesh)).await;
    outcome.and(destroyed.map_err(StartError::from))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(NodeError::system("a step ended abnormally")(
            std::io::Error::other(error),
        )),
    }
}

/// The first signal ends the mesh in order; returns at the second. The end of the terminal is one,
/// unless it was said not to be (nohup).
async fn on_signals(stop: Arc<watch::Sender<bool>>) {
    let listen = |kind| signal(kind).ok();
    let mut hangup = match ignores_hangup() {
        true => None,
        false => listen(SignalKind::hangup()),
    };
    let mut hung_up = async || match &mut hangup {
        Some(hangup) => hangup.recv().await,
        None => std::future::pending().await,
    };
    let (Some(mut interrupt), Some(mut terminate)) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up() => {}
        }
        stop.send_replace(true);
    }
}

fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Signal 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}

async fn live(
    options: Options,
    layout: &Layout,
    stop: Arc<watch::Sender<bool>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let state = layout.state_dir();
    log_to(layout, &options.log_level)?;
    let sources = options
        .paths
        .iter()
        .map(|path| Source::new(path))
        .collect::<Result<Vec<_>, _>>()?;
    let store = Arc::new(Store::default());
    let forwarder = options
        .otlp_endpoint
        .as_deref()
        .map(Forwarder::start)
        .transpose()?;

    let (objects, objects_seen) = watch::channel(Arc::default());
    let (names, names_seen) = watch::channel(Arc::default());
    let node = Node::open(
        layout.clone(),
        NodeOptions {
            program: std::env::current_exe().map_err(io("cannot find my own program"))?,
            issuer: TOKEN_ISSUER.to_owned(),
            cluster_domain: names::CLUSTER_DOMAIN.to_owned(),
            objects: objects_seen,
        },
    )?;
    let _dns = ClusterDns::start(&node, names_seen, DnsOptions::default()).await?;

    let outlets = Outlets {
        plan: layout.plan.clone(),
        cluster: Mirror::create(&state, "cluster")?,
        applied: Mirror::create(&state, "applied")?,
        names,
        objects,
        trust_bundle: state.join("root-cert.pem"),
    };
    let plan = Plan::new(layout, &options, TOKEN_ISSUER);
    let injection = injection::config(
        &plan.control_address(),
        &plan.identity_address(),
        options.trust_domain.clone(),
        options.cert_ttl_seconds,
    )
    .map_err(StartError::Injection)?;
    let runner = Runner::new(Arc::clone(&node), injection);
    let ips = ServiceIps::new(layout.plan.service_pool());
    let mut controller = Controller::new(sources, ips, runner, outlets);
    // The control plane starts with the mesh's Services there.
    controller.publish_first();

    let system = System::start(&node, plan.clone()).await?;
    let address = SocketAddr::from((layout.plan.telemetry().v4, collector::PORT));
    let receiver = Receiver::new(Arc::clone(&store), forwarder);
    let collector =
        Collector::start(&node.sockets, address, plan.own_certificate()?, receiver).await?;

    let (handle, controlling) = controller.start(stopped.clone());
    let mesh = Arc::new(Mesh {
        layout: layout.clone(),
        trust_domain: options.trust_domain.to_string(),
        paths: options.paths,
        handle,
        control: ControlAdmin::new(&plan.control_admin()),
        system,
        store,
        collector,
        collector_address: address,
        otlp_endpoint: options.otlp_endpoint,
        stop,
    });
    // Answers until the last pod has stopped.
    let (finished, mut last) = watch::channel(false);
    let until = async move {
        let _ = last.wait_for(|finished| *finished).await;
    };
    let socket = state.join("daemon.sock");
    let serving = tokio::spawn({
        let mesh = Arc::clone(&mesh);
        async move { api::serve(&socket, mesh, until).await }
    });
    tracing::info!(mesh = %layout.mesh, "the mesh is up");
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tracing::info!("taking the mesh down");
    let _ = controlling.await;
    mesh.system.stop_all().await;
    finished.send_replace(true);
    match serving.await {
        Ok(Err(source)) => Err(io("the daemon's socket failed")(source)),
        _ => Ok(()),
    }
}

fn log_to(layout: &Layout, level: &str) -> Result<(), StartError> {
    let path = layout.component_log("daemon");
    let failed = || format!("cannot write the daemon's log {}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(io(failed()))?;
    }
    let file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(io(failed()))?;
    let filter = tracing_subscriber::EnvFilter::new(level);
    // A second daemon in one process, as in tests, keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Arc::new(file))
        .try_init();
    Ok(())
}

/// A system service account's identity.
pub(crate) fn system_id(trust_domain: &TrustDomain, account: &str) -> Result<SpiffeId, StartError> {
    SpiffeId::for_service_account(trust_domain, "heddle-system", account)
        .map_err(|error| StartError::Injection(format!("identity of {account}: {error}")))
}
