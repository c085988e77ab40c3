//! A control plane that says exactly what a test tells it to, over loopback.

use std::net::SocketAddr;
use std::time::Duration;

use heddle_identity::tls::ALPN_H2;
use heddle_identity::{MeshTls, incoming};
use heddle_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use heddle_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use heddle_proto::mesh::{self, ResourceError};
use heddle_proxy_config::ads::ConnectError;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::node::ProxyNode;
use heddle_proxy_config::store::{ConfigStore, Limits, RootsSink};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Service(mpsc::Sender<Stream>);

/// One stream of the proxy.
pub(crate) struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    nonce: u32,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(16);
        let stream = Stream {
            requests: request.into_inner(),
            responses,
            nonce: 0,
        };
        self.0
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

pub(crate) struct FakeControl {
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    server: AbortHandle,
}

impl Drop for FakeControl {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeControl {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(address, TcpListenerStream::new(listener))
    }

    /// The same over mesh TLS.
    pub(crate) async fn start_mesh(tls: MeshTls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(
            address,
            incoming::mutual(listener, tls, ALPN_H2, incoming::Limits::default()),
        )
    }

    fn serve<C>(
        address: SocketAddr,
        connections: impl tokio_stream::Stream<Item = std::io::Result<C>> + Send + 'static,
    ) -> Self
    where
        C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (sender, streams) = mpsc::channel(4);
        let serving = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(Service(sender)))
            .serve_with_incoming(connections);
        Self {
            address,
            streams,
            server: tokio::spawn(serving).abort_handle(),
        }
    }

    pub(crate) async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv())
            .await
            .expect("the proxy connects")
            .unwrap()
    }

    /// How the proxy under test reaches this control plane.
    pub(crate) fn connector(&self) -> impl heddle_proxy_config::ads::Connect + 'static {
        connector(self.address)
    }
}

pub(crate) fn connector(address: SocketAddr) -> impl heddle_proxy_config::ads::Connect + 'static {
    move || async move {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok::<Channel, ConnectError>(endpoint.connect().await?)
    }
}

impl Stream {
    pub(crate) async fn request(&mut self) -> DeltaDiscoveryRequest {
        let message = timeout(PATIENCE, self.requests.message())
            .await
            .expect("the proxy sends a request");
        message.unwrap().expect("the stream is open")
    }

    /// The requests that begin a stream, until and with that of `last`.
    pub(crate) async fn first_requests(&mut self, last: Kind) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = vec![self.request().await];
        while requests.last().unwrap().type_url != last.type_url() {
            requests.push(self.request().await);
        }
        requests
    }

    /// Sends a response without waiting for what becomes of it.
    pub(crate) async fn send(
        &mut self,
        kind: Kind,
        resources: Vec<Resource>,
        removed: &[&str],
    ) -> String {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let response = DeltaDiscoveryResponse {
            system_version_info: format!("system-{nonce}"),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce: nonce.clone(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        };
        self.responses.send(Ok(response)).await.unwrap();
        nonce
    }

    /// Sends a response; gives what the proxy refuses of it.
    pub(crate) async fn push(
        &mut self,
        kind: Kind,
        resources: Vec<Resource>,
        removed: &[&str],
    ) -> Vec<ResourceError> {
        let nonce = self.send(kind, resources, removed).await;
        let answer = self.request().await;
        assert_eq!(
            (answer.type_url.as_str(), &answer.response_nonce),
            (kind.type_url(), &nonce)
        );
        answer.error_detail.map_or_else(Vec::new, |status| {
            let details = status.details.into_iter();
            details
                .map(|detail| ResourceError::decode(detail.value.as_slice()).unwrap())
                .collect()
        })
    }

    /// The same, when nothing may be refused.
    pub(crate) async fn accepted(
        &mut self,
        kind: Kind,
        resources: Vec<Resource>,
        removed: &[&str],
    ) {
        assert_eq!(self.push(kind, resources, removed).await, []);
    }

    /// Sends all that a service and its address take, in order.
    pub(crate) async fn push_reviews(&mut self, ip: &str) {
        self.accepted(
            Kind::Endpoints,
            vec![resource(Kind::Endpoints, "default/reviews", &endpoints(2))],
            &[],
        )
        .await;
        self.accepted(
            Kind::Service,
            vec![resource(
                Kind::Service,
                "default/reviews",
                &service("reviews"),
            )],
            &[],
        )
        .await;
        self.accepted(
            Kind::RouteTable,
            vec![resource(Kind::RouteTable, "default/reviews", &routes(90))],
            &[],
        )
        .await;
        self.accepted(
            Kind::Address,
            vec![resource(Kind::Address, ip, &address("default/reviews"))],
            &[],
        )
        .await;
    }
}

pub(crate) fn resource(kind: Kind, name: &str, content: &impl Message) -> Resource {
    let value = content.encode_to_vec();
    Resource {
        // As the control plane does: the version tells the content.
        version: format!(
            "{}-{}",
            value.len(),
            value.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        ),
        resource: Some(prost_types::Any {
            type_url: kind.type_url().to_owned(),
            value,
        }),
        name: name.to_owned(),
        aliases: Vec::new(),
    }
}

pub(crate) fn address(service: &str) -> mesh::Address {
    mesh::Address {
        kind: Some(mesh::address::Kind::Service(service.to_owned())),
        ..Default::default()
    }
}

pub(crate) fn service(name: &str) -> mesh::Service {
    mesh::Service {
        namespace: "default".into(),
        name: name.into(),
        hosts: vec![format!("{name}.default.svc.cluster.local")],
        ports: vec![mesh::Port {
            number: 9080,
            name: "http".into(),
            protocol: mesh::Protocol::Http1 as i32,
        }],
        ..mesh::Service::default()
    }
}

pub(crate) fn endpoints(count: u8) -> mesh::Endpoints {
    let endpoint = |n| mesh::Endpoint {
        address: format!("10.1.0.{n}"),
        target_ports: vec![9080],
        identity: "spiffe://cluster.local/ns/default/sa/reviews".into(),
        workload: format!("default/reviews-{n}"),
        ..mesh::Endpoint::default()
    };
    mesh::Endpoints {
        service_ports: vec![9080],
        endpoints: (1..=count).map(endpoint).collect(),
        subset_names: Vec::new(),
    }
}

pub(crate) fn routes(weight: u32) -> mesh::RouteTable {
    let destination = |weight| mesh::Destination {
        service: "default/reviews".into(),
        weight,
        ..Default::default()
    };
    let rule = mesh::HttpRule {
        destinations: vec![destination(weight), destination(100 - weight)],
        ..Default::default()
    };
    mesh::RouteTable {
        http: vec![rule],
        ..Default::default()
    }
}

pub(crate) fn workload() -> mesh::Workload {
    mesh::Workload {
        namespace: "default".into(),
        name: "productpage-1".into(),
        identity: "spiffe://cluster.local/ns/default/sa/productpage".into(),
        mtls: mesh::MtlsMode::Strict as i32,
        ..mesh::Workload::default()
    }
}

pub(crate) fn bundle(root: &[u8]) -> mesh::TrustBundle {
    mesh::TrustBundle {
        roots: vec![root.to_vec()],
    }
}

/// A store for `default/productpage-1`; the trust sink refuses a root that reads `bad`.
pub(crate) fn store(limits: Limits) -> ConfigStore {
    let roots = |roots: Vec<rustls_pki_types::CertificateDer<'static>>| {
        if roots.iter().any(|root| root.as_ref() == b"bad") {
            Err("no certificate".to_owned())
        } else {
            Ok(())
        }
    };
    store_with(limits, Box::new(roots))
}

pub(crate) fn store_with(limits: Limits, roots: RootsSink) -> ConfigStore {
    let node = ProxyNode {
        namespace: "default".into(),
        pod: "productpage-1".into(),
        trust_domain: Default::default(),
    };
    ConfigStore::new(node, limits, roots)
}
