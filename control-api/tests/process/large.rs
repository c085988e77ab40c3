//! A large mesh over real gRPC: 10,000 services, 100,000 endpoints, 1,000 connected proxies that use 20
//! services each. Prints what it takes:
//! `cargo nextest run --release -p heddle-control --run-ignored only --no-capture -E 'test(large)'`.

mod proxies;

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_proto::mesh::type_url;
use tokio::{sync::mpsc, time::timeout};

use self::proxies::{Held, Mesh, NAMESPACES, STEP, Size, namespace, service_ip};
use super::support::{Program, Setup, workload};

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
            let mut left: BTreeSet<u32> = interested.into_iter().collect();
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
