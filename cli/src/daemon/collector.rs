//! The trace store's listener: OTLP over the mesh's mutual TLS, on its own Service IP in the node's
//! network, with the identity of the node. Only sidecars of this mesh can hand spans in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heddle_identity::incoming::{Limits, mutual};
use heddle_identity::tls::ALPN_H2;
use heddle_identity::workload::{Settings, Workload};
use tokio::task::JoinSet;

use crate::node::NodeSockets;
use crate::traces::Receiver;

/// OTLP's port for gRPC.
pub(crate) const PORT: u16 = 4317;

/// The trace store cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the trace store cannot listen on {address}")]
pub(crate) struct CollectorError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A collector that serves; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Collector {
    ready: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Listens at once; serves as soon as it has its certificate.
    pub(crate) async fn start(
        sockets: &NodeSockets,
        address: SocketAddr,
        settings: Settings,
        receiver: Receiver,
    ) -> Result<Self, CollectorError> {
        let listener = sockets
            .listen(address)
            .await
            .map_err(|source| CollectorError { address, source })?;
        let ready = Arc::new(AtomicBool::new(false));
        let certified = Arc::clone(&ready);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let workload = Workload::start(settings);
            workload.ready().await;
            certified.store(true, Ordering::Relaxed);
            let incoming = mutual(listener, workload.tls().clone(), ALPN_H2, Limits::default());
            let server = tonic::transport::Server::builder().add_service(receiver.into_service());
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the trace store has stopped");
            }
        });
        Ok(Self {
            ready,
            _serving: serving,
        })
    }

    /// Whether it has its certificate.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}
