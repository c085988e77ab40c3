//! What is explained against a reference that reads the wire's own messages by the rules of the facts
//! (first match in order, fields together, lists as alternatives), knows no index, no compiled pattern
//! and none of the code that carries traffic; and that a table survives its way over the wire.
#![allow(clippy::unwrap_used)]

mod naive;
mod wire;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use heddle_proto::mesh;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::decision::{
    Asked, AskedInbound, Decision, Means, NotARequest, Outcome, Question, State, Tls, admit, decide,
};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{Address, Name, Snapshot};
use proptest::prelude::*;
use prost::Message;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));
const SERVICE: &str = "default/web";

/// A snapshot as pushes would make it.
fn snapshot(table: &mesh::RouteTable) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let address = Address::Service(Name::new(SERVICE));
    snapshot.addresses.insert(VIP, Arc::new(address));
    for name in wire::SERVICES {
        install(&mut snapshot, Kind::Service, name, &wire::service(name));
        install(&mut snapshot, Kind::Endpoints, name, &wire::endpoints());
    }
    install(&mut snapshot, Kind::RouteTable, SERVICE, table);
    snapshot
}

fn install(snapshot: &mut Snapshot, kind: Kind, name: &str, content: &impl Message) {
    match compile(kind, name, &content.encode_to_vec()).unwrap() {
        Compiled::Service(name, service) => {
            snapshot.services.insert(name, Arc::new(service));
        }
        Compiled::Endpoints(name, endpoints, _) => {
            snapshot.endpoints.insert(name, Arc::new(endpoints));
        }
        Compiled::Routes(name, table) => {
            snapshot.routes.insert(name, Arc::new(table));
        }
        Compiled::Workload(workload) => snapshot.workload = Some(Arc::new(workload)),
        Compiled::Address(ip, address) => {
            snapshot.addresses.insert(ip, Arc::new(address));
        }
        other => panic!("{other:?} is no part of a snapshot"),
    }
}

fn decided(snapshot: &Snapshot, asked: &Asked) -> Decision {
    let question = Question::new(asked).unwrap();
    let ip = asked.host.parse().unwrap_or(VIP);
    let called = SocketAddr::new(ip, asked.port);
    decide(snapshot, called, &question, &HashSet::new())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn what_is_explained_is_what_the_rules_say(
        table in wire::table(),
        requests in proptest::collection::vec(wire::request(), 1..12),
    ) {
        let snapshot = snapshot(&table);
        for asked in &requests {
            let told = decided(&snapshot, asked);
            let want = naive::decide(&table, asked);
            prop_assert_eq!(naive::Decided::of(&told), want, "{:?}\n{:?}", asked, table);
            // The rules before the one that takes it, in order, each with a reason.
            let rules = told.rules.iter();
            let missed: Vec<_> = rules.filter(|rule| !rule.takes).collect();
            prop_assert!(missed.iter().all(|rule| !rule.because.is_empty()));
            prop_assert!(told.rules.iter().map(|rule| rule.place).eq(0..told.rules.len()));
            let json = serde_json::to_string(&told).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), told);
        }
    }

    /// What the address that is called changes is where a request goes that no rule leads elsewhere.
    #[test]
    fn a_headless_services_routes_are_those_of_any_service(
        table in wire::table(),
        requests in proptest::collection::vec(wire::request(), 1..12),
    ) {
        let mut snapshot = snapshot(&table);
        let mut web = wire::service(SERVICE);
        web.hosts.push("web".into());
        install(&mut snapshot, Kind::Service, SERVICE, &web);
        let pod = mesh::Address {
            kind: Some(mesh::address::Kind::Workload(wire::endpoint(7))),
            headless: vec![mesh::Headless {
                number: 8080,
                service: SERVICE.into(),
                service_port: 80,
                target_port: 8080,
                only: true,
                own: true,
            }],
            ..Default::default()
        };
        install(&mut snapshot, Kind::Address, "10.0.0.7", &pod);
        for asked in &requests {
            let at_pod = Asked { host: "10.0.0.7".into(), port: 8080, ..asked.clone() };
            let [service, pod] = [asked, &at_pod].map(|asked| decided(&snapshot, asked));
            if asked.authority == "other" {
                let is_pod = matches!(pod.means, Means::Pod { .. });
                prop_assert!(is_pod && pod.rules.is_empty());
                continue;
            }
            let ruled = |decision: &Decision| Decision {
                called: String::new(),
                means: Means::Unknown,
                destinations: Vec::new(),
                ..decision.clone()
            };
            prop_assert_eq!(ruled(&service), ruled(&pod));
            if service.destinations != pod.destinations {
                let [whole] = service.destinations.as_slice() else {
                    panic!("{service:?}")
                };
                let [called] = pod.destinations.as_slice() else {
                    panic!("{pod:?}")
                };
                prop_assert_eq!(whole.service.as_deref(), Some(SERVICE));
                prop_assert_eq!(&whole.subset, &None);
                prop_assert_eq!(called.endpoints.len(), 1);
                prop_assert_eq!(&*called.endpoints[0].address, "10.0.0.7:8080");
            }
        }
    }

    #[test]
    fn a_table_survives_its_way_over_the_wire(table in wire::table()) {
        let bytes = table.encode_to_vec();
        let back = mesh::RouteTable::decode(&*bytes).unwrap();
        prop_assert_eq!(&back, &table);
        prop_assert_eq!(back.encode_to_vec(), bytes);
    }
}

fn asked(host: &str, port: u16) -> Asked {
    Asked {
        host: host.to_owned(),
        port,
        ..Asked::default()
    }
}

#[test]
fn an_address_means_a_service_a_pod_or_nothing() {
    let mut snapshot = snapshot(&mesh::RouteTable::default());
    let pod = mesh::Address {
        kind: Some(mesh::address::Kind::Workload(wire::endpoint(7))),
        ..Default::default()
    };
    install(&mut snapshot, Kind::Address, "10.0.0.7", &pod);
    let service = decided(&snapshot, &asked("web", 80));
    assert_eq!(service.outcome, Outcome::Forwarded);
    let [share] = service.destinations.as_slice() else {
        panic!("{service:?}");
    };
    assert_eq!((share.percent, share.endpoints.len()), (100.0, 2));
    assert_eq!(share.endpoints[0].tls, Tls::Mutual);
    let wrong = decided(&snapshot, &asked("web", 81));
    assert_eq!(wrong.outcome, Outcome::NoSuchPort);
    let called = decided(&snapshot, &asked("10.0.0.7", 9999));
    assert!(matches!(called.means, Means::Pod { .. }));
    assert_eq!(called.destinations[0].endpoints[0].address, "10.0.0.7:9999");
    let unknown = asked("192.0.2.1", 80);
    assert_eq!(decided(&snapshot, &unknown).outcome, Outcome::PassedThrough);
    let workload = mesh::Workload {
        outbound: mesh::OutboundPolicy::RegistryOnly.into(),
        ..wire::workload()
    };
    install(&mut snapshot, Kind::Workload, "default/client", &workload);
    let refused = decided(&snapshot, &unknown);
    assert_eq!(
        (refused.outcome, refused.status),
        (Outcome::RegistryOnly, Some(502))
    );
}

#[test]
fn who_is_left_out_or_leaving_is_said() {
    let snapshot = snapshot(&mesh::RouteTable::default());
    let question = Question::new(&asked("web", 80)).unwrap();
    let left_out = "10.0.0.1:8080".parse().unwrap();
    let cluster = "service default/web port 80".to_owned();
    let ejected = HashSet::from([(cluster, left_out)]);
    let told = decide(&snapshot, SocketAddr::new(VIP, 80), &question, &ejected);
    let states: Vec<State> = (told.destinations[0].endpoints.iter())
        .map(|endpoint| endpoint.state)
        .collect();
    assert_eq!(states, [State::Ejected, State::Draining]);
}

#[test]
fn a_servers_policies_are_told_with_their_origin() {
    let mut snapshot = Snapshot::default();
    let ask = |snapshot: &Snapshot, port, mutual| admit(snapshot, AskedInbound { port, mutual });
    assert!(
        !ask(&snapshot, 80, false).allowed,
        "before its configuration"
    );
    install(
        &mut snapshot,
        Kind::Workload,
        "default/client",
        &wire::workload(),
    );
    let strict = ask(&snapshot, 80, false);
    assert_eq!((strict.allowed, &*strict.mtls), (false, "STRICT"));
    let policy = strict.policy.unwrap();
    assert_eq!((&*policy.name, policy.line), ("client", Some(7)));
    assert!(ask(&snapshot, 80, true).allowed);
    let other = ask(&snapshot, 9090, false);
    assert_eq!((other.allowed, &*other.mtls), (true, "PERMISSIVE"));
    assert_eq!(other.policy.unwrap().line, Some(9));
}

#[test]
fn what_is_no_request_is_refused_by_its_part() {
    let refused = |change: fn(&mut Asked)| {
        let mut asked = asked("web", 80);
        change(&mut asked);
        Question::new(&asked).unwrap_err()
    };
    assert_eq!(
        refused(|a| a.method = "G T".into()),
        NotARequest::Method("G T".into())
    );
    assert_eq!(
        refused(|a| a.path = "x".into()),
        NotARequest::Path("x".into())
    );
    assert!(matches!(
        refused(|a| a.path = "/%00".into()),
        NotARequest::Hidden(_)
    ));
    assert!(matches!(
        refused(|a| a.headers.push(("a b".into(), String::new()))),
        NotARequest::Header(_)
    ));
    assert!(matches!(
        refused(|a| a.path = format!("/{}", "x".repeat(40_000))),
        NotARequest::TooLong { .. }
    ));
    assert!(matches!(
        refused(|a| a.headers = vec![("a".into(), "b".into()); 300]),
        NotARequest::TooLong { .. }
    ));
    assert!(matches!(
        refused(|a| a.authority = "a b".into()),
        NotARequest::Host(_)
    ));
}
