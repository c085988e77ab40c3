//! Where idle connections are counted: a namespace with redirects, an application that can hold its
//! answers back, and a worker on each side of a mutual TLS link, each on a thread whose heap is
//! counted between `begin` and `end`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use allocation_counter::measure;
use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{MeshTls, SpiffeId};
use heddle_proxy_config::node::ProxyNode;
use heddle_proxy_config::snapshot::{
    Address, Endpoint, Endpoints, InboundPort, MtlsMode, Name, Port, Protocol, Service, Snapshot,
    Workload,
};
use heddle_proxy_config::store::{ConfigStore, Limits};
use heddle_proxy_redirect::{INBOUND_PORT, OUTBOUND_PORT};
use heddle_proxy_telemetry::{Metrics, Tracer};
use nix::sched::{CloneFlags, unshare};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::sync::watch;

use crate::listener::{self, Gate};
use crate::serve::http1::counts;
use crate::worker::{Phase, Shared, Worker};
use crate::{inbound, outbound};

const SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub(super) const SERVICE: SocketAddrV4 = SocketAddrV4::new(SERVICE_IP, 80);
/// The same service, for bytes that are not looked at.
pub(super) const OPAQUE: SocketAddrV4 = SocketAddrV4::new(SERVICE_IP, 81);
const POD: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const APPLICATION: u16 = 8080;
const OPAQUE_APPLICATION: u16 = 8081;
pub(super) const BODY: &[u8] = b"hello";

pub(super) struct World {
    authority: Authority,
    _root: tempfile::TempDir,
}

impl World {
    /// Takes this thread, and those that it starts, into a namespace of their own.
    pub(super) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test makes a network namespace and needs root");
        feed(
            "ip",
            &["-batch", "-"],
            &format!("link set lo up\naddr add {SERVICE_IP}/32 dev lo\naddr add {POD}/32 dev lo\n"),
        );
        feed(
            "iptables-restore",
            &["--wait"],
            &format!(
                "*nat\n-A OUTPUT -s 127.0.0.6 -j RETURN\n\
                 -A OUTPUT -p tcp -d {SERVICE_IP} -j REDIRECT --to-ports {OUTBOUND_PORT}\n\
                 -A OUTPUT -p tcp -d {POD} -j REDIRECT --to-ports {INBOUND_PORT}\nCOMMIT\n"
            ),
        );
        let root = tempfile::tempdir().unwrap();
        Self {
            authority: Authority::load_or_create(root.path(), Policy::default()).unwrap(),
            _root: root,
        }
    }

    fn tls(&self, account: &str) -> MeshTls {
        let id = id(account);
        let key = KeyPair::generate().unwrap();
        let mut request = CertificateParams::default();
        request.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        let request = request.serialize_request(&key).unwrap();
        let certificate = self.authority.issue(request.der(), &id, None).unwrap();
        let tls = MeshTls::new(id);
        tls.suggest_roots(self.authority.roots()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        tls.set_credential(certificate.chain, key.into()).unwrap();
        tls
    }

    /// The client's sidecar, which knows the service.
    pub(super) fn outbound(&self) -> (Role, MeshTls, Snapshot) {
        let name = Name::new("default/web");
        let endpoint = Endpoint {
            ip: IpAddr::V4(POD),
            target_ports: vec![Some(APPLICATION), Some(OPAQUE_APPLICATION)],
            subsets: vec![],
            identity: Some(id("server")),
            plain_ports: Box::default(),
            workload: Name::new("default/server"),
            app: "web".into(),
            version: "v1".into(),
            owner: "".into(),
            placement: Default::default(),
        };
        let endpoints = Endpoints {
            service_ports: vec![SERVICE.port(), OPAQUE.port()],
            subset_names: vec![],
            endpoints: vec![Arc::new(endpoint)],
        };
        let service = Service {
            name: name.clone(),
            hosts: vec!["web.default.svc.cluster.local".into()],
            ports: vec![
                Port {
                    number: SERVICE.port(),
                    name: "http".into(),
                    protocol: Protocol::Http1,
                },
                Port {
                    number: OPAQUE.port(),
                    name: "tcp".into(),
                    protocol: Protocol::Tcp,
                },
            ],
            policies: vec![],
            resolution: Default::default(),
        };
        let address = Arc::new(Address::Service(name.clone()));
        let snapshot = Snapshot {
            addresses: [(IpAddr::V4(SERVICE_IP), address)].into(),
            services: [(name.clone(), Arc::new(service))].into(),
            endpoints: [(name, Arc::new(endpoints))].into(),
            ..Snapshot::default()
        };
        (Role::Outbound, self.tls("client"), snapshot)
    }

    /// The server's sidecar, which knows its port.
    pub(super) fn inbound(&self) -> (Role, MeshTls, Snapshot) {
        let port = |protocol| InboundPort {
            protocol,
            mtls: MtlsMode::Strict,
            service: None,
        };
        let workload = Workload {
            name: Name::new("default/server"),
            identity: id("server"),
            ports: [
                (APPLICATION, port(Protocol::Http1)),
                (OPAQUE_APPLICATION, port(Protocol::Tcp)),
            ]
            .into(),
            mtls: MtlsMode::Strict,
            mtls_origin: "".into(),
            port_mtls_origins: Default::default(),
            app: "web".into(),
            version: "v1".into(),
            owner: "".into(),
            locality: Default::default(),
            registry_only: false,
            priority_labels: vec![],
        };
        let snapshot = Snapshot {
            workload: Some(Arc::new(workload)),
            ..Snapshot::default()
        };
        (Role::Inbound, self.tls("server"), snapshot)
    }
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::for_service_account(&Default::default(), "default", account).unwrap()
}

/// Runs a program that reads what it is to do.
fn feed(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{program}: {input}");
}

#[derive(Clone, Copy)]
pub(super) enum Role {
    Outbound,
    Inbound,
}

/// A sidecar's worker on a thread of its own.
pub(super) struct Side {
    /// Ends what is measured; `true` while it goes on.
    measuring: watch::Sender<bool>,
    begin: Sender<()>,
    begun: Receiver<()>,
    measured: Receiver<i64>,
}

impl Side {
    pub(super) fn start((role, tls, snapshot): (Role, MeshTls, Snapshot)) -> Self {
        let (measuring, mut until) = watch::channel(false);
        let (begin, begins) = channel();
        let (begun, has_begun) = channel();
        let (result, measured) = channel();
        std::thread::spawn(move || {
            let runtime = super::super::runtime();
            runtime.block_on(async { serve(role, tls, snapshot) });
            begun.send(()).unwrap();
            loop {
                // Until this is to be counted; an error: the test has ended.
                if runtime
                    .block_on(until.wait_for(|counted| *counted))
                    .is_err()
                {
                    return;
                }
                begins.recv().unwrap();
                runtime.block_on(rest());
                begun.send(()).unwrap();
                let held = measure(|| {
                    runtime.block_on(async {
                        drop(until.wait_for(|counted| !*counted).await);
                        rest().await;
                    });
                });
                result.send(held.bytes_current).unwrap();
            }
        });
        has_begun.recv().unwrap();
        Self {
            measuring,
            begin,
            begun: has_begun,
            measured,
        }
    }

    pub(super) fn begin(&self) {
        self.measuring.send_replace(true);
        self.begin.send(()).unwrap();
        self.begun.recv().unwrap();
    }

    /// Bytes that were allocated since, and are held.
    pub(super) fn end(&self) -> i64 {
        self.measuring.send_replace(false);
        self.measured.recv().unwrap()
    }
}

/// Until every connection of this thread is idle.
async fn rest() {
    while counts::RESTING.get() < counts::OPEN.get() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn serve(role: Role, tls: MeshTls, snapshot: Snapshot) {
    let node = ProxyNode {
        namespace: "default".into(),
        pod: "pod".into(),
        trust_domain: Default::default(),
    };
    let store = ConfigStore::new(node, Limits::default(), Box::new(|_| Ok(())));
    store.snapshot().store(Arc::new(snapshot));
    let metrics = Metrics::default();
    let runtime = tokio::runtime::Handle::current();
    let (serving, phase) = watch::channel(Phase::Serving);
    // Kept for ever: its end would be the end of the sidecar.
    std::mem::forget(serving);
    let worker = Rc::new(Worker::new(&Shared {
        store,
        tls,
        tracer: Tracer::new(&runtime, Default::default(), None, &metrics),
        metrics,
        breakers: Default::default(),
        ejections: Default::default(),
        phase,
        connections: Arc::default(),
        tasks: crate::tasks::Tasks::default(),
        opaque_ports: "".parse().unwrap(),
        habits: crate::serve::Habits {
            stall: std::time::Duration::from_secs(300),
            header_case: false,
            windows: crate::limits::H2_PEERS,
        },
    }));
    let listen = |port| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        (
            listener,
            Gate::new(usize::from(u16::MAX), Arc::<AtomicUsize>::default()),
        )
    };
    match role {
        Role::Outbound => {
            let (socket, gate) = listen(OUTBOUND_PORT);
            tokio::task::spawn_local(listener::accept(socket, gate, move |stream, peer| {
                outbound::connection(Rc::clone(&worker), stream, peer)
            }));
        }
        Role::Inbound => {
            let (socket, gate) = listen(INBOUND_PORT);
            tokio::task::spawn_local(listener::accept(socket, gate, move |stream, peer| {
                inbound::connection(Rc::clone(&worker), stream, peer)
            }));
        }
    }
}

/// Answers, once as many have asked as it was told to wait for.
pub(super) struct Application(Arc<Gathering>);

#[derive(Default)]
struct Gathering {
    /// How many are waited for, and how many have come.
    state: Mutex<(usize, usize)>,
    complete: Condvar,
}

impl Application {
    pub(super) fn start() -> Self {
        let gathering = Arc::new(Gathering::default());
        let echo = TcpListener::bind((POD, OPAQUE_APPLICATION)).unwrap();
        std::thread::spawn(move || {
            for stream in echo.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
            }
        });
        let listener = TcpListener::bind((POD, APPLICATION)).unwrap();
        let gathered = Arc::clone(&gathering);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let gathered = Arc::clone(&gathered);
                std::thread::spawn(move || converse(stream.unwrap(), &gathered));
            }
        });
        Self(gathering)
    }

    pub(super) fn answer_together(&self, count: usize) {
        *self.0.state.lock().unwrap() = (count, 0);
    }
}

fn converse(mut stream: TcpStream, gathering: &Gathering) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let mut state = gathering.state.lock().unwrap();
        state.1 += 1;
        gathering.complete.notify_all();
        drop(
            gathering
                .complete
                .wait_while(state, |(wanted, come)| come < wanted),
        );
        let close = buffer[..read].starts_with(b"GET /close");
        let connection = if close { "connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\n{connection}content-length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(&[head.as_bytes(), BODY].concat()).unwrap();
        if close {
            return;
        }
    }
}
