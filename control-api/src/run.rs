//! Joins the parts and runs them until told to stop: identity, source, hub, the listener for
//! proxies and the one for operators. Every task is owned here; stopping is bounded in time.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use heddle_https::Certificate;
use heddle_identity::{
    SpiffeId, Workload, incoming, tls::ALPN_H2, workload::Settings as IdentitySettings,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tracing::{info, warn};

use crate::{
    cluster::{
        Writer,
        lease::{Place, Timing},
    },
    config::{AdminAddress, Config},
    health::Health,
    model::Model,
    push::{Ads, Hub, Limits, state::Bounds},
    source::{
        Batch, Object,
        directory::{DirectoryError, DirectorySource},
        kubernetes::{ClientError, KubernetesSource, Pace},
        last_good::{self, LastGood},
    },
    status::Admin,
    webhook,
};

/// The service account that we are.
const OWN_ACCOUNT: &str = "heddle-control";
const IDENTITY_ACCOUNT: &str = "heddle-identity";
/// Batches on their way; a busy hub makes them larger, not more.
const BATCHES: usize = 4;
/// A dead proxy is found after at most these two together.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that one connection may have: a proxy needs one.
const MAX_STREAMS: u32 = 4;
/// How long stopping may take.
const STOP: Duration = Duration::from_secs(5);

/// Why the control plane cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A namespace or account that fits into no SPIFFE id.
    #[error("the system namespace {0:?} makes no SPIFFE id")]
    Identity(String, #[source] heddle_identity::spiffe::ParseError),
    /// The source.
    #[error(transparent)]
    Source(#[from] DirectoryError),
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClientError),
    /// A listener.
    #[error("cannot listen on {0}: is another control plane running?")]
    Listen(String, #[source] io::Error),
    /// The server.
    #[error("the server for {0} failed")]
    Serve(&'static str, #[source] tonic::transport::Error),
}

/// Runs until `stop` becomes true.
///
/// # Errors
/// When a part of it cannot start, or fails.
pub async fn run(config: Config, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let last_good = match &config.state_dir {
        Some(directory) => LastGood::load(directory),
        None => LastGood::default(),
    };
    let hub = Hub::new(Model::new(config.settings()).with_last_good(last_good.model));
    let admin = AdminListener::bind(&config.admin_listen).await?;
    let listener = bind(config.listen).await?;
    let workload = Workload::start(identity_settings(&config)?);
    let (batches, received) = mpsc::channel(BATCHES);
    let webhook = match config.kubernetes {
        true => Some(bind(config.webhook_listen).await?),
        false => None,
    };
    let health = Health::new(hub.clone());
    let probed = match config.health_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let source = Source::start(&config, &hub, last_good.source, batches).await?;
    if let Source::Cluster(source, _) = &source {
        health.of_cluster(source.progress());
    }

    let mut tasks: JoinSet<Result<(), RunError>> = JoinSet::new();
    let (keep, kept) = watch::channel(None);
    if let Some(directory) = config.state_dir.clone() {
        tasks.spawn(async {
            last_good::keep(directory, kept).await;
            Ok(())
        });
    }
    tasks.spawn(follow(hub.clone(), received, keep, workload.tls().clone()));
    tasks.spawn(admin.serve(Admin::new(hub.clone()), stop.clone()));
    if let Some(listener) = probed {
        let health = health.clone();
        let address = config
            .health_listen
            .map(|address| address.to_string())
            .unwrap_or_default();
        tasks.spawn(async move {
            let ended = health.serve(listener).await;
            ended.map_err(|error| RunError::Listen(address, error))
        });
    }
    tokio::select! {
        () = workload.ready() => {}
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        failed = ended(&mut tasks) => return failed,
    }
    info!(address = %config.listen, admin = %config.admin_listen, "serving proxies");
    if let Some(listener) = webhook {
        let bodies = webhook::bodies();
        health.of_webhook(bodies.clone());
        let router = webhook::router(hub.clone(), bodies);
        let certificate = Certificate::of_mesh(workload.tls());
        let mut stopped = stop.clone();
        info!(address = %config.webhook_listen, "serving the validating webhook");
        tasks.spawn(async move {
            let stopped = async move { _ = stopped.wait_for(|stop| *stop).await };
            heddle_https::serve(listener, router, certificate, stopped).await;
            Ok(())
        });
    }
    health.set_serving();
    let limits = Limits {
        bounds: Bounds {
            subscriptions: config.max_subscriptions,
            ..Bounds::default()
        },
    };
    let ads = Ads::new(hub, limits, stop.clone());
    let accepted = incoming::mutual(
        listener,
        workload.tls().clone(),
        ALPN_H2,
        incoming::Limits::default(),
    );
    let mut stopped = stop.clone();
    let proxies = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(ads.into_server())
        .serve_with_incoming_shutdown(
            accepted,
            async move { _ = stopped.wait_for(|stop| *stop).await },
        );
    tasks.spawn(async {
        proxies
            .await
            .map_err(|error| RunError::Serve("proxies", error))
    });
    let result = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        failed = ended(&mut tasks) => failed,
    };
    source.stop().await;
    if timeout(STOP, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        warn!("some connections did not end in time and are cut");
    }
    result
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| RunError::Listen(address.to_string(), error))
}

/// Where objects come from, and who writes there. Dropped, it ends.
enum Source {
    Directories(DirectorySource),
    Cluster(KubernetesSource, Writer),
}

impl Source {
    async fn start(
        config: &Config,
        hub: &Arc<Hub>,
        last_good: Vec<Arc<Object>>,
        batches: mpsc::Sender<Batch>,
    ) -> Result<Self, RunError> {
        let Some(access) = config.access() else {
            let source = DirectorySource::start(&config.config_dirs, last_good, batches)?;
            return Ok(Self::Directories(source));
        };
        let client = access.client().await?;
        let source = KubernetesSource::start(client.clone(), Pace::default(), last_good, batches);
        let place = Place {
            namespace: config.system_namespace.clone(),
            name: config.lease.clone(),
            holder: config.own_name(),
        };
        let writer = Writer::start(client, place, Timing::default(), hub.clone(), &source);
        Ok(Self::Cluster(source, writer))
    }

    async fn stop(self) {
        match self {
            Self::Directories(source) => drop(source),
            Self::Cluster(source, writer) => {
                drop(source);
                writer.stop().await;
            }
        }
    }
}

/// None of the tasks ends before it is told to.
async fn ended(tasks: &mut JoinSet<Result<(), RunError>>) -> Result<(), RunError> {
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => {
            warn!(%error, "a task ended abnormally");
            Ok(())
        }
        None => Ok(()),
    }
}

/// The only writer of the model: batches of the source, and the trust bundle.
async fn follow(
    hub: Arc<Hub>,
    mut batches: mpsc::Receiver<Batch>,
    keep: watch::Sender<Option<LastGood>>,
    tls: heddle_identity::MeshTls,
) -> Result<(), RunError> {
    let mut roots_changed = tls.roots_changed();
    let roots = || tls.roots().iter().map(|root| root.to_vec()).collect();
    hub.set_roots(roots());
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(batch) = batch else { return Ok(()) };
                let changes = batch.changes.len();
                let of_source = batch.kept.to_vec();
                let started = std::time::Instant::now();
                let dirty = hub.apply(batch);
                let took = started.elapsed();
                keep.send_replace(Some(LastGood { source: of_source, model: hub.model().kept() }));
                info!(changes, services = dirty.services.len(), version = hub.model().version, ?took, "applied");
            }
            changed = roots_changed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let roots: Vec<Vec<u8>> = roots();
                info!(roots = roots.len(), "the trust bundle has changed");
                hub.set_roots(roots);
            }
        }
    }
}

fn identity_settings(config: &Config) -> Result<IdentitySettings, RunError> {
    let id = |account: &str| {
        SpiffeId::for_service_account(&config.trust_domain, &config.system_namespace, account)
            .map_err(|error| RunError::Identity(config.system_namespace.clone(), error))
    };
    Ok(IdentitySettings {
        identity_address: config.identity_address.clone(),
        identity_id: match &config.identity_identity {
            Some(id) => id.clone(),
            None => id(IDENTITY_ACCOUNT)?,
        },
        own_id: id(OWN_ACCOUNT)?,
        token_file: config.token_file.clone(),
        trust_bundle_file: config.trust_bundle_file.clone(),
        state_dir: config.state_dir.clone(),
        ttl: None,
        // The API server finds the webhook by this name.
        dns_names: match config.kubernetes {
            true => vec![format!("{OWN_ACCOUNT}.{}.svc", config.system_namespace)],
            false => Vec::new(),
        },
    })
}

enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removed when it is dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl AdminListener {
    async fn bind(address: &AdminAddress) -> Result<Self, RunError> {
        let failed = |error| RunError::Listen(address.to_string(), error);
        match address {
            AdminAddress::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(failed),
            AdminAddress::Unix(path) => {
                // A socket that nobody answers on was left by a control plane that was killed.
                if std::os::unix::net::UnixStream::connect(path).is_err() {
                    let _ = std::fs::remove_file(path);
                }
                let listener = UnixListener::bind(path).map_err(failed)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    async fn serve(self, admin: Admin, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let server = Server::builder().add_service(admin.into_server());
        let stopped = async move { _ = stop.wait_for(|stop| *stop).await };
        let result = match self {
            Self::Tcp(listener) => {
                server
                    .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped)
                    .await
            }
            Self::Unix(listener, _file) => {
                server
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped)
                    .await
            }
        };
        result.map_err(|error| RunError::Serve("operators", error))
    }
}
