//! A mesh of any size without a source, a socket or a clock, and the proxies connected to it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
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

/// How large the mesh is.
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) pods_each: u32,
}

pub(crate) fn name(kind: &str, service: u32, pod: u32) -> NsName {
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
        ..Service::default()
    };
    object(
        Kind::Service,
        name("svc", number, 0),
        Resource::Service(service.into()),
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
        node: None,
        hostname: None,
    };
    object(Kind::Pod, name("pod", service, number), Resource::Pod(pod))
}

pub(crate) fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        changes,
        refusals: Arc::new([]),
        kept: Arc::new([]),
    }
}

/// A connected proxy that takes whatever it is sent.
pub(crate) struct Proxy {
    pub(crate) state: StreamState,
    pub(crate) registration: Registration,
}

impl Proxy {
    /// The proxy of a service's first pod, which uses the services of these numbers.
    pub(crate) fn connect(hub: &Arc<Hub>, service: u32, uses: impl Iterator<Item = u32>) -> Self {
        let node = name("pod", service, 0);
        let state = StreamState::new(node.clone(), &hub.model(), Bounds::default());
        let mut proxy = Self {
            state,
            registration: hub.connect(node, String::new(), 0),
        };
        let uses = uses.map(|service| ip(11, service).to_string()).collect();
        proxy.request(Type::Address, uses, String::new());
        proxy
    }

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
    pub(crate) fn turn(&mut self, hub: &Hub) -> usize {
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

/// A mesh that is published, and what makes pods of it.
pub(crate) struct Mesh {
    pub(crate) hub: Arc<Hub>,
    size: Size,
    interner: Interner,
    ports: Arc<[ContainerPort]>,
}

impl Mesh {
    pub(crate) fn new(size: Size) -> Self {
        let mut mesh = Self {
            hub: Hub::new(Model::new(Settings::default())),
            size,
            interner: Interner::default(),
            ports: Arc::new([ContainerPort {
                number: 8080,
                name: "http".into(),
            }]),
        };
        let mut changes = Vec::new();
        for number in 0..mesh.size.services {
            changes.push(service(&mut mesh.interner, number));
            changes.extend((0..mesh.size.pods_each).map(|i| mesh.pod(number, i, true)));
        }
        mesh.hub.apply(batch(changes));
        mesh
    }

    /// One pod is (not) ready now.
    pub(crate) fn pod(&mut self, service: u32, number: u32, ready: bool) -> Change {
        pod(
            &mut self.interner,
            &self.ports,
            &self.size,
            service,
            number,
            ready,
        )
    }
}
