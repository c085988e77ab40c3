//! A mock proxy over real mutual TLS on loopback.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{
    MeshTls, channel, incoming,
    tls::ALPN_H2,
    workload::{IssueError, Issued, Issuer, Order, Workload},
};
use heddle_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    google::rpc,
    mesh::{self, ResourceError, type_url},
};
use prost::Message;
use prost_types::Any;
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::*;
use crate::model::{Model, Settings, testing};

const WAIT: Duration = Duration::from_secs(20);

struct LocalIssuer(Arc<Authority>, SpiffeId);

#[tonic::async_trait]
impl Issuer for LocalIssuer {
    async fn issue(&self, order: Order) -> Result<Issued, IssueError> {
        let issued = self.0.issue(&order.csr, &self.1, order.ttl);
        let issued = issued.map_err(|error| IssueError::Local(error.to_string()))?;
        Ok(Issued {
            chain: issued.chain,
            roots: self.0.roots(),
        })
    }
}

struct Mesh {
    authority: Arc<Authority>,
    hub: Arc<Hub>,
    address: String,
    _own: Workload,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
    _root: tempfile::TempDir,
}

impl Mesh {
    async fn start(yaml: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let authority =
            Arc::new(Authority::load_or_create(root.path(), Policy::default()).unwrap());
        let own = workload(&authority, "heddle-system", "heddle-control").await;
        let hub = Hub::new(Model::new(Settings::default()));
        hub.set_roots(own.tls().roots().iter().map(|root| root.to_vec()).collect());
        hub.apply(testing::batch(yaml));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopping) = watch::channel(false);
        let ads = Ads::new(hub.clone(), Limits::default(), stopping.clone());
        let accepted = incoming::mutual(
            listener,
            own.tls().clone(),
            ALPN_H2,
            incoming::Limits::default(),
        );
        let mut stopped = stopping;
        let server = tokio::spawn(async move {
            let stopped = async move { _ = stopped.wait_for(|stop| *stop).await };
            let server = Server::builder().add_service(ads.into_server());
            server
                .serve_with_incoming_shutdown(accepted, stopped)
                .await
                .unwrap();
        });
        Self {
            authority,
            hub,
            address,
            _own: own,
            stop,
            server,
            _root: root,
        }
    }

    async fn proxy(&self, node: &str, account: &str) -> Proxy {
        let own = workload(&self.authority, node.split('/').next().unwrap(), account).await;
        Proxy::connect(own, &self.address, node).await
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        timeout(WAIT, self.server)
            .await
            .expect("the server ends")
            .unwrap();
    }
}

async fn workload(authority: &Arc<Authority>, namespace: &str, account: &str) -> Workload {
    let id = SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap();
    let issuer = LocalIssuer(authority.clone(), id.clone());
    let workload = Workload::with_issuer(id, Box::new(issuer), None, Vec::new());
    timeout(WAIT, workload.ready()).await.unwrap();
    workload
}

struct Proxy {
    _own: Workload,
    node: String,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Type URL and name to version and bytes.
    held: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// In the order of arrival: type, names.
    log: Vec<(String, Vec<String>)>,
}

impl Proxy {
    async fn connect(own: Workload, address: &str, node: &str) -> Self {
        let tls: &MeshTls = own.tls();
        let control = "spiffe://cluster.local/ns/heddle-system/sa/heddle-control"
            .parse()
            .unwrap();
        let channel = channel::connect(tls, address, &control).await.unwrap();
        let (requests, outgoing) = mpsc::channel(64);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client
            .delta_aggregated_resources(outgoing)
            .await
            .unwrap()
            .into_inner();
        Self {
            _own: own,
            node: node.into(),
            requests,
            responses,
            held: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    async fn send(&self, type_url: &str, names: &[&str], initial: HashMap<String, String>) {
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: self.node.clone(),
                ..Node::default()
            }),
            type_url: type_url.into(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            initial_resource_versions: initial,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn subscribe(&self, type_url: &str, name: &str) {
        self.send(type_url, &[name], HashMap::new()).await;
    }

    /// The next response, acknowledged; with `refuse`, these names are refused.
    async fn next(&mut self, refuse: Option<&str>) -> DeltaDiscoveryResponse {
        let response = timeout(WAIT, self.responses.message())
            .await
            .expect("a response")
            .unwrap()
            .expect("a response");
        self.log.push((
            response.type_url.clone(),
            response.resources.iter().map(|r| r.name.clone()).collect(),
        ));
        for resource in &response.resources {
            if refuse != Some(resource.name.as_str()) {
                let key = (response.type_url.clone(), resource.name.clone());
                let body = resource.resource.clone().unwrap_or_default().value;
                self.held.insert(key, (resource.version.clone(), body));
            }
        }
        for name in &response.removed_resources {
            self.held.remove(&(response.type_url.clone(), name.clone()));
        }
        let error_detail = refuse.map(|name| rpc::Status {
            code: 3,
            message: "refused".into(),
            details: vec![Any {
                type_url: "type.googleapis.com/heddle.mesh.v1.ResourceError".into(),
                value: ResourceError {
                    name: name.into(),
                    reason: "no such thing".into(),
                }
                .encode_to_vec(),
            }],
        });
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(answer).await.unwrap();
        response
    }

    /// Answers until it holds `name` such that `good`.
    async fn until<M: Message + Default>(
        &mut self,
        type_url: &str,
        name: &str,
        good: impl Fn(&M) -> bool,
    ) -> M {
        loop {
            if let Some((_, body)) = self.held.get(&(type_url.to_owned(), name.to_owned())) {
                let message = M::decode(&**body).unwrap();
                if good(&message) {
                    return message;
                }
            }
            self.next(None).await;
        }
    }

    fn versions(&self, type_url: &str) -> HashMap<String, String> {
        let of_type = self.held.iter().filter(|((url, _), _)| url == type_url);
        of_type
            .map(|((_, name), (version, _))| (name.clone(), version.clone()))
            .collect()
    }
}

fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap()
}

#[tokio::test]
async fn an_address_brings_what_it_needs_in_order() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    proxy
        .subscribe(type_url::WORKLOAD, "default/productpage-1")
        .await;
    proxy
        .subscribe(type_url::TRUST_BUNDLE, "cluster.local")
        .await;
    proxy.subscribe(type_url::TELEMETRY, "default").await;
    let own = |w: &mesh::Workload| w.identity == "spiffe://cluster.local/ns/default/sa/productpage";
    proxy
        .until(type_url::WORKLOAD, "default/productpage-1", own)
        .await;
    proxy
        .until(
            type_url::TRUST_BUNDLE,
            "cluster.local",
            |t: &mesh::TrustBundle| t.roots.len() == 1,
        )
        .await;
    proxy
        .until(type_url::TELEMETRY, "default", |t: &mesh::Telemetry| {
            t.sampling_ppm == 10_000
        })
        .await;

    proxy.log.clear();
    proxy.subscribe(type_url::ADDRESS, "10.0.0.3").await;
    let is_reviews =
        |a: &mesh::Address| a.kind == Some(mesh::address::Kind::Service("default/reviews".into()));
    proxy.until(type_url::ADDRESS, "10.0.0.3", is_reviews).await;
    let order: Vec<&str> = proxy.log.iter().map(|(url, _)| short(url)).collect();
    assert_eq!(order, ["Endpoints", "Service", "RouteTable", "Address"]);
    let endpoints: mesh::Endpoints = proxy
        .until(type_url::ENDPOINTS, "default/reviews", |_| true)
        .await;
    assert_eq!(
        (endpoints.endpoints.len(), endpoints.subset_names),
        (3, vec!["v1".to_owned(), "v2".to_owned()])
    );
    let routes: mesh::RouteTable = proxy
        .until(type_url::ROUTE_TABLE, "default/reviews", |_| true)
        .await;
    let weights: Vec<u32> = routes.http[1]
        .destinations
        .iter()
        .map(|d| d.weight)
        .collect();
    assert_eq!(weights, [90, 10]);

    proxy.subscribe(type_url::ADDRESS, "10.0.0.4").await;
    proxy
        .until(type_url::ADDRESS, "10.0.0.4", |_: &mesh::Address| true)
        .await;
    proxy.subscribe(type_url::ADDRESS, "192.0.2.1").await;
    let unknown = |a: &mesh::Address| matches!(a.kind, Some(mesh::address::Kind::Unknown(_)));
    proxy.until(type_url::ADDRESS, "192.0.2.1", unknown).await;
    // It becomes known.
    mesh.hub.apply(testing::batch(&testing::pod(
        "late-1",
        "192.0.2.1",
        "late",
        "v1",
    )));
    let pod = |a: &mesh::Address| matches!(&a.kind, Some(mesh::address::Kind::Workload(e)) if e.workload == "default/late-1");
    proxy.until(type_url::ADDRESS, "192.0.2.1", pod).await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_change_reaches_those_concerned_and_is_small() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    proxy.subscribe(type_url::ADDRESS, "10.0.0.3").await;
    proxy
        .until(type_url::ADDRESS, "10.0.0.3", |_: &mesh::Address| true)
        .await;
    let route = testing::REVIEWS
        .split("---\n")
        .find(|d| d.contains("kind: VirtualService"))
        .unwrap();
    for share in [50, 20, 70] {
        let edited = route.replace("weight: 90", &format!("weight: {share}"));
        proxy.log.clear();
        let started = Instant::now();
        mesh.hub.apply(testing::batch(&edited));
        let live = |t: &mesh::RouteTable| t.http[1].destinations[0].weight == share;
        proxy
            .until(type_url::ROUTE_TABLE, "default/reviews", live)
            .await;
        assert!(
            started.elapsed() < Duration::from_millis(500),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(
            proxy.log,
            [(
                type_url::ROUTE_TABLE.to_owned(),
                vec!["default/reviews".to_owned()]
            )]
        );
    }
    mesh.stop().await;
}

#[tokio::test]
async fn a_refusal_is_recorded_and_not_repeated() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    proxy.subscribe(type_url::ADDRESS, "10.0.0.3").await;
    for refuse in [None, None, Some("default/reviews"), None] {
        proxy.next(refuse).await;
    }
    let status = eventually(|| {
        let status = mesh.hub.proxies().into_iter().next()?;
        (status.summary.synced && !status.summary.nacks.is_empty()).then_some(status)
    })
    .await;
    assert_eq!(
        status.summary.nacks,
        [(
            Kind::Routes,
            "default/reviews".into(),
            "no such thing".to_owned()
        )]
    );
    // An unrelated change of another type comes, the refused one does not come again.
    mesh.hub.apply(testing::batch(&testing::pod(
        "reviews-v2-2",
        "10.1.0.77",
        "reviews",
        "v2",
    )));
    assert_eq!(short(&proxy.next(None).await.type_url), "Endpoints");
    // It comes when it has changed, and is accepted.
    let route = testing::REVIEWS
        .split("---\n")
        .find(|d| d.contains("kind: VirtualService"))
        .unwrap();
    mesh.hub
        .apply(testing::batch(&route.replace("weight: 90", "weight: 1")));
    assert_eq!(short(&proxy.next(None).await.type_url), "RouteTable");
    let settled = || {
        let status = mesh.hub.proxies().into_iter().next()?;
        (status.summary.synced && status.summary.nacks.is_empty()).then_some(status)
    };
    assert_eq!(
        eventually(settled).await.summary.model,
        mesh.hub.model().version
    );
    mesh.stop().await;
}

#[tokio::test]
async fn a_reconnecting_proxy_gets_only_what_differs() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    for address in ["10.0.0.3", "10.0.0.4"] {
        proxy.subscribe(type_url::ADDRESS, address).await;
        proxy
            .until(type_url::ADDRESS, address, |_: &mesh::Address| true)
            .await;
    }
    let held = std::mem::take(&mut proxy.held);
    drop(proxy);
    eventually(|| mesh.hub.proxies().is_empty().then_some(())).await;
    // One endpoint changes while it is away, and it holds a service that it needs no more.
    mesh.hub.apply(testing::batch(&testing::pod(
        "reviews-v2-2",
        "10.1.0.77",
        "reviews",
        "v2",
    )));
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    proxy.held = held;
    let stale = (type_url::SERVICE.to_owned(), "default/details".to_owned());
    proxy.held.insert(stale.clone(), ("old".into(), Vec::new()));
    for url in [
        type_url::ADDRESS,
        type_url::ENDPOINTS,
        type_url::SERVICE,
        type_url::ROUTE_TABLE,
    ] {
        let names: &[&str] = if url == type_url::ADDRESS {
            &["10.0.0.3", "10.0.0.4"]
        } else {
            &[]
        };
        proxy.send(url, names, proxy.versions(url)).await;
    }
    let grown = |e: &mesh::Endpoints| e.endpoints.len() == 4;
    proxy
        .until(type_url::ENDPOINTS, "default/reviews", grown)
        .await;
    while proxy.held.contains_key(&stale) {
        proxy.next(None).await;
    }
    let sent = [
        ("Endpoints", vec!["default/reviews".to_owned()]),
        ("Service", vec![]),
    ];
    let log: Vec<_> = proxy
        .log
        .iter()
        .map(|(url, names)| (short(url), names.clone()))
        .collect();
    assert_eq!(log, sent);
    mesh.stop().await;
}

#[tokio::test]
async fn a_certificate_must_fit_the_pod() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    for (node, account) in [
        ("default/productpage-1", "details"),
        ("default/productpage-1", "default"),
    ] {
        let mut proxy = mesh.proxy(node, account).await;
        proxy.subscribe(type_url::ADDRESS, "10.0.0.3").await;
        let status = timeout(WAIT, proxy.responses.message())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    }
    // Of another namespace.
    let own = workload(&mesh.authority, "other", "productpage").await;
    let mut proxy = Proxy::connect(own, &mesh.address, "default/productpage-1").await;
    proxy.subscribe(type_url::ADDRESS, "10.0.0.3").await;
    let status = timeout(WAIT, proxy.responses.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    // A pod that is not known yet, and then turns out to be of another service account.
    let mut early = mesh.proxy("default/late-1", "somebody").await;
    early.subscribe(type_url::ADDRESS, "10.0.0.3").await;
    early
        .until(type_url::ADDRESS, "10.0.0.3", |_: &mesh::Address| true)
        .await;
    mesh.hub.apply(testing::batch(&testing::pod(
        "late-1",
        "10.1.0.88",
        "late",
        "v1",
    )));
    let status = timeout(WAIT, early.responses.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    mesh.stop().await;
}

#[test]
fn a_node_that_is_no_pods_name_is_refused() {
    assert!(pod_name("default/productpage-1").is_some());
    let long = format!("default/{}", "x".repeat(400));
    for bad in [
        "",
        "default",
        "a/b/c",
        "default/a\nERROR b",
        "default/\u{1b}[2J",
        &long,
    ] {
        assert!(pod_name(bad).is_none(), "{bad:?}");
    }
}

#[tokio::test]
async fn what_a_proxy_may_not_have_does_not_exist_for_it() {
    let mesh = Mesh::start(testing::REVIEWS).await;
    let mut proxy = mesh.proxy("default/productpage-1", "productpage").await;
    proxy
        .subscribe(type_url::WORKLOAD, "default/details-1")
        .await;
    assert_eq!(
        proxy.next(None).await.removed_resources,
        ["default/details-1"]
    );
    proxy.subscribe(type_url::ADDRESS, "no address").await;
    assert_eq!(proxy.next(None).await.removed_resources, ["no address"]);
    mesh.stop().await;
}

async fn eventually<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(WAIT, waiting)
        .await
        .expect("the condition comes true")
}
