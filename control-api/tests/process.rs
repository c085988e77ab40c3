//! The program itself: certificate from an identity service, a watched directory, a mock proxy over
//! mutual TLS, the admin socket, SIGTERM.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use heddle_identity::{
    SpiffeId, Workload,
    ca::{Authority, Policy},
    channel, incoming,
    server::{IdentityService, serve},
    tls::{ALPN_H2, to_pem_bundle},
    token::{Authenticator, TokenError},
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

const WAIT: Duration = Duration::from_secs(30);
const BOOKINFO: &str = include_str!("../testdata/bookinfo.yaml");

/// A token that says outright whose it is.
struct Plain;

#[tonic::async_trait]
impl Authenticator for Plain {
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError> {
        let (namespace, account) = token.split_once(':').ok_or(TokenError::Malformed)?;
        Ok(SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap())
    }
}

struct Local(Arc<Authority>, SpiffeId);

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

async fn workload(authority: &Arc<Authority>, namespace: &str, account: &str) -> Workload {
    let id = SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap();
    let issuer = Box::new(Local(authority.clone(), id.clone()));
    let workload = Workload::with_issuer(id, issuer, None, Vec::new());
    timeout(WAIT, workload.ready()).await.unwrap();
    workload
}

struct Setup {
    dir: tempfile::TempDir,
    authority: Arc<Authority>,
    identity: String,
    control: String,
}

impl Setup {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority =
            Arc::new(Authority::load_or_create(&dir.path().join("ca"), Policy::default()).unwrap());
        fs::create_dir(dir.path().join("config")).unwrap();
        fs::write(dir.path().join("config/bookinfo.yaml"), BOOKINFO).unwrap();
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

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Program {
        let program = Command::new(env!("CARGO_BIN_EXE_heddle-control"))
            .arg("--config-dir")
            .arg(self.path("config"))
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

    async fn status(&self) -> Option<StatusResponse> {
        status(&self.path("admin.sock")).await
    }

    async fn proxy(&self) -> Proxy {
        let own = workload(&self.authority, "default", "productpage").await;
        Proxy::connect(own, &self.control).await
    }
}

async fn status(socket: &Path) -> Option<StatusResponse> {
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

struct Program(Child);

impl Program {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    async fn ended(&mut self) -> std::process::ExitStatus {
        until(async || self.0.try_wait().unwrap()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
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

struct Proxy {
    _own: Workload,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    async fn connect(own: Workload, address: &str) -> Self {
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

    async fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
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
    async fn until_weight(&mut self, weight: u32) {
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

#[tokio::test]
async fn edits_are_pushed_and_mistakes_are_told() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    let mut proxy = setup.proxy().await;
    proxy.until_weight(90).await;
    let file = setup.path("config/bookinfo.yaml");
    let edited = |weight: u32| BOOKINFO.replace("weight: 90", &format!("weight: {weight}"));
    let mut times = Vec::new();
    for weight in 1..=50 {
        let started = Instant::now();
        fs::write(&file, edited(weight)).unwrap();
        proxy.until_weight(weight).await;
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "edit to push: median {:?}, longest {:?}",
        times[25], times[49]
    );
    assert!(times[49] < Duration::from_secs(1), "{times:?}");

    // A subset that does not exist, and a broken document beside it.
    let bad = edited(50).replace("subset: v1", "subset: v7")
        + "---\nkind: Telemetry\nmetadata:\n  name: t\nspec: [\n";
    fs::write(&file, &bad).unwrap();
    let line =
        u32::try_from(bad.lines().position(|line| line.contains("v7")).unwrap() + 1).unwrap();
    let status = until(async || {
        setup
            .status()
            .await
            .filter(|status| status.refused.len() == 2)
    })
    .await;
    let subset = status
        .refused
        .iter()
        .find(|r| r.kind == "VirtualService")
        .unwrap();
    assert_eq!(
        (
            subset.name.as_str(),
            subset.line,
            subset.suggestion.as_str()
        ),
        ("reviews-route", line, "did you mean `v1`?")
    );
    assert!(subset.file.ends_with("config/bookinfo.yaml") && !subset.warning);
    let broken = status
        .refused
        .iter()
        .find(|r| r.kind == "Telemetry")
        .unwrap();
    assert!(
        broken.name == "t" && broken.reason.contains("not valid YAML"),
        "{broken:?}"
    );
    assert_eq!((status.services, status.endpoints), (4, 6));
    let shown = &status.proxies[0];
    assert_eq!(
        (shown.namespace.as_str(), shown.pod.as_str()),
        ("default", "productpage-1")
    );
    assert!(
        shown.synced && shown.config_version == status.model_version.to_string(),
        "{status:?}"
    );
    // Mended: live again, the proxy never having lost anything.
    fs::write(&file, edited(60)).unwrap();
    proxy.until_weight(60).await;
    until(async || {
        setup
            .status()
            .await
            .filter(|status| status.refused.is_empty())
    })
    .await;

    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success());
    assert!(proxy.next().await.is_none());
    assert!(!setup.path("admin.sock").exists());
}

#[tokio::test]
async fn it_comes_back_after_being_killed() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    setup.proxy().await.until_weight(90).await;
    program.signal(Signal::SIGKILL);
    program.ended().await;
    let _program = setup.start();
    setup.proxy().await.until_weight(90).await;
    assert!(
        setup.status().await.is_some(),
        "a socket that was left behind is no obstacle"
    );
}

#[tokio::test]
async fn what_is_bad_when_it_is_killed_stays_as_it_was() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    setup.proxy().await.until_weight(90).await;
    // A subset that does not exist; then, in a file of its own, a field that does not exist.
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                  metadata: {name: default}\nspec: {mtls: {mode: STRICT}}\n";
    fs::write(setup.path("config/policy.yaml"), policy).unwrap();
    let refused = async |count: usize| {
        until(async || {
            let status = setup.status().await?;
            (status.refused.len() == count).then_some(status)
        })
        .await
    };
    let bad = BOOKINFO
        .replace("subset: v1", "subset: v7")
        .replace("weight: 90", "weight: 91");
    fs::write(setup.path("config/bookinfo.yaml"), bad).unwrap();
    refused(1).await;
    fs::write(
        setup.path("config/policy.yaml"),
        policy.replace("mode", "mood"),
    )
    .unwrap();
    let status = refused(2).await;
    until(async || {
        let kept = fs::read(setup.path("state/last-good")).ok()?;
        let text = String::from_utf8_lossy(&kept);
        (text.contains("weight: 90") && text.contains("STRICT")).then_some(())
    })
    .await;
    for _ in 0..2 {
        program.signal(Signal::SIGKILL);
        program.ended().await;
        program = setup.start();
        let again = refused(2).await;
        assert_eq!(again.refused, status.refused);
        setup.proxy().await.until_weight(90).await;
    }
    // A file that makes no sense is no obstacle.
    program.signal(Signal::SIGKILL);
    program.ended().await;
    fs::write(setup.path("state/last-good"), "nonsense").unwrap();
    let _program = setup.start();
    let again = refused(2).await;
    let told = |part: &str| again.refused.iter().any(|r| r.reason.contains(part));
    assert!(
        told("no version of it is in force")
            && told("STRICT for all that is under namespace default"),
        "{again:?}"
    );
}

#[test]
fn bad_flags_are_told_at_the_start() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_heddle-control"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = run(&[
        "--config-dir",
        "/nonexistent/heddle",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nonexistent/heddle"), "{text}");
    assert!(String::from_utf8_lossy(&run(&["--help"]).stdout).contains("Example"));
}
