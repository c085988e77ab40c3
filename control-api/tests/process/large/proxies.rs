//! Many proxies as the control plane sees them: who they are, what they ask for and bring, their answers.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_identity::{
    Workload,
    tls::{ALPN_H2, server_name},
};
use heddle_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    mesh::type_url,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpSocket, sync::mpsc, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::support::Setup;

/// How long any one step may take on a machine with much else to do.
pub(crate) const STEP: Duration = Duration::from_secs(120);
pub(crate) const NAMESPACES: u32 = 50;
const MACHINES: u32 = 100;
const TYPES: [&str; 7] = [
    type_url::ENDPOINTS,
    type_url::SERVICE,
    type_url::ROUTE_TABLE,
    type_url::ADDRESS,
    type_url::WORKLOAD,
    type_url::TRUST_BUNDLE,
    type_url::TELEMETRY,
];

#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) pods_each: u32,
    pub(crate) proxies: u32,
    pub(crate) used: u32,
    pub(crate) edits: u32,
}

impl Size {
    /// Services of a proxy; the first is everybody's.
    pub(crate) fn used_by(&self, proxy: u32) -> impl Iterator<Item = u32> {
        let services = self.services;
        let others = (1..self.used).map(move |n| 1 + (proxy * 7 + n * 131) % (services - 1));
        std::iter::once(0).chain(others)
    }
}

pub(crate) fn namespace(service: u32) -> String {
    format!("team-{}", service % NAMESPACES)
}

pub(crate) fn service_ip(service: u32) -> String {
    format!("11.{}.{}.1", service / 256, service % 256)
}

/// Name of a resource, by type URL.
pub(crate) type Held = HashMap<String, BTreeMap<String, String>>;

/// That the endpoints of a service came to a proxy.
pub(crate) struct Arrival {
    pub(crate) proxy: u32,
    pub(crate) service: String,
    pub(crate) at: Instant,
}

pub(crate) struct Mesh {
    pub(crate) size: Size,
    pub(crate) setup: Setup,
    pub(crate) workloads: Vec<Arc<Workload>>,
}

impl Mesh {
    /// From one of many addresses, as from many machines: one alone may not take all connections.
    async fn channel(&self, number: u32) -> Channel {
        let tls = self.workloads[(number % NAMESPACES) as usize].tls().clone();
        let address: SocketAddr = self.setup.control.parse().unwrap();
        let from = SocketAddr::from(([127, 78, 1, (number % MACHINES + 1) as u8], 0));
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(from)?;
                let tcp = socket.connect(address).await?;
                tcp.set_nodelay(true)?;
                let control = "spiffe://cluster.local/ns/heddle-system/sa/heddle-control";
                let config = tls.client_config(&control.parse().unwrap(), ALPN_H2);
                let stream = TlsConnector::from(config).connect(server_name(), tcp);
                stream.await.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        loop {
            match endpoint.connect_with_connector(connector.clone()).await {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Connects a proxy, waits until it has all that it uses (and an address that nobody has, so
    /// that one who holds everything is answered too), and goes on answering. What it
    /// then holds comes back when it is told to end.
    async fn proxy(
        &self,
        number: u32,
        held: Held,
        arrivals: mpsc::UnboundedSender<Arrival>,
    ) -> Running {
        let channel = self.channel(number).await;
        let (requests, outgoing) = mpsc::channel(64);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(outgoing)
            .await;
        let mut responses = responses.unwrap().into_inner();
        let mut wanted: Vec<String> = self.size.used_by(number).map(service_ip).collect();
        wanted.push(format!("13.0.{}.{}", number / 256, number % 256));
        let node = Node {
            id: format!("{}/svc-{number}-0", namespace(number)),
            ..Node::default()
        };
        // As a sidecar does: its own resources, then all that it holds, type by type.
        for url in TYPES {
            let subscribe = match url {
                type_url::ADDRESS => wanted.clone(),
                type_url::WORKLOAD => vec![node.id.clone()],
                type_url::TRUST_BUNDLE => vec!["cluster.local".into()],
                type_url::TELEMETRY => vec![namespace(number)],
                _ => Vec::new(),
            };
            let initial = held.get(url).cloned().unwrap_or_default();
            let request = DeltaDiscoveryRequest {
                node: Some(node.clone()),
                type_url: url.into(),
                resource_names_subscribe: subscribe,
                initial_resource_versions: initial.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await.unwrap();
        }
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let (mut held, mut ready, mut received) = (held, Some(ready), 0_usize);
            loop {
                let response = tokio::select! {
                    _ = &mut stopped => return held,
                    response = responses.message() => response.unwrap().expect("the stream stays"),
                };
                let at = Instant::now();
                let of_type = held.entry(response.type_url.clone()).or_default();
                for resource in response.resources {
                    received += 1;
                    if response.type_url == type_url::ENDPOINTS && ready.is_none() {
                        let service = resource.name.clone();
                        // Whoever waits may have had enough.
                        let _ = arrivals.send(Arrival {
                            proxy: number,
                            service,
                            at,
                        });
                    }
                    of_type.insert(resource.name, resource.version);
                }
                for name in response.removed_resources {
                    of_type.remove(&name);
                }
                let answer = DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    ..DeltaDiscoveryRequest::default()
                };
                requests.send(answer).await.unwrap();
                let addresses = held.get(type_url::ADDRESS);
                let complete =
                    addresses.is_some_and(|held| wanted.iter().all(|ip| held.contains_key(ip)));
                if complete && let Some(ready) = ready.take() {
                    ready.send(received).unwrap();
                }
            }
        });
        let received = timeout(STEP, is_ready).await.unwrap().unwrap();
        Running {
            number,
            task,
            stop,
            received,
        }
    }

    /// Connects all at once; how long until the last has everything, and how many resources came.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        held: Vec<Held>,
        arrivals: &mpsc::UnboundedSender<Arrival>,
    ) -> (Vec<Running>, Duration, usize) {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, held) in (0..).zip(held) {
            let (mesh, arrivals) = (self.clone(), arrivals.clone());
            tasks.spawn(async move { mesh.proxy(number, held, arrivals).await });
        }
        let mut running: Vec<Running> = tasks.join_all().await;
        running.sort_by_key(|proxy| proxy.number);
        let received = running.iter().map(|proxy| proxy.received).sum();
        (running, started.elapsed(), received)
    }
}

pub(crate) struct Running {
    number: u32,
    pub(crate) task: tokio::task::JoinHandle<Held>,
    pub(crate) stop: tokio::sync::oneshot::Sender<()>,
    received: usize,
}
