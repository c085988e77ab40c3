//! The delta ADS client: keeps one stream to the control plane, for ever.
//!
//! It runs as one task on the control thread. What a lost stream had brought stays in use; a new
//! one begins by listing what is held, so that only differences come. Who the control plane is,
//! and how to reach it, is the business of the [`Connect`] that it is given.

mod message;
mod session;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use heddle_identity::backoff::Backoff;
use heddle_identity::workload::Workload;
use heddle_identity::{MeshTls, SpiffeId, channel};
use tonic::transport::Channel;
use tracing::{debug, warn};

use crate::store::ConfigStore;
use session::SessionEnd;

/// What a connection attempt fails with.
pub type ConnectError = Box<dyn Error + Send + Sync>;

/// Makes channels to the control plane, one for each attempt.
pub trait Connect: Send + Sync {
    /// Connects. The caller bounds the time.
    fn connect(&self) -> BoxFuture<'_, Result<Channel, ConnectError>>;

    /// The control plane has not accepted our certificate.
    fn refused(&self) {}
}

impl<F, C> Connect for F
where
    F: Fn() -> C + Send + Sync,
    C: Future<Output = Result<Channel, ConnectError>> + Send + 'static,
{
    fn connect(&self) -> BoxFuture<'_, Result<Channel, ConnectError>> {
        Box::pin(self())
    }
}

/// The control plane over mesh TLS: nobody but `identity` is accepted at `address`.
#[derive(Clone, Debug)]
pub struct MeshControlPlane {
    /// This workload's own certificate and roots.
    pub tls: MeshTls,
    /// `HOST:PORT`.
    pub address: String,
    /// Who must answer there.
    pub identity: SpiffeId,
}

impl Connect for MeshControlPlane {
    fn connect(&self) -> BoxFuture<'_, Result<Channel, ConnectError>> {
        Box::pin(async {
            let channel = channel::connect(&self.tls, &self.address, &self.identity).await;
            channel.map_err(ConnectError::from)
        })
    }
}

/// The same for a workload, which asks for another certificate when its own is refused there.
pub struct OfWorkload {
    /// The control plane.
    pub mesh: MeshControlPlane,
    /// Whose certificate it is shown.
    pub workload: Arc<Workload>,
}

impl Connect for OfWorkload {
    fn connect(&self) -> BoxFuture<'_, Result<Channel, ConnectError>> {
        self.mesh.connect()
    }

    fn refused(&self) {
        self.workload.refused();
    }
}

/// How patient and how generous the client is.
#[derive(Clone, Copy, Debug)]
pub struct AdsConfig {
    /// Longest first wait after a stream is lost.
    pub backoff_base: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// Bound of connecting, of opening the stream, and of every write.
    pub timeout: Duration,
    /// Largest message taken, in bytes.
    pub max_message: usize,
}

impl Default for AdsConfig {
    fn default() -> Self {
        Self {
            backoff_base: Duration::from_millis(100),
            // A fleet comes back within this after a control plane does.
            backoff_max: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            // Endpoints of a service with 50,000 pods.
            max_message: 16 << 20,
        }
    }
}

/// Keeps the store fresh; never ends. Dropping the future closes the stream.
pub async fn run(store: ConfigStore, control_plane: impl Connect, config: AdsConfig) -> Infallible {
    let mut backoff = Backoff::new(config.backoff_base, config.backoff_max);
    let mut last_reason = String::new();
    loop {
        let SessionEnd {
            reason,
            was_healthy,
            refused,
        } = session::run(&store, &control_plane, &config).await;
        if was_healthy {
            backoff.reset();
            last_reason.clear();
        }
        let wait = backoff.next();
        if reason == last_reason {
            debug!(%reason, ?wait, "the control plane is still away");
        } else {
            warn!(%reason, ?wait, "the control plane is away; the last configuration stays in use");
        }
        if refused {
            control_plane.refused();
        }
        store.disconnected(reason.clone());
        last_reason = reason;
        tokio::time::sleep(wait).await;
    }
}
