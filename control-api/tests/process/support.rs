//! The program with an identity service beside it, and mock proxies.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use heddle_authority::{
    ca::{Authority, Policy},
    server::{IdentityService, serve},
    token::{Authenticator, TokenError},
};
use heddle_identity::{
    SpiffeId, Workload, channel, incoming,
    tls::{ALPN_H2, to_pem_bundle},
    workload::{IssueError, Issued, Issuer, Order},
};
use heddle_proto::{
    admin::{StatusRequest, StatusResponse, control_plane_client::ControlPlaneClient},
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    mesh::{RouteTable, type_url},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tonic::{Streaming, transport::Endpoint};

pub(crate) const WAIT: Duration = Duration::from_secs(30);
pub(crate) const BOOKINFO: &str = include_str!("../../testdata/bookinfo.yaml");

/// A token that says outright whose it is.
pub(crate) struct Plain;

#[tonic::async_trait]
impl Authenticator for Plain {
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError> {
        let (namespace, account) = token.split_once(':').ok_or(TokenError::Malformed)?;
        Ok(SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap())
    }
}

pub(crate) struct Local(Arc<Authority>, SpiffeId);

#[tonic::async_trait]
impl Issuer for Local {
    async fn issue(&self, order: Order) -> Result<Issued, IssueError> {
        let issued = self.0.issue(&order.csr, &self.1, order.ttl);
        let issued = issued.map_err(|error| IssueError::Local(error.to_string()))?;
        Ok(Issued {
            chain: issued.chain,
            roots: self.0.roots(),
        })
    }
}

pub(crate) async fn workload(
    authority: &Arc<Authority>,
    namespace: &str,
    account: &str,
) -> Workload {
    let id = SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap();
    let issuer = Box::new(Local(authority.clone(), id.clone()));
    let workload = Workload::with_issuer(id, issuer, None, Vec::new());
    timeout(WAIT, workload.ready()).await.unwrap();
    workload
}

pub(crate) struct Setup {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Arc<Authority>,
    identity: String,
    pub(crate) control: String,
}

impl Setup {
    /// With the example in its directory.
    pub(crate) async fn new() -> Self {
        let setup = Self::empty().await;
        fs::write(setup.path("config/bookinfo.yaml"), BOOKINFO).unwrap();
        setup
    }

    pub(crate) async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority =
            Arc::new(Authority::load_or_create(&dir.path().join("ca"), Policy::default()).unwrap());
        fs::create_dir(dir.path().join("config")).unwrap();
        fs::write(dir.path().join("token"), "heddle-system:heddle-control").unwrap();
        fs::write(
            dir.path().join("root.pem"),
            to_pem_bundle(&authority.roots()),
        )
        .unwrap();
        let own = workload(&authority, "heddle-system", "heddle-identity").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let identity = listener.local_addr().unwrap().to_string();
        let accepted = incoming::server_only(
            listener,
            own.tls().clone(),
            ALPN_H2,
            incoming::Limits::default(),
        );
        let service = IdentityService::new(authority.clone(), Plain);
        tokio::spawn(async move {
            let _own = own;
            serve(service, accepted, std::future::pending())
                .await
                .unwrap();
        });
        // An address of loopback that only this process uses.
        static NEXT: AtomicU16 = AtomicU16::new(15_112);
        let [.., high, low] = std::process::id().to_be_bytes();
        let control =
            SocketAddr::from(([127, 77, high, low], NEXT.fetch_add(1, Ordering::Relaxed)));
        Self {
            dir,
            authority,
            identity,
            control: control.to_string(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&self) -> Program {
        self.start_with(&["--config-dir", self.path("config").to_str().unwrap()])
    }

    pub(crate) fn start_with(&self, source: &[&str]) -> Program {
        let program = Command::new(env!("CARGO_BIN_EXE_heddle-control"))
            .args(source)
            .args([
                "--listen",
                &self.control,
                "--identity-address",
                &self.identity,
            ])
            .arg(format!(
                "--admin-listen=unix:{}",
                self.path("admin.sock").display()
            ))
            .arg("--token-file")
            .arg(self.path("token"))
            .arg("--trust-bundle-file")
            .arg(self.path("root.pem"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .stderr(Stdio::null())
            .spawn();
        Program(program.unwrap())
    }

    pub(crate) async fn status(&self) -> Option<StatusResponse> {
        status(&self.path("admin.sock")).await
    }

    pub(crate) async fn proxy(&self) -> Proxy {
        let own = workload(&self.authority, "default", "productpage").await;
        Proxy::connect(own, &self.control).await
    }
}

pub(crate) async fn status(socket: &Path) -> Option<StatusResponse> {
    let channel = Endpoint::from_shared(format!("unix:{}", socket.display()))
        .unwrap()
        .connect()
        .await
        .ok()?;
    Some(
        ControlPlaneClient::new(channel)
            .status(StatusRequest {})
            .await
            .ok()?
            .into_inner(),
    )
}

pub(crate) struct Program(pub(crate) Child);

impl Program {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until(async || self.0.try_wait().unwrap()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, waiting)
        .await
        .expect("the condition comes true")
}

pub(crate) struct Proxy {
    _own: Workload,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    pub(crate) async fn connect(own: Workload, address: &str) -> Self {
        let control = "spiffe://cluster.local/ns/heddle-system/sa/heddle-control"
            .parse()
            .unwrap();
        let channel =
            until(async || channel::connect(own.tls(), address, &control).await.ok()).await;
        let (requests, outgoing) = mpsc::channel(16);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client
            .delta_aggregated_resources(outgoing)
            .await
            .unwrap()
            .into_inner();
        let subscribe = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "default/productpage-1".into(),
                ..Node::default()
            }),
            type_url: type_url::ADDRESS.into(),
            resource_names_subscribe: vec!["10.0.0.3".into()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(subscribe).await.unwrap();
        Self {
            _own: own,
            requests,
            responses,
        }
    }

    pub(crate) async fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        let response = timeout(WAIT, self.responses.message())
            .await
            .expect("a response")
            .ok()??;
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(answer).await.ok()?;
        Some(response)
    }

    /// Until the table of reviews gives v1 this weight.
    pub(crate) async fn until_weight(&mut self, weight: u32) {
        loop {
            let response = self.next().await.expect("the stream stays");
            for resource in response
                .resources
                .iter()
                .filter(|r| r.name == "default/reviews")
            {
                if response.type_url == type_url::ROUTE_TABLE {
                    let table =
                        RouteTable::decode(&*resource.resource.as_ref().unwrap().value).unwrap();
                    if table.http[1].destinations[0].weight == weight {
                        return;
                    }
                }
            }
        }
    }
}
