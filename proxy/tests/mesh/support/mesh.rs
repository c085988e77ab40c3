//! A node with a bridge, the servers of the mesh on it, and pods with sidecars.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use heddle_identity::tls::ALPN_H2;
use heddle_identity::{SpiffeId, incoming};
use heddle_proto::mesh::{MtlsMode, Protocol};
use heddle_proxy_config::kind::Kind;
use tokio::task::JoinHandle;
use tonic::transport::Server;

use super::control::Control;
use super::issuer::{IDENTITY_PORT, Issuer};
use super::netns::Netns;
use super::resources::{ServiceSpec, workload};
use super::sidecar::{Settings, Sidecar};

pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const NODE_V6: &str = "fd78::1";
const CONTROL_PORT: u16 = 15012;

pub(crate) struct Mesh {
    // Fields are dropped in order: pods are gone before what they talk to.
    pub(crate) control: Control,
    pub(crate) issuer: Issuer,
    control_server: Option<JoinHandle<()>>,
    identity_server: Option<JoinHandle<()>>,
    pub(crate) node: Netns,
    dir: tempfile::TempDir,
    pods: AtomicU8,
}

/// How a pod is to be.
#[derive(Clone)]
pub(crate) struct PodSpec {
    pub(crate) name: &'static str,
    pub(crate) mtls: MtlsMode,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// A command that runs the sidecar's, such as valgrind's.
    pub(crate) launcher: Vec<String>,
    pub(crate) meshed: bool,
}

impl PodSpec {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            mtls: MtlsMode::Strict,
            environment: Vec::new(),
            launcher: Vec::new(),
            meshed: true,
        }
    }
}

pub(crate) struct Pod {
    pub(crate) name: &'static str,
    pub(crate) ip: Ipv4Addr,
    pub(crate) ip6: Ipv6Addr,
    pub(crate) sidecar: Option<Sidecar>,
    pub(crate) netns: Arc<Netns>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let node = Netns::new();
        node.ip(&format!(
            "link add br0 address 02:00:0a:4e:00:01 type bridge\naddr add {NODE}/16 dev br0\n\
             addr add {NODE_V6}/64 dev br0 nodad\nlink set br0 up\n"
        ));
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let (issuer, identity_server) = Issuer::start(&node, dir.path());
        let mut mesh = Self {
            control: Control::new(),
            issuer,
            control_server: None,
            identity_server: Some(identity_server),
            node,
            dir,
            pods: AtomicU8::new(10),
        };
        mesh.start_control();
        mesh
    }

    pub(crate) fn start_control(&mut self) {
        let tls = self.issuer.tls(&id("heddle-system", "heddle-control"));
        let server = self.control.server();
        self.control_server = Some(self.node.spawn(async move {
            let listener = tokio::net::TcpListener::bind((NODE, CONTROL_PORT)).await;
            let connections =
                incoming::mutual(listener.unwrap(), tls, ALPN_H2, incoming::Limits::default());
            Server::builder()
                .add_service(server)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        }));
    }

    pub(crate) fn stop_control(&mut self) {
        stop(&self.node, self.control_server.take());
    }

    pub(crate) fn stop_identity(&mut self) {
        stop(&self.node, self.identity_server.take());
    }

    /// A pod with a sidecar that is ready.
    pub(crate) fn pod(&self, spec: PodSpec) -> Pod {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let (ip, ip6) = addresses(number);
        let netns = Arc::new(Netns::new());
        self.node.ip(&format!(
            "link add p{number} type veth peer name eth0 netns {}\n\
             link set p{number} master br0 up\n",
            netns.path()
        ));
        netns.ip(&format!(
            "addr add {ip}/16 dev eth0\naddr add {ip6}/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via {NODE}\nroute add ::/0 via {NODE_V6}\n"
        ));
        let mut pod = Pod {
            name: spec.name,
            ip,
            ip6,
            sidecar: None,
            netns,
        };
        if spec.meshed {
            let resource = workload(&pod, spec.mtls, &[]);
            let name = format!("default/{}", spec.name);
            self.control.set(Kind::Workload, &name, &resource);
            Sidecar::redirect(&pod.netns);
            let mut settings = self.settings(&pod, spec.environment);
            settings.launcher = spec.launcher;
            let sidecar = Sidecar::start(&pod.netns, settings);
            sidecar.wait_ready();
            pod.sidecar = Some(sidecar);
        }
        pod
    }

    /// A meshed pod in STRICT.
    pub(crate) fn strict(&self, name: &'static str) -> Pod {
        self.pod(PodSpec::new(name))
    }

    fn settings(&self, pod: &Pod, more: Vec<(&'static str, String)>) -> Settings {
        let file = |name: &str| self.dir.path().join(format!("{}-{name}", pod.name));
        let token = file("token");
        std::fs::write(&token, self.issuer.token("default", pod.name)).unwrap();
        let state = file("state");
        std::fs::create_dir_all(&state).unwrap();
        chown(&state, Some(1337), Some(1337)).unwrap();
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let mut environment = vec![
            ("HEDDLE_CONTROL_ADDRESS", format!("{NODE}:{CONTROL_PORT}")),
            ("HEDDLE_IDENTITY_ADDRESS", format!("{NODE}:{IDENTITY_PORT}")),
            ("HEDDLE_TOKEN_FILE", text(&token)),
            ("HEDDLE_TRUST_BUNDLE_FILE", text(&self.issuer.bundle())),
            ("HEDDLE_STATE_DIR", text(&state)),
            ("HEDDLE_POD_NAME", pod.name.to_owned()),
            ("HEDDLE_POD_NAMESPACE", "default".to_owned()),
            ("HEDDLE_SERVICE_ACCOUNT", pod.name.to_owned()),
            ("HEDDLE_POD_IP", pod.ip.to_string()),
        ];
        environment.extend(more);
        Settings {
            environment,
            launcher: Vec::new(),
            state,
        }
    }
}

fn stop(node: &Netns, server: Option<JoinHandle<()>>) {
    if let Some(server) = server {
        node.run(async move {
            server.abort();
            // It was told to end.
            let _ = server.await;
        });
    }
}

pub(crate) fn id(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::for_service_account(&Default::default(), namespace, account).unwrap()
}

fn addresses(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    (
        Ipv4Addr::new(10, 78, 1, number),
        Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 1, number.into()),
    )
}

impl Pod {
    pub(crate) fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    pub(crate) fn id(&self) -> SpiffeId {
        id("default", self.name)
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (IpAddr::V4(self.ip), port).into()
    }

    pub(crate) fn run<F>(&self, work: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.netns.run(work)
    }
}

/// Two pods in STRICT, and a service of one of them.
pub(crate) struct Pair {
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) web: ServiceSpec,
    pub(crate) mesh: Mesh,
}

impl Pair {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self::with(protocol, PodSpec::new("client"), PodSpec::new("server"))
    }

    pub(crate) fn with(protocol: Protocol, client: PodSpec, server: PodSpec) -> Self {
        let mesh = Mesh::new();
        let (client, server) = (mesh.pod(client), mesh.pod(server));
        let web = ServiceSpec::new("web", 1, protocol);
        web.set(&mesh.control, &[&server], &[]);
        Self {
            client,
            server,
            web,
            mesh,
        }
    }
}
