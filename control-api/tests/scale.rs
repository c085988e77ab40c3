//! What a change costs in a large mesh: proportional to those interested, and to nothing else. The full
//! size is `cargo nextest run -p heddle-control --run-ignored only scale`.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_control::{
    model::{Model, Settings},
    name::{Kind, NsName, ObjectKey},
    push::{
        Hub,
        hub::Registration,
        state::{Bounds, Kind as Type, Request, StreamState},
    },
    resources::{
        labels::{Interner, Labels},
        pod::{ContainerPort, Pod},
        service::{Service, ServicePort, TargetPort},
    },
    source::{Batch, Change, Object, Origin, Resource, node::Position},
};

struct Size {
    services: u32,
    pods_each: u32,
    proxies: u32,
    services_used: u32,
}

fn name(kind: &str, service: u32, pod: u32) -> NsName {
    let namespace = service % 50;
    NsName::parse(&format!("team-{namespace}/{kind}-{service}-{pod}")).unwrap()
}

fn object(kind: Kind, name: NsName, resource: Resource) -> Change {
    let origin = Origin {
        file: None,
        at: Position::default(),
    };
    Change::Upsert(Arc::new(Object {
        key: ObjectKey { kind, name },
        origin,
        created: None,
        resource,
        written: None,
        stand_in: false,
    }))
}

fn labels(interner: &mut Interner, service: u32) -> Labels {
    interner.labels(&BTreeMap::from([(
        "app".to_owned(),
        format!("svc-{service}"),
    )]))
}

fn ip(high: u8, number: u32) -> IpAddr {
    Ipv4Addr::from((u32::from(high) << 24) + number + 1).into()
}

fn service(interner: &mut Interner, number: u32) -> Change {
    let service = Service {
        addresses: vec![ip(11, number)],
        ports: vec![ServicePort {
            number: 80,
            name: "http".into(),
            target: TargetPort::Number(8080),
            app_protocol: None,
        }],
        selector: Some(labels(interner, number)),
        publish_not_ready: false,
    };
    object(
        Kind::Service,
        name("svc", number, 0),
        Resource::Service(service),
    )
}

fn pod(
    interner: &mut Interner,
    ports: &Arc<[ContainerPort]>,
    size: &Size,
    service: u32,
    number: u32,
    ready: bool,
) -> Change {
    let pod = Pod {
        addresses: [ip(12, service * size.pods_each + number)].into(),
        labels: labels(interner, service),
        service_account: interner.string("default"),
        meshed: true,
        ready,
        terminating: false,
        ports: ports.clone(),
        owner: interner.string(&format!("svc-{service}")),
    };
    object(Kind::Pod, name("pod", service, number), Resource::Pod(pod))
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        changes,
        refusals: Arc::new([]),
        kept: Arc::new([]),
    }
}

struct Proxy {
    state: StreamState,
    registration: Registration,
}

impl Proxy {
    fn request(&mut self, kind: Type, subscribe: Vec<String>, nonce: String) {
        let request = Request {
            kind,
            subscribe,
            unsubscribe: vec![],
            initial: vec![],
            nonce,
            nack: None,
        };
        self.state.request(request, &mut self.registration).unwrap();
    }

    /// Takes its mail and answers all it is sent. How many resources.
    fn turn(&mut self, hub: &Hub) -> usize {
        let mut received = 0;
        loop {
            let mail = self.registration.take_mail();
            let model = hub.model();
            self.state.mail(&mail, &model);
            let responses = self.state.responses(&model, &mut self.registration);
            if responses.is_empty() {
                return received;
            }
            for response in responses {
                received += response.resources.len();
                self.request(response.kind, vec![], response.nonce);
            }
        }
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn run(size: &Size) -> Vec<Duration> {
    let mut interner = Interner::default();
    let ports: Arc<[ContainerPort]> = Arc::new([ContainerPort {
        number: 8080,
        name: "http".into(),
    }]);
    let hub = Hub::new(Model::new(Settings::default()));
    let started = Instant::now();
    let mut changes = Vec::new();
    for number in 0..size.services {
        changes.push(service(&mut interner, number));
        changes
            .extend((0..size.pods_each).map(|i| pod(&mut interner, &ports, size, number, i, true)));
    }
    hub.apply(batch(changes));
    println!("built in {:?}, {} MiB", started.elapsed(), resident_mib());

    let started = Instant::now();
    let mut proxies: Vec<Proxy> = (0..size.proxies)
        .map(|i| {
            let node = name("pod", i % size.services, 0);
            let state = StreamState::new(node.clone(), &hub.model(), Bounds::default());
            let mut proxy = Proxy {
                state,
                registration: hub.connect(node, String::new(), 0),
            };
            let uses = (0..size.services_used)
                .map(|n| ip(11, (i * 7 + n * 13) % size.services).to_string());
            proxy.request(Type::Address, uses.collect(), String::new());
            proxy
        })
        .collect();
    let sent: usize = proxies.iter_mut().map(|proxy| proxy.turn(&hub)).sum();
    println!(
        "{} proxies served {sent} resources in {:?}, {} MiB",
        size.proxies,
        started.elapsed(),
        resident_mib()
    );
    assert_eq!(sent, (size.proxies * size.services_used * 4) as usize);

    let mut times = Vec::new();
    let mut told = 0;
    for round in 0..40 {
        let number = round * 37 % size.services;
        let change = pod(&mut interner, &ports, size, number, 1, false);
        let started = Instant::now();
        let dirty = hub.apply(batch(vec![change]));
        assert_eq!(dirty.services.len(), 1);
        let interested = name("svc", number, 0);
        for proxy in proxies
            .iter_mut()
            .filter(|proxy| proxy.state.needed().contains(&interested))
        {
            assert_eq!(proxy.turn(&hub), 1, "only the endpoints");
            told += 1;
        }
        times.push(started.elapsed());
        for proxy in proxies.iter_mut().take(20) {
            assert_eq!(proxy.turn(&hub), 0, "nobody else is told anything");
        }
    }
    assert!(told >= 40, "{told}");
    times.sort();
    println!(
        "one change, to the last one interested: median {:?}, longest {:?}",
        times[20], times[39]
    );
    times
}

#[test]
fn a_change_costs_only_those_interested() {
    run(&Size {
        services: 500,
        pods_each: 4,
        proxies: 40,
        services_used: 20,
    });
}

#[test]
#[ignore = "ten thousand services take a while to build without optimisation"]
fn the_full_size() {
    let times = run(&Size {
        services: 10_000,
        pods_each: 10,
        proxies: 1_000,
        services_used: 20,
    });
    assert!(resident_mib() <= 400, "{} MiB", resident_mib());
    assert!(times[38] < Duration::from_millis(50), "{times:?}");
}
