//! The gRPC service: one task for each stream drives its state machine with requests and mail. Who
//! the proxy says it is must be what its certificate proves. A push never closes a stream; what
//! closes one is a peer that breaks the rules, a changed identity, or the end of the process.

mod driver;
mod peer;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt, Stream};
use heddle_identity::{SpiffeId, incoming::Peer};
use heddle_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, info, info_span};

use self::{
    driver::Driver,
    peer::{check_identity, pod_name},
};
use super::{
    Hub,
    state::{Bounds, Kind, StreamState},
};
use crate::name::NsName;

/// Responses on their way to one proxy: one for each type can be outstanding.
const QUEUE: usize = 2 * Kind::ALL.len();
/// How long a proxy that says it holds something is waited for to say what else it holds.
const SETTLE: Duration = Duration::from_millis(25);
/// How long a new stream may take to say who it is, and a control plane to have read its source.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// Requests taken together before answering.
const MAX_BURST: usize = 64;
/// Largest request, in bytes: 10,000 subscriptions with versions are some 700 KiB.
const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// Limits of the service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// For each stream.
    pub bounds: Bounds,
}

/// The service.
#[derive(Clone)]
pub struct Ads {
    hub: Arc<Hub>,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
}

impl Ads {
    /// Ends every stream when `shutdown` becomes true.
    pub fn new(hub: Arc<Hub>, limits: Limits, shutdown: watch::Receiver<bool>) -> Self {
        Self {
            hub,
            limits,
            shutdown,
        }
    }

    /// As a tonic service.
    pub fn into_server(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }
}

type Outgoing = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type DeltaAggregatedResourcesStream = Responses;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.id.clone());
        let peer =
            peer.ok_or_else(|| Status::unauthenticated("a certificate of the mesh is needed"))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let ads = self.clone();
        let task = tokio::spawn(async move {
            if let Err(status) = ads.serve(request.into_inner(), &peer, &sender).await {
                // When the proxy is gone there is nobody to tell.
                let _ = sender.try_send(Err(status));
            }
        });
        Ok(Response::new(Responses {
            receiver,
            task: task.abort_handle(),
        }))
    }
}

impl Ads {
    async fn serve(
        &self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        peer: &SpiffeId,
        sender: &Outgoing,
    ) -> Result<(), Status> {
        let first = timeout(FIRST_REQUEST, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no request came"))??;
        let Some(first) = first else { return Ok(()) };
        let node = first.node.as_ref().and_then(|node| pod_name(&node.id));
        let node = node.ok_or_else(|| {
            Status::invalid_argument("node.id must be NAMESPACE/POD in the first request")
        })?;
        let ready = timeout(FIRST_REQUEST, self.hub.ready()).await;
        ready.map_err(|_| Status::unavailable("the configuration has not been read yet"))?;
        let span = info_span!("proxy", %node);
        self.drive(first, requests, node, peer, sender)
            .instrument(span)
            .await
    }

    async fn drive(
        &self,
        first: DeltaDiscoveryRequest,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        node: NsName,
        peer: &SpiffeId,
        sender: &Outgoing,
    ) -> Result<(), Status> {
        let model = self.hub.model();
        check_identity(&model, &node, peer)?;
        let mut stream = Driver {
            hub: &self.hub,
            registration: self
                .hub
                .connect(node.clone(), peer.as_str().to_owned(), now()),
            state: StreamState::new(node.clone(), &model, self.limits.bounds),
            sender,
        };
        drop(model);
        info!("connected");
        let mut shutdown = self.shutdown.clone();
        stream.request(first)?;
        let mut settled_at = Instant::now();
        loop {
            // What has come together is answered together.
            for _ in 0..MAX_BURST {
                match requests.message().now_or_never() {
                    Some(Ok(Some(request))) => stream.request(request)?,
                    Some(Ok(None)) => return Ok(()),
                    Some(Err(status)) => return gone(&status),
                    None => break,
                }
            }
            let settling = stream.state.is_settling() && Instant::now() < settled_at + SETTLE;
            if !settling {
                stream.push()?;
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        if !stream.state.is_settling() {
                            settled_at = Instant::now();
                        }
                        stream.request(request)?;
                    }
                    Ok(None) => return Ok(()),
                    Err(status) => return gone(&status),
                },
                () = stream.registration.mail() => check_identity(&self.hub.model(), &node, peer)?,
                () = sleep_until(settled_at + SETTLE), if settling => {}
                _ = shutdown.wait_for(|over| *over) => return Ok(()),
            }
        }
    }
}

/// A peer that goes away is no error.
fn gone(status: &Status) -> Result<(), Status> {
    info!(reason = status.message(), "disconnected");
    Ok(())
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What a stream is sent; ends its task when it is dropped.
pub struct Responses {
    receiver: mpsc::Receiver<Result<DeltaDiscoveryResponse, Status>>,
    task: AbortHandle,
}

impl Stream for Responses {
    type Item = Result<DeltaDiscoveryResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
