//! A control plane that holds what the test says, and serves it by the rules of the protocol:
//! a subscription to an address brings what the address needs, in order; a change pushes what
//! differs. What proxies refuse is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use heddle_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use heddle_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use heddle_proto::mesh;
use heddle_proxy_config::kind::Kind;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Key = (Kind, String);

/// What there is to serve.
#[derive(Clone)]
pub(crate) struct Control(Arc<Shared>);

struct Shared {
    resources: watch::Sender<BTreeMap<Key, Vec<u8>>>,
    nacks: Mutex<Vec<String>>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            resources: watch::Sender::default(),
            nacks: Mutex::default(),
        }))
    }

    pub(crate) fn set(&self, kind: Kind, name: &str, content: &impl Message) {
        let key = (kind, name.to_owned());
        self.0
            .resources
            .send_modify(|all| drop(all.insert(key, content.encode_to_vec())));
    }

    /// What proxies have refused.
    pub(crate) fn nacks(&self) -> Vec<String> {
        self.0.nacks.lock().unwrap().clone()
    }

    pub(crate) fn server(&self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Control {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(64);
        let stream = Stream {
            shared: Arc::clone(&self.0),
            responses,
            subscribed: BTreeSet::new(),
            held: BTreeMap::new(),
            nonce: 0,
        };
        tokio::spawn(stream.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

struct Stream {
    shared: Arc<Shared>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    subscribed: BTreeSet<Key>,
    held: BTreeMap<Key, Vec<u8>>,
    nonce: u64,
}

impl Stream {
    async fn run(mut self, mut requests: Streaming<DeltaDiscoveryRequest>) {
        let mut changed = self.shared.resources.subscribe();
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.note(request),
                    _ => return,
                },
                _ = changed.changed() => {}
            }
            if self.push().await.is_none() {
                return;
            }
        }
    }

    fn note(&mut self, request: DeltaDiscoveryRequest) {
        let kind = Kind::of(&request.type_url).unwrap();
        if let Some(error) = request.error_detail {
            self.shared.nacks.lock().unwrap().push(error.message);
        }
        for name in request.resource_names_subscribe {
            self.subscribed.insert((kind, name));
        }
        for name in request.resource_names_unsubscribe {
            self.subscribed.remove(&(kind, name));
        }
    }

    /// What the proxy should hold now.
    fn wanted(&self) -> BTreeMap<Key, Vec<u8>> {
        let all = self.shared.resources.borrow();
        let mut wanted = BTreeMap::new();
        let mut services = BTreeSet::new();
        for key in &self.subscribed {
            let content = all.get(key).cloned();
            let content = content.or_else(|| unknown(key.0));
            let Some(content) = content else { continue };
            if key.0 == Kind::Address {
                let address = mesh::Address::decode(content.as_slice()).unwrap();
                services.extend(address.headless.into_iter().map(|one| one.service));
                if let Some(mesh::address::Kind::Service(name)) = address.kind {
                    services.insert(name);
                }
            }
            wanted.insert(key.clone(), content);
        }
        for name in services.clone() {
            if let Some(table) = all.get(&(Kind::RouteTable, name)) {
                services.extend(destinations(table));
            }
        }
        for name in services {
            for kind in [Kind::Endpoints, Kind::Service, Kind::RouteTable] {
                let key = (kind, name.clone());
                if let Some(content) = all.get(&key) {
                    wanted.insert(key, content.clone());
                }
            }
        }
        wanted
    }

    /// `None`: the proxy is gone.
    async fn push(&mut self) -> Option<()> {
        let wanted = self.wanted();
        for kind in Kind::ALL {
            let news: Vec<Resource> = wanted
                .iter()
                .filter(|(key, content)| key.0 == kind && self.held.get(key) != Some(content))
                .map(|(key, content)| resource(key, content))
                .collect();
            if !news.is_empty() {
                self.send(kind, news, Vec::new()).await?;
            }
        }
        for kind in Kind::ALL.into_iter().rev() {
            let gone: Vec<String> = self
                .held
                .keys()
                .filter(|key| key.0 == kind && !wanted.contains_key(key))
                .map(|key| key.1.clone())
                .collect();
            if !gone.is_empty() {
                self.send(kind, Vec::new(), gone).await?;
            }
        }
        self.held = wanted;
        Some(())
    }

    async fn send(
        &mut self,
        kind: Kind,
        resources: Vec<Resource>,
        removed_resources: Vec<String>,
    ) -> Option<()> {
        self.nonce += 1;
        let response = DeltaDiscoveryResponse {
            system_version_info: self.nonce.to_string(),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce: self.nonce.to_string(),
            removed_resources,
        };
        self.responses.send(Ok(response)).await.ok()
    }
}

/// The answer to a subscription to what there is not.
fn unknown(kind: Kind) -> Option<Vec<u8>> {
    let address = mesh::Address {
        kind: Some(mesh::address::Kind::Unknown(mesh::Unknown {})),
        ..Default::default()
    };
    let name = mesh::DnsName {
        kind: Some(mesh::dns_name::Kind::Unknown(mesh::Unknown {})),
        ..Default::default()
    };
    match kind {
        Kind::Address => Some(address.encode_to_vec()),
        Kind::DnsName => Some(name.encode_to_vec()),
        _ => None,
    }
}

fn destinations(table: &[u8]) -> Vec<String> {
    let table = mesh::RouteTable::decode(table).unwrap();
    let http = table.http.into_iter().flat_map(|rule| {
        let mirrors = rule.mirrors.into_iter().flat_map(|m| m.destination);
        rule.destinations.into_iter().chain(mirrors)
    });
    let tcp = table.tcp.into_iter().flat_map(|rule| rule.destinations);
    http.chain(tcp).map(|d| d.service).collect()
}

fn resource(key: &Key, content: &[u8]) -> Resource {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut version = DefaultHasher::new();
    content.hash(&mut version);
    Resource {
        version: format!("{:x}", version.finish()),
        resource: Some(prost_types::Any {
            type_url: key.0.type_url().to_owned(),
            value: content.to_vec(),
        }),
        name: key.1.clone(),
        aliases: Vec::new(),
    }
}
