//! What a connection and a request may cost: sizes of their futures, and allocations of a request on
//! the steady path (keep-alive, routed, unsampled, over a pooled connection), measured on the thread
//! that carries it. Bounds are what was measured when written, and a little.
#![allow(clippy::unwrap_used)]

mod idle;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::measure;
use heddle_identity::MeshTls;
use heddle_proxy_config::node::ProxyNode;
use heddle_proxy_config::route::HttpTable;
use heddle_proxy_config::snapshot::{
    Destination, Endpoint, Endpoints, HttpRule, Name, Port, Protocol, RouteTable, Service, Snapshot,
};
use heddle_proxy_config::store::{ConfigStore, Limits};
use heddle_proxy_telemetry::{Metrics, Tracer};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;

use crate::outbound::{self, Outbound, Target};
use crate::upstream::Version;
use crate::worker::{Phase, Shared, Worker};
use crate::{inbound, io};

/// Size of the future that a function makes.
macro_rules! size {
    ($function:path, $($argument:ident),+) => {{
        fn size<$($argument,)+ F>(_: impl Fn($($argument),+) -> F) -> usize {
            size_of::<F>()
        }
        size($function)
    }};
}

#[test]
fn futures_are_small() {
    let sizes = [
        (
            "outbound connection",
            size!(outbound::connection, A, B, C),
            1024,
        ),
        (
            "inbound connection",
            size!(inbound::connection, A, B, C),
            1024,
        ),
        (
            "outbound request",
            size!(outbound::http::handle, A, B, C),
            2048,
        ),
        (
            "inbound request",
            size!(inbound::http::handle, A, B, C, D),
            2048,
        ),
        ("connection's io", size_of::<io::Io>(), 96),
    ];
    println!("{sizes:#?}");
    for (what, size, most) in sizes {
        assert!(size <= most, "{what}: {size} bytes");
    }
}

fn name() -> Name {
    Name::new("default/web")
}

fn snapshot(app: SocketAddr) -> Snapshot {
    let endpoint = Endpoint {
        ip: app.ip(),
        target_ports: vec![Some(app.port())],
        subsets: vec![0],
        identity: None,
        plain_ports: Box::default(),
        workload: Name::new("default/web-1"),
        app: "web".into(),
        version: "v1".into(),
        owner: "".into(),
        placement: Default::default(),
    };
    let endpoints = Endpoints {
        service_ports: vec![80],
        subset_names: vec!["v1".into()],
        endpoints: vec![Arc::new(endpoint)],
    };
    let destination = |weight| Destination {
        service: name(),
        subset: Some("v1".into()),
        port: None,
        weight,
    };
    let rule = HttpRule {
        origin: "test".into(),
        destinations: vec![destination(9), destination(1)],
        ..HttpRule::default()
    };
    let routes = RouteTable {
        http: HttpTable::new(vec![(vec![], rule)]).unwrap(),
        tcp: vec![],
        http_ports: vec![],
    };
    let service = Service {
        name: name(),
        hosts: vec!["web.default.svc.cluster.local".into()],
        ports: vec![Port {
            number: 80,
            name: "http".into(),
            protocol: Protocol::Http1,
        }],
        policies: vec![],
        resolution: Default::default(),
    };
    Snapshot {
        services: [(name(), Arc::new(service))].into(),
        endpoints: [(name(), Arc::new(endpoints))].into(),
        routes: [(name(), Arc::new(routes))].into(),
        ..Snapshot::default()
    }
}

fn worker(app: SocketAddr) -> Rc<Worker> {
    let node = ProxyNode {
        namespace: "default".into(),
        pod: "client".into(),
        trust_domain: Default::default(),
    };
    let store = ConfigStore::new(node, Limits::default(), Box::new(|_| Ok(())));
    store.snapshot().store(Arc::new(snapshot(app)));
    let metrics = Metrics::default();
    let runtime = tokio::runtime::Handle::current();
    let id = "spiffe://cluster.local/ns/default/sa/client".parse();
    let tracer = Tracer::new(&runtime, Default::default(), None, &metrics);
    let (_phase, phase) = watch::channel(Phase::Serving);
    // Kept for ever: its end would be the end of the sidecar.
    std::mem::forget(_phase);
    let shared = Shared {
        store,
        tls: MeshTls::new(id.unwrap()),
        tracer,
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
    };
    Rc::new(Worker::new(&shared))
}

const REQUEST: &[u8] =
    b"GET /cart?id=1 HTTP/1.1\r\nhost: web\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";

/// Answers whatever comes, each read as one request.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    stream.write_all(ANSWER).unwrap();
                }
            });
        }
    });
    address
}

/// A client that asks so often for each permission it gets.
fn client(to: SocketAddr, rounds: std::sync::mpsc::Receiver<usize>, done: watch::Sender<usize>) {
    let mut stream = TcpStream::connect(to).unwrap();
    let mut buffer = [0; 4096];
    for count in rounds {
        for _ in 0..count {
            stream.write_all(REQUEST).unwrap();
            let mut read = 0;
            while !buffer[..read].ends_with(b"hello") {
                read += stream.read(&mut buffer[read..]).unwrap();
            }
        }
        done.send_modify(|done| *done += 1);
    }
}

fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap()
}

#[test]
fn a_request_allocates_little() {
    const REQUESTS: usize = 1000;
    let runtime = runtime();
    let app = application();
    let (go, rounds) = std::sync::mpsc::channel();
    let (finish, mut done) = watch::channel(0);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || client(address, rounds, finish));
        let (stream, _) = listener.accept().await.unwrap();
        let target = Target::Service(name());
        let outbound = Outbound::new(worker(app), target, ([10, 96, 0, 1], 80).into());
        tokio::task::spawn_local(outbound::http::serve(
            outbound,
            stream.into(),
            Version::Http1,
        ));
        // Connections, series, buffers and what else is made once.
        go.send(100).unwrap();
        done.wait_for(|done| *done == 1).await.unwrap();
    });
    go.send(REQUESTS).unwrap();
    let used = measure(|| {
        runtime.block_on(async { drop(done.wait_for(|done| *done == 2).await.unwrap()) });
    });
    let each = used.count_total as f64 / REQUESTS as f64;
    println!(
        "{each:.1} allocations, {} bytes a request",
        used.bytes_total / REQUESTS as u64
    );
    assert!(each <= 10.0, "{each:.1} allocations for each request");
}
