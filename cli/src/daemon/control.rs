//! What the control plane tells on its admin socket: which proxies hold what, and what it refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use heddle_proto::admin::control_plane_client::ControlPlaneClient;
use heddle_proto::admin::{RouteStatus, RoutesRequest, StatusRequest, StatusResponse};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// The control plane answers from memory; more means that it is away.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks the control plane; finds it again after it was restarted.
#[derive(Debug, Clone)]
pub(crate) struct ControlAdmin {
    client: ControlPlaneClient<Channel>,
}

impl ControlAdmin {
    pub(crate) fn new(socket: &Path) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://control-plane.invalid").timeout(PATIENCE);
        Self {
            client: ControlPlaneClient::new(endpoint.connect_with_connector_lazy(connect)),
        }
    }

    /// What it says of Gateway API's routes; nothing while it is away.
    pub(crate) async fn routes(&self) -> Vec<RouteStatus> {
        let mut client = self.client.clone();
        match tokio::time::timeout(PATIENCE, client.routes(RoutesRequest {})).await {
            Ok(Ok(response)) => response.into_inner().routes,
            _ => Vec::new(),
        }
    }

    /// Its status; the error is the reason for people.
    pub(crate) async fn status(&self) -> Result<StatusResponse, String> {
        let mut client = self.client.clone();
        match tokio::time::timeout(PATIENCE, client.status(StatusRequest {})).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(format!("it does not answer: {}", status.message())),
            Err(_) => Err(format!(
                "it does not answer within {} ms",
                PATIENCE.as_millis()
            )),
        }
    }
}
