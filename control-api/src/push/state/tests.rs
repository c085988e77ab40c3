//! The state machine alone: a simulated proxy that checks the protocol's rules as it goes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use heddle_proto::mesh;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    model::{
        Settings,
        testing::{REVIEWS, batch, name, pod},
    },
    push::Hub,
};

const NODE: &str = "default/productpage-1";

struct Sim {
    hub: Arc<Hub>,
    registration: Registration,
    state: StreamState,
    /// What the proxy holds: kind and name to version and body.
    held: BTreeMap<(usize, String), (String, Vec<u8>)>,
    pending: Vec<Response>,
}

impl Sim {
    fn new(yaml: &str, bounds: Bounds) -> Self {
        let hub = Hub::new(Model::new(Settings::default()));
        hub.set_roots(vec![vec![1, 2, 3]]);
        hub.apply(batch(yaml));
        Self::on(hub, bounds)
    }

    fn on(hub: Arc<Hub>, bounds: Bounds) -> Self {
        let registration = hub.connect(name(NODE), String::new(), 0);
        let state = StreamState::new(name(NODE), &hub.model(), bounds);
        Self {
            hub,
            registration,
            state,
            held: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    fn request(&mut self, kind: Kind, subscribe: &[&str], unsubscribe: &[&str]) {
        for name in unsubscribe {
            self.held.remove(&(kind.index(), (*name).to_owned()));
        }
        let request = Request {
            kind,
            subscribe: subscribe.iter().map(|n| (*n).to_owned()).collect(),
            unsubscribe: unsubscribe.iter().map(|n| (*n).to_owned()).collect(),
            initial: Vec::new(),
            nonce: String::new(),
            nack: None,
        };
        self.state.request(request, &mut self.registration).unwrap();
    }

    fn apply(&mut self, yaml: &str) {
        self.hub.apply(batch(yaml));
    }

    fn remove(&mut self, kind: crate::name::Kind, of: &str) {
        let key = crate::name::ObjectKey {
            kind,
            name: name(of),
        };
        self.hub.apply(crate::source::Batch {
            changes: vec![crate::source::Change::Remove(key)],
            refusals: Arc::new([]),
            kept: Arc::new([]),
        });
    }

    /// What is sent now, checked against the rules.
    fn poll(&mut self) -> Vec<Kind> {
        let mail = self.registration.take_mail();
        let model = self.hub.model();
        self.state.mail(&mail, &model);
        let responses = self.state.responses(&model, &mut self.registration);
        let kinds = responses.iter().map(|r| r.kind).collect();
        for response in responses {
            assert!(
                self.pending.iter().all(|p| p.kind != response.kind),
                "two {:?} await an answer",
                response.kind
            );
            for (name, encoded) in &response.resources {
                let key = (response.kind.index(), name.to_string());
                self.held
                    .insert(key, (encoded.version.to_string(), encoded.body.to_vec()));
            }
            for name in &response.removed {
                self.held.remove(&(response.kind.index(), name.to_string()));
            }
            self.pending.push(response);
            self.check_closed();
        }
        kinds
    }

    /// At every moment, whatever the proxy holds names only what it holds.
    fn check_closed(&self) {
        let has = |kind: Kind, name: &str| self.held.contains_key(&(kind.index(), name.to_owned()));
        for ((kind, name), (_, body)) in &self.held {
            if *kind == Kind::Address.index() {
                let address = mesh::Address::decode(&**body).unwrap();
                let service = match address.kind {
                    Some(mesh::address::Kind::Service(service)) => Some(service),
                    _ => None,
                };
                let headless = address.headless.into_iter().map(|one| one.service);
                for service in service.into_iter().chain(headless) {
                    for kind in Kind::IMPLIED {
                        assert!(
                            has(kind, &service),
                            "{name} names {service} without {kind:?}"
                        );
                    }
                }
            }
            if *kind == Kind::Routes.index() {
                for rule in mesh::RouteTable::decode(&**body).unwrap().http {
                    for to in rule.destinations {
                        let exists = self
                            .hub
                            .model()
                            .service(&NsName::parse(&to.service).unwrap())
                            .is_some();
                        assert!(
                            !exists || has(Kind::Endpoints, &to.service),
                            "{name} names {}",
                            to.service
                        );
                    }
                }
            }
        }
    }

    fn answer(&mut self, index: usize, refuse: bool) {
        let response = self.pending.remove(index);
        let nack = refuse.then(|| Nack {
            message: "no".into(),
            resources: Vec::new(),
        });
        let request = Request {
            kind: response.kind,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial: Vec::new(),
            nonce: response.nonce,
            nack,
        };
        self.state.request(request, &mut self.registration).unwrap();
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.poll();
            if self.pending.is_empty() {
                return;
            }
            self.answer(0, false);
        }
        panic!("it does not settle");
    }

    fn names(&self, kind: Kind) -> Vec<&str> {
        self.held
            .keys()
            .filter(|(k, _)| *k == kind.index())
            .map(|(_, name)| name.as_str())
            .collect()
    }
}

fn route(to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: moves}}\nspec: {{hosts: [ratings], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}\n"
    )
}

#[test]
fn the_first_answer_comes_in_one_turn_and_in_order() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.request(Kind::Address, &["10.0.0.3"], &[]);
    assert_eq!(sim.poll(), Kind::ORDERED);
    assert_eq!(sim.poll(), [], "nothing twice");
    while !sim.pending.is_empty() {
        sim.answer(0, false);
    }
    assert_eq!(sim.poll(), []);
    let summary = sim.state.summary();
    assert!(summary.synced && summary.resources == 4, "{summary:?}");
}

#[test]
fn before_break_comes_make() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.apply(&route("details"));
    sim.request(Kind::Address, &["10.0.0.4"], &[]);
    sim.settle();
    assert_eq!(
        sim.names(Kind::Endpoints),
        ["default/details", "default/ratings"]
    );
    sim.apply(&route("reviews"));
    assert_eq!(
        sim.poll(),
        [Kind::Endpoints, Kind::Service, Kind::Routes],
        "additions first"
    );
    assert!(
        sim.names(Kind::Endpoints).contains(&"default/details"),
        "and no removal before the answers"
    );
    sim.settle();
    assert_eq!(
        sim.names(Kind::Endpoints),
        ["default/ratings", "default/reviews"]
    );
    assert_eq!(
        sim.names(Kind::Routes),
        ["default/ratings", "default/reviews"]
    );
}

#[test]
fn while_an_answer_is_awaited_changes_gather() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.request(Kind::Address, &["10.0.0.4"], &[]);
    sim.settle();
    sim.apply(&pod("ratings-2", "10.1.0.61", "ratings", "v1"));
    assert_eq!(sim.poll(), [Kind::Endpoints]);
    for i in 3..9 {
        sim.apply(&pod(
            &format!("ratings-{i}"),
            &format!("10.1.0.{}", 60 + i),
            "ratings",
            "v1",
        ));
        // A route that depends on what waits, waits too.
        sim.apply(&route("details"));
        assert_eq!(sim.poll(), []);
    }
    sim.answer(0, false);
    assert_eq!(sim.poll()[0], Kind::Endpoints);
    sim.settle();
    let body = &sim.held[&(Kind::Endpoints.index(), "default/ratings".to_owned())].1;
    assert_eq!(mesh::Endpoints::decode(&**body).unwrap().endpoints.len(), 8);
}

#[test]
fn names_and_versions_that_nothing_has_are_not_kept() {
    let long = || "x".repeat(513);
    for (subscribe, initial) in [
        (vec![long()], vec![]),
        (vec![], vec![(long(), "1".to_owned())]),
        (vec![], vec![("10.0.0.1".to_owned(), long())]),
    ] {
        let mut sim = Sim::new(REVIEWS, Bounds::default());
        let request = Request {
            kind: Kind::Address,
            subscribe,
            unsubscribe: Vec::new(),
            initial,
            nonce: String::new(),
            nack: None,
        };
        let refused = sim.state.request(request, &mut sim.registration);
        assert_eq!(refused, Err(Violation::TooLong(513)));
    }
}

#[test]
fn what_was_refused_waits_for_a_change() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.request(Kind::Address, &["10.0.0.4"], &[]);
    sim.poll();
    sim.answer(0, true);
    while !sim.pending.is_empty() {
        sim.answer(0, false);
    }
    assert_eq!(sim.poll(), []);
    assert_eq!(
        sim.state.summary().nacks,
        [(Kind::Endpoints, "default/ratings".into(), "no".to_owned())]
    );
    sim.apply(&pod("ratings-2", "10.1.0.61", "ratings", "v1"));
    assert_eq!(sim.poll(), [Kind::Endpoints]);
    sim.settle();
    assert!(sim.state.summary().nacks.is_empty());
}

#[test]
fn unsubscribing_frees_what_nothing_needs() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.apply(&route("details"));
    sim.request(Kind::Address, &["10.0.0.4", "10.0.0.2"], &[]);
    sim.settle();
    sim.request(Kind::Address, &[], &["10.0.0.4"]);
    sim.settle();
    assert_eq!(sim.names(Kind::Endpoints), ["default/details"]);
    sim.request(Kind::Address, &[], &["10.0.0.2"]);
    sim.settle();
    assert!(sim.held.is_empty(), "{:?}", sim.held.keys());
    assert!(sim.state.needed().is_empty());
    assert_eq!(sim.state.summary().resources, 0);
}

#[test]
fn a_service_that_goes_leaves_an_unknown_address() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.request(Kind::Address, &["10.0.0.4"], &[]);
    sim.settle();
    let key = crate::name::ObjectKey {
        kind: crate::name::Kind::Service,
        name: name("default/ratings"),
    };
    let changes = vec![crate::source::Change::Remove(key)];
    sim.hub.apply(crate::source::Batch {
        changes,
        refusals: Arc::new([]),
        kept: Arc::new([]),
    });
    assert_eq!(sim.poll()[0], Kind::Address);
    sim.settle();
    assert_eq!(sim.names(Kind::Endpoints), [""; 0]);
    let address = &sim.held[&(Kind::Address.index(), "10.0.0.4".to_owned())].1;
    assert!(matches!(
        mesh::Address::decode(&**address).unwrap().kind,
        Some(mesh::address::Kind::Unknown(_))
    ));
}

#[test]
fn subscriptions_are_bounded() {
    let mut sim = Sim::new(
        REVIEWS,
        Bounds {
            subscriptions: 2,
            ..Bounds::default()
        },
    );
    sim.request(Kind::Address, &["10.0.0.1", "10.0.0.2", "10.0.0.3"], &[]);
    sim.poll();
    let address = sim
        .pending
        .iter()
        .find(|r| r.kind == Kind::Address)
        .unwrap();
    assert_eq!((address.resources.len(), address.removed.len()), (2, 1));
    let many: Vec<String> = (0..2000).map(|i| format!("no-{i}")).collect();
    let request = Request {
        kind: Kind::Workload,
        subscribe: many,
        unsubscribe: Vec::new(),
        initial: Vec::new(),
        nonce: String::new(),
        nack: None,
    };
    assert!(sim.state.request(request, &mut sim.registration).is_err());
}

#[test]
fn large_answers_come_in_parts() {
    let mut sim = Sim::new(
        REVIEWS,
        Bounds {
            response_bytes: 200,
            ..Bounds::default()
        },
    );
    sim.request(
        Kind::Address,
        &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
        &[],
    );
    assert_eq!(
        sim.poll(),
        [Kind::Endpoints],
        "the rest of them comes before anything that needs them"
    );
    sim.settle();
    assert_eq!(sim.names(Kind::Address).len(), 4);
    assert_eq!(sim.names(Kind::Routes).len(), 4);
}

fn sidecar(egress: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s, namespace: default}}\nspec: {{egress: [{{hosts: ['{egress}']}}]}}\n"
    )
}

/// Of services, then of pods.
fn address(i: u8) -> String {
    match i {
        0..8 => format!("10.0.0.{i}"),
        _ => format!("10.1.1.{}", i - 8),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(u8),
    Unsubscribe(u8),
    Route(u8),
    RouteGone,
    Pod(u8),
    /// A service of the same pods that is headless, is not, or is gone.
    Headless(u8),
    /// Routes for it, or none.
    Named(bool),
    Egress(u8),
    Poll,
    Answer(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..12_u8).prop_map(Step::Subscribe),
        (1..12_u8).prop_map(Step::Unsubscribe),
        (0..4_u8).prop_map(Step::Route),
        Just(Step::RouteGone),
        (0..6_u8).prop_map(Step::Pod),
        (0..3_u8).prop_map(Step::Headless),
        any::<bool>().prop_map(Step::Named),
        (0..3_u8).prop_map(Step::Egress),
        Just(Step::Poll),
        (0..4_usize, prop::bool::weighted(0.1)).prop_map(|(i, refuse)| Step::Answer(i, refuse)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: the rules hold at every moment (see `poll`), and in the
    /// end the proxy holds exactly what a new proxy would be sent.
    #[test]
    fn any_history_ends_where_a_new_proxy_begins(steps in prop::collection::vec(step(), 1..60)) {
        let mut sim = Sim::new(REVIEWS, Bounds { response_bytes: 600, ..Bounds::default() });
        let mut subscribed: HashSet<String> = HashSet::new();
        for step in steps {
            match step {
                Step::Subscribe(i) => {
                    let ip = address(i);
                    sim.request(Kind::Address, &[&ip], &[]);
                    subscribed.insert(ip);
                }
                Step::Unsubscribe(i) => {
                    let ip = address(i);
                    sim.request(Kind::Address, &[], &[&ip]);
                    subscribed.remove(&ip);
                }
                Step::Route(to) => sim.apply(&route(["details", "reviews", "productpage", "ratings"][usize::from(to)])),
                Step::RouteGone => sim.remove(crate::name::Kind::VirtualService, "default/moves"),
                Step::Headless(2) => sim.remove(crate::name::Kind::Service, "default/pods"),
                Step::Headless(i) => sim.apply(&format!(
                    "apiVersion: v1\nkind: Service\nmetadata: {{name: pods}}\nspec: {{clusterIP: {}, selector: {{app: ratings}}, ports: [{{port: 9080}}]}}\n",
                    ["None", "10.0.0.7"][usize::from(i)]
                )),
                Step::Named(true) => sim.apply("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: pods}\nspec: {hosts: [pods], http: [{route: [{destination: {host: details}}]}]}\n"),
                Step::Named(false) => sim.remove(crate::name::Kind::VirtualService, "default/pods"),
                Step::Pod(i) => sim.apply(&pod(&format!("ratings-{i}"), &format!("10.1.1.{i}"), "ratings", "v1")),
                Step::Egress(to) => sim.apply(&sidecar(["*/*", "shop/*", "./ratings.default.svc.cluster.local"][usize::from(to)])),
                Step::Poll => _ = sim.poll(),
                Step::Answer(i, refuse) => {
                    if i < sim.pending.len() {
                        sim.answer(i, refuse);
                    }
                }
            }
        }
        sim.settle();
        prop_assert!(sim.state.summary().synced);
        let mut fresh = Sim::on(sim.hub.clone(), Bounds::default());
        let names: Vec<&str> = subscribed.iter().map(String::as_str).collect();
        fresh.request(Kind::Address, &names, &[]);
        fresh.settle();
        let versions = |sim: &Sim| sim.held.iter().map(|(key, (version, _))| (key.clone(), version.clone())).collect::<Vec<_>>();
        prop_assert_eq!(versions(&sim), versions(&fresh));
    }
}

#[test]
fn only_the_first_request_brings_something() {
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    for round in 0..3 {
        let request = Request {
            kind: Kind::Endpoints,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial: (0..10)
                .map(|i| (format!("default/s{round}-{i}"), "v".to_owned()))
                .collect(),
            nonce: String::new(),
            nack: None,
        };
        sim.state.request(request, &mut sim.registration).unwrap();
    }
    assert_eq!(sim.state.summary().resources, 10);
    assert_eq!(
        sim.poll(),
        [],
        "what it needs is not known before it asks for addresses"
    );
    sim.request(Kind::Address, &["10.0.0.3"], &[]);
    sim.settle();
    assert_eq!(sim.state.summary().resources, 4);
}

/// What the proxy was told of a name: nothing, unknown, or addresses.
fn told(sim: &Sim, name: &str) -> Option<Vec<String>> {
    let (_, body) = sim.held.get(&(Kind::DnsName.index(), name.to_owned()))?;
    match mesh::DnsName::decode(&**body).unwrap().kind? {
        mesh::dns_name::Kind::Addresses(addresses) => Some(addresses.ips),
        mesh::dns_name::Kind::Unknown(_) => Some(vec!["unknown".into()]),
    }
}

#[test]
fn names_are_answered_once_and_again_when_they_change() {
    const NAMES: [&str; 3] = [
        "ratings.default.svc.cluster.local",
        "db-0.db.default.svc.cluster.local",
        "api.example.com",
    ];
    let mut sim = Sim::new(REVIEWS, Bounds::default());
    sim.request(Kind::DnsName, &NAMES, &[]);
    sim.request(Kind::DnsName, &["Upper.case", "dot.", ""], &[]);
    assert_eq!(sim.poll(), [Kind::DnsName]);
    assert_eq!(sim.pending[0].removed.len(), 3, "what can be no name");
    sim.settle();
    let unknown = Some(vec!["unknown".to_owned()]);
    assert_eq!(told(&sim, NAMES[0]).unwrap(), ["10.0.0.4"]);
    assert_eq!(
        [told(&sim, NAMES[1]), told(&sim, NAMES[2])],
        [unknown.clone(), unknown]
    );

    // Nobody is told of what was not asked for.
    sim.apply(&pod("reviews-v3-9", "10.1.0.99", "reviews", "v3"));
    sim.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {clusterIP: 10.0.0.9}\n",
    );
    assert!(sim.registration.take_mail().is_empty());
    assert_eq!(sim.poll(), []);

    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None, selector: {app: db}}\n";
    sim.apply(service);
    assert_eq!(sim.poll(), [], "it has no pod yet");
    let member = pod("db-0", "10.1.7.0", "db", "v1");
    sim.apply(&member.replace("spec:\n", "spec:\n  hostname: db-0\n  subdomain: db\n"));
    assert_eq!(sim.poll(), [Kind::DnsName]);
    sim.settle();
    assert_eq!(told(&sim, NAMES[1]).unwrap(), ["10.1.7.0"]);
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api}\nspec: {hosts: [api.example.com], addresses: [10.50.0.1]}\n";
    sim.apply(entry);
    sim.settle();
    assert_eq!(told(&sim, NAMES[2]).unwrap(), ["10.50.0.1"]);

    sim.request(Kind::DnsName, &[], &NAMES);
    sim.settle();
    sim.apply(&entry.replace("10.50.0.1", "10.50.0.2"));
    assert!(sim.registration.take_mail().is_empty());
    assert_eq!(sim.names(Kind::DnsName), [""; 0]);
}
