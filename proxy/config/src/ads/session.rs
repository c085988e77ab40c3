//! One stream, from connecting to its end.
//!
//! Order on a new stream: the types that the control plane sends of itself are listed first, with
//! the versions held, so that it knows them before an address makes it send any; then the three
//! that concern this pod; addresses and names last.

use std::convert::Infallible;
use std::time::Duration;

use heddle_identity::Refusal;
use heddle_identity::channel::explain;
use heddle_proto::envoy::config::core::v3::Node;
use heddle_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use heddle_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

use super::message::{MAX_DETAILS, nack, push, shorten};
use super::{AdsConfig, Connect, ConnectError};
use crate::compile::Problem;
use crate::kind::Kind;
use crate::store::{ConfigStore, Refused, Wanted};

/// Requests that wait for the transport: the first of each type and some acknowledgements.
const QUEUE: usize = 64;

/// How a stream ended.
pub(super) struct SessionEnd {
    pub(super) reason: String,
    /// It brought at least one answer: the next attempt need not wait long.
    pub(super) was_healthy: bool,
    /// Our certificate was not accepted.
    pub(super) refused: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect to the control plane")]
    Connect(#[source] ConnectError),
    #[error("the control plane did not {0} within {1:?}")]
    Timeout(&'static str, Duration),
    #[error("the control plane ended the stream: {:?}: {}", .0.code(), .0.message())]
    Ended(#[from] Status),
    #[error("the control plane closed the stream")]
    Closed,
}

pub(super) async fn run(
    store: &ConfigStore,
    control_plane: &impl Connect,
    config: &AdsConfig,
) -> SessionEnd {
    let mut session = Session {
        store,
        config,
        healthy: false,
    };
    let Err(failure) = session.run(control_plane).await;
    SessionEnd {
        reason: explain(&failure),
        was_healthy: session.healthy,
        refused: Refusal::is_of_our_certificate(&failure),
    }
}

struct Session<'a> {
    store: &'a ConfigStore,
    config: &'a AdsConfig,
    healthy: bool,
}

/// The sending half of a stream.
struct Requests {
    queue: mpsc::Sender<DeltaDiscoveryRequest>,
    patience: Duration,
}

impl Requests {
    async fn send(&self, request: DeltaDiscoveryRequest) -> Result<(), Failure> {
        match timeout(self.patience, self.queue.send(request)).await {
            Ok(sent) => sent.map_err(|_| Failure::Closed),
            Err(_) => Err(Failure::Timeout("read a request", self.patience)),
        }
    }
}

impl Session<'_> {
    async fn run(&mut self, control_plane: &impl Connect) -> Result<Infallible, Failure> {
        let patience = self.config.timeout;
        let channel = timeout(patience, control_plane.connect())
            .await
            .map_err(|_| Failure::Timeout("accept a connection", patience))?
            .map_err(Failure::Connect)?;
        let (queue, receiver) = mpsc::channel(QUEUE);
        let requests = Requests { queue, patience };
        for request in self.first_requests() {
            requests.send(request).await?;
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(self.config.max_message);
        let opened = timeout(
            patience,
            client.delta_aggregated_resources(ReceiverStream::new(receiver)),
        )
        .await;
        let mut responses = opened
            .map_err(|_| Failure::Timeout("open the stream", patience))??
            .into_inner();
        self.store.connected();
        info!("connected to the control plane");

        let idle = self.store.idle_limit();
        let mut idle_check =
            interval((idle / 10).clamp(Duration::from_millis(50), Duration::from_secs(30)));
        idle_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                response = responses.message() => {
                    let response = response?.ok_or(Failure::Closed)?;
                    self.healthy = true;
                    requests.send(self.answer(response)).await?;
                }
                () = self.store.interests().changed() => {
                    let wanted = self.store.interests().take_changes();
                    // What is dropped here first cannot be mistaken for the answer to a later
                    // subscription.
                    self.store.forget(&wanted.unsubscribe);
                    tell(Kind::Address, wanted, &requests).await?;
                }
                () = self.store.names().changed() => {
                    let wanted = self.store.names().take_changes();
                    self.store.forget_names(&wanted.unsubscribe);
                    tell(Kind::DnsName, wanted, &requests).await?;
                }
                _ = idle_check.tick() => {
                    self.store.interests().expire(idle);
                    self.store.names().expire(idle);
                }
            }
        }
    }

    /// What begins a stream. Types without a name to subscribe to or a version to list are left
    /// out: in discovery an empty first request asks for everything.
    fn first_requests(&self) -> Vec<DeltaDiscoveryRequest> {
        let node = self.store.node();
        let mut addresses = self.store.interests().restart();
        addresses.sort_unstable();
        self.store.forget(&self.store.unwanted());
        let mut names = self.store.names().restart();
        names.sort_unstable();
        self.store.forget_names(&self.store.unwanted_names());
        let mut requests: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: match kind {
                    Kind::Address => texts(&addresses),
                    Kind::DnsName => texts(&names),
                    _ => node.own_name(kind).into_iter().collect(),
                },
                initial_resource_versions: self.store.versions(kind),
                ..DeltaDiscoveryRequest::default()
            })
            .filter(|request| {
                !request.resource_names_subscribe.is_empty()
                    || !request.initial_resource_versions.is_empty()
            })
            .collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(Node {
                id: node.id(),
                cluster: node.trust_domain.to_string(),
                metadata: None,
                user_agent_name: concat!("heddle-proxy/", env!("CARGO_PKG_VERSION")).to_owned(),
            });
        }
        requests
    }

    /// Applies a response; gives the ACK or the NACK.
    fn answer(&self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let total = response.resources.len();
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        let refused = match Kind::of(&type_url) {
            Some(kind) => {
                let (push, mut refused) = push(kind, response);
                refused.extend(self.store.apply(push));
                refused
            }
            None => response
                .resources
                .into_iter()
                .map(|resource| Refused {
                    name: resource.name,
                    reason: Problem::UnknownType(type_url.clone()).to_string(),
                })
                .collect(),
        };
        for Refused { name, reason } in refused.iter().take(MAX_DETAILS) {
            warn!(kind = %type_url, %name, reason = %shorten(reason), "refused a resource; its last good version stays");
        }
        DeltaDiscoveryRequest {
            error_detail: (!refused.is_empty()).then(|| nack(&refused, total)),
            type_url,
            response_nonce,
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// Says what is wanted now, and what no longer is.
async fn tell<K: ToString>(
    kind: Kind,
    wanted: Wanted<K>,
    requests: &Requests,
) -> Result<(), Failure> {
    if wanted.subscribe.is_empty() && wanted.unsubscribe.is_empty() {
        return Ok(());
    }
    let request = DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: texts(&wanted.subscribe),
        resource_names_unsubscribe: texts(&wanted.unsubscribe),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(request).await
}

fn texts(names: &[impl ToString]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
