//! A large mesh over real gRPC: 10,000 services, 100,000 endpoints, 1,000 connected proxies that use 20
//! services each. Prints what it takes:
//! `cargo nextest run --release -p heddle-control --run-ignored only --no-capture -E 'test(large)'`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    fs,
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

use super::support::{Program, Setup, workload};

/// How long any one step may take on a machine with much else to do.
const STEP: Duration = Duration::from_secs(120);
const NAMESPACES: u32 = 50;
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
struct Size {
    services: u32,
    pods_each: u32,
    proxies: u32,
    used: u32,
    edits: u32,
}

impl Size {
    /// Services of a proxy; the first is everybody's.
    fn used_by(&self, proxy: u32) -> impl Iterator<Item = u32> {
        let services = self.services;
        let others = (1..self.used).map(move |n| 1 + (proxy * 7 + n * 131) % (services - 1));
        std::iter::once(0).chain(others)
    }
}

fn namespace(service: u32) -> String {
    format!("team-{}", service % NAMESPACES)
}

fn service_ip(service: u32) -> String {
    format!("11.{}.{}.1", service / 256, service % 256)
}

/// A service and its pods, of which one may be unready.
fn manifest(size: &Size, service: u32, unready: Option<u32>) -> String {
    let namespace = namespace(service);
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: svc-{service}, namespace: {namespace}}}\nspec:\n  \
         clusterIP: {}\n  selector: {{app: svc-{service}}}\n  ports: [{{name: http, port: 80, targetPort: 8080}}]\n",
        service_ip(service)
    );
    for pod in 0..size.pods_each {
        let ready = if unready == Some(pod) {
            "False"
        } else {
            "True"
        };
        let number = service * size.pods_each + pod;
        let ip = format!(
            "12.{}.{}.{}",
            number >> 16,
            (number >> 8) & 255,
            number & 255
        );
        write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: svc-{service}-{pod}\n  namespace: {namespace}\n  \
             labels: {{app: svc-{service}, version: v1}}\n  annotations: {{heddle.io/status: '{{}}'}}\nspec:\n  \
             serviceAccountName: default\n  containers:\n  - name: app\n    ports: [{{name: http, containerPort: 8080}}]\n\
             status:\n  podIP: {ip}\n  conditions: [{{type: Ready, status: '{ready}'}}]\n"
        )
        .unwrap();
    }
    text
}

/// Name of a resource, by type URL.
type Held = HashMap<String, BTreeMap<String, String>>;

/// That the endpoints of a service came to a proxy.
struct Arrival {
    proxy: u32,
    service: String,
    at: Instant,
}

struct Mesh {
    size: Size,
    setup: Setup,
    workloads: Vec<Arc<Workload>>,
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
    async fn connect(
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

struct Running {
    number: u32,
    task: tokio::task::JoinHandle<Held>,
    stop: tokio::sync::oneshot::Sender<()>,
    received: usize,
}

impl Program {
    /// A line of /proc/PID/status, in MiB.
    fn mib(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    }

    /// CPU time so far.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        // Linux counts in hundredths of a second, whatever its own clock does.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }
}

async fn run(size: Size) -> (Duration, u64, Duration) {
    let setup = Setup::empty().await;
    for service in 0..size.services {
        let file = setup.path(&format!("config/{service}.yaml"));
        fs::write(file, manifest(&size, service, None)).unwrap();
    }
    let started = Instant::now();
    let program = setup.start();
    loop {
        let read = setup
            .status()
            .await
            .is_some_and(|status| status.endpoints == size.services * size.pods_each);
        if read {
            break;
        }
        assert!(started.elapsed() < STEP, "it has read everything");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{} services with {} endpoints read in {:?}: {} MiB",
        size.services,
        size.services * size.pods_each,
        started.elapsed(),
        program.mib("VmRSS"),
    );
    let mut workloads = Vec::new();
    for number in 0..NAMESPACES {
        workloads.push(Arc::new(
            workload(&setup.authority, &namespace(number), "default").await,
        ));
    }
    let mesh = Arc::new(Mesh {
        size,
        setup,
        workloads,
    });
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let nothing = vec![Held::new(); size.proxies as usize];
    let (running, took, received) = mesh.connect(nothing, &arrivals).await;
    println!(
        "{} proxies that hold nothing: {received} resources in {took:?}; {} MiB",
        size.proxies,
        program.mib("VmRSS")
    );

    let mut longest = Duration::ZERO;
    let few: Vec<u32> = (0..size.edits)
        .map(|n| 1 + n * 37 % (size.services - 1))
        .collect();
    for (what, edited) in [
        ("a service", few),
        ("a service of everybody", vec![0; size.edits as usize]),
    ] {
        let (mut times, mut told, cpu) = (Vec::new(), 0, program.cpu());
        for (round, service) in edited.into_iter().enumerate() {
            let interested: Vec<u32> = (0..size.proxies)
                .filter(|proxy| size.used_by(*proxy).any(|used| used == service))
                .collect();
            let unready = (service > 0 || round % 2 == 0).then_some(1);
            let text = manifest(&size, service, unready);
            let new = mesh.setup.path(&format!("config/.{service}.new"));
            fs::write(&new, text).unwrap();
            let started = Instant::now();
            fs::rename(new, mesh.setup.path(&format!("config/{service}.yaml"))).unwrap();
            let mut last = Duration::ZERO;
            let mut left: std::collections::BTreeSet<u32> = interested.into_iter().collect();
            told += left.len();
            while !left.is_empty() {
                let arrival = timeout(STEP, arrived.recv()).await.unwrap().unwrap();
                assert_eq!(
                    arrival.service,
                    format!("{}/svc-{service}", namespace(service))
                );
                assert!(
                    left.remove(&arrival.proxy),
                    "told once, and only whom it concerns"
                );
                last = arrival.at - started;
            }
            if last > Duration::ZERO {
                times.push(last);
            }
        }
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!(
            "one endpoint of {what} (on average {} proxies), edit to last proxy: p50 {:?}, p99 {:?}, longest {:?}; \
             {:?} of CPU each",
            told / size.edits as usize,
            at(50),
            at(99),
            times[times.len() - 1],
            (program.cpu() - cpu) / size.edits,
        );
        // Of those that concern everybody the proxies' own work is the larger part here.
        if what == "a service" {
            longest = at(99);
        }
    }

    let mut slowest = Duration::ZERO;
    let mut running = running;
    for what in ["hold everything", "hold nothing"] {
        let mut held = Vec::new();
        for proxy in running {
            proxy.stop.send(()).unwrap();
            held.push(proxy.task.await.unwrap());
        }
        for held in &mut held {
            // What makes them all answered is asked for anew.
            held.entry(type_url::ADDRESS.into())
                .or_default()
                .retain(|ip, _| !ip.starts_with("13."));
            if what == "hold nothing" {
                held.clear();
            }
        }
        let cpu = program.cpu();
        let (again, took, received) = mesh.connect(held, &arrivals).await;
        println!(
            "{} proxies that {what} reconnect at once: {received} resources in {took:?}, {:?} of CPU; {} MiB, at most {} MiB",
            size.proxies,
            program.cpu() - cpu,
            program.mib("VmRSS"),
            program.mib("VmHWM")
        );
        if what == "hold everything" {
            assert_eq!(received, size.proxies as usize, "only what is new to each");
        }
        slowest = slowest.max(took);
        running = again;
    }
    for proxy in running {
        proxy.task.abort();
    }
    (longest, program.mib("VmHWM"), slowest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_mesh_tells_only_whom_it_concerns() {
    run(Size {
        services: 300,
        pods_each: 3,
        proxies: 30,
        used: 8,
        edits: 10,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute in a release build, much longer without optimisation"]
async fn a_large_mesh() {
    let size = Size {
        services: 10_000,
        pods_each: 10,
        proxies: 1_000,
        used: 20,
        edits: 100,
    };
    let (longest, mib, slowest) = run(size).await;
    assert!(longest < Duration::from_millis(50), "{longest:?}");
    assert!(mib <= 400, "{mib} MiB");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
