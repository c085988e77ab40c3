//! A pod that is called by its own address and belongs to a headless service: the host that each request
//! names decides whether it is the service's, and what is explained is what traffic meets.

use std::net::Ipv4Addr;

use heddle_proto::mesh::{
    ClientTls, Headless, HttpMatch, LoadBalancer, Protocol, StringMatch, TcpRule, TrafficPolicy,
    load_balancer, string_match,
};
use heddle_proxy_config::decision::{Decision, Tls};
use serde_json::json;

use crate::support::app::App;
use crate::support::http::{Answer, Client, get};
use crate::support::mesh::{Mesh, Pod};
use crate::support::resources::{ServiceSpec, rule};

const AT: u16 = 8080;

/// Client and two pods of the headless service `db`.
struct World {
    mesh: Mesh,
    client: Pod,
    pods: [Pod; 2],
    db: ServiceSpec,
}

impl World {
    fn new(protocol: Protocol) -> Self {
        let mesh = Mesh::new();
        let client = mesh.strict("client");
        let pods = [mesh.strict("one"), mesh.strict("two")];
        let db = ServiceSpec::new("db", 1, protocol);
        db.set_headless(&mesh.control, &[&pods[0], &pods[1]], &["v1", "v2"]);
        Self {
            mesh,
            client,
            pods,
            db,
        }
    }

    /// The answer of who is asked at pod one under a name, and what its sidecar said before.
    fn ask(&self, host: &'static str, path: &'static str) -> (Answer, Decision) {
        let at = self.pods[0].at(AT);
        self.client.run(async move {
            let mut admin = Client::http1((Ipv4Addr::LOCALHOST, 15000).into())
                .await
                .unwrap();
            let question = json!({
                "host": at.ip().to_string(), "port": at.port(), "path": path, "authority": host,
            });
            let told = admin.post("/explain", question.to_string()).await.unwrap();
            assert_eq!(told.status, 200, "{}", told.text());
            let mut client = Client::http1(at).await.unwrap();
            client.authority = host.to_owned();
            let answer = client.get(path).await.unwrap();
            (answer, serde_json::from_slice(&told.body).unwrap())
        })
    }
}

fn path_is(path: &str) -> HttpMatch {
    HttpMatch {
        path: Some(StringMatch {
            kind: Some(string_match::Kind::Exact(path.into())),
        }),
        // Of the service: what is called at the pod is 8080.
        port: 80,
        ..HttpMatch::default()
    }
}

#[test]
fn the_host_that_is_named_decides_request_by_request() {
    let world = World::new(Protocol::Http1);
    let db = world.db;
    let _apps = [
        App::echo(&world.pods[0].netns, AT, "one"),
        App::echo(&world.pods[1].netns, AT, "two"),
    ];
    let second = heddle_proto::mesh::HttpRule {
        matches: vec![path_is("/second")],
        ..rule("VirtualService/default/db#0", vec![db.to("v2", 1)])
    };
    db.set_rules(&world.mesh.control, vec![second]);
    for (host, path, who, service) in [
        ("db", "/second", "two", true),
        ("db:8080", "/second", "two", true),
        ("DB.default.svc.cluster.local", "/second", "two", true),
        ("db", "/other", "", true),
        ("one.db", "/second", "one", false),
        ("shop.example", "/second", "one", false),
        ("10.0.0.1", "/other", "one", false),
    ] {
        let (answer, told) = world.ask(host, path);
        assert_eq!(answer.app(), who, "{host} {path}: {answer:?}");
        let status = if who.is_empty() { 404 } else { 200 };
        assert_eq!(answer.status, status, "{host} {path}");
        assert_eq!(told.status, (status == 404).then_some(404), "{told:?}");
        let names = json!(told.means)["kind"] == "service";
        assert_eq!(names, service, "{host} {path}: {told:?}");
        let share = told.destinations.first();
        let pod = share.map(|share| share.endpoints[0].workload.clone());
        let expected = match who {
            "" => None,
            who => Some(format!("default/{who}")),
        };
        assert_eq!(pod, expected, "{told:?}");
    }
    // The service's own number, which the pod does not have.
    let at = world.pods[0].at(80);
    let answer = world.client.run(async move {
        let mut client = Client::http1(at).await.unwrap();
        client.authority = "db".to_owned();
        client.get("/second").await.unwrap()
    });
    assert_eq!(answer.app(), "two");
    let of_service = ["destination_service_name=\"db\""];
    let sidecar = world.client.sidecar();
    assert!(sidecar.metric("istio_requests_total", &of_service) >= 4.0);
}

#[test]
fn a_policy_alone_says_how_the_pod_that_is_called_is_connected_to() {
    let world = World::new(Protocol::Http1);
    let _app = App::echo(&world.pods[0].netns, AT, "one");
    let policy = |mode| TrafficPolicy {
        tls: Some(ClientTls {
            mode,
            ..ClientTls::default()
        }),
        ..TrafficPolicy::default()
    };
    use heddle_proto::mesh::client_tls::Mode;
    let control = &world.mesh.control;
    world
        .db
        .set_headless_policy(control, policy(Mode::Mesh.into()));
    assert_eq!(world.ask("db", "/").0.app(), "one");
    // In the clear the STRICT server takes nothing: the policy is in force, and its change too.
    world
        .db
        .set_headless_policy(control, policy(Mode::Disable.into()));
    crate::support::eventually("the policy is in force", || {
        world.ask("db", "/").0.status == 503
    });
    assert_eq!(world.ask("one.db", "/").0.status, 503);
    assert_eq!(world.ask("elsewhere", "/").0.app(), "one");
}

#[test]
fn a_pod_that_is_called_in_place_of_a_subset_is_not_spoken_to_in_the_clear() {
    let world = World::new(Protocol::Http1);
    let _app = App::echo(&world.pods[0].netns, AT, "one");
    let (db, control) = (world.db, &world.mesh.control);
    let simple = load_balancer::Simple::Passthrough as i32;
    let policy = TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            algorithm: Some(load_balancer::Algorithm::Simple(simple)),
            ..LoadBalancer::default()
        }),
        ..TrafficPolicy::default()
    };
    db.set_headless_policy(control, policy);
    // The endpoint of the subset is the other pod; who is called is kept to, as by its identity.
    db.set_rules(control, vec![rule("kept", vec![db.to("v2", 1)])]);
    let (answer, told) = world.ask("db", "/");
    assert_eq!(answer.app(), "one", "{answer:?}");
    let reached = &told.destinations[0].endpoints[0];
    let expected = (Tls::Mutual, "default/one");
    assert_eq!((reached.tls, &*reached.workload), expected, "{told:?}");
}

#[test]
fn bytes_are_of_the_only_headless_service() {
    let world = World::new(Protocol::Tcp);
    let _apps = [
        App::echo(&world.pods[0].netns, AT, "one"),
        App::echo(&world.pods[1].netns, AT, "two"),
    ];
    let ask = || {
        let at = world.pods[0].at(AT);
        let answer = world.client.run(async move { get(at, "/").await.unwrap() });
        answer.app().to_owned()
    };
    let second = TcpRule {
        origin: "VirtualService/default/db#0".into(),
        destinations: vec![world.db.to("v2", 1)],
        ..TcpRule::default()
    };
    world.db.set_tcp_rules(&world.mesh.control, vec![second]);
    assert_eq!(ask(), "two");
    // As soon as another has the number too, nobody can tell for which it is.
    let control = &world.mesh.control;
    world
        .db
        .set_pod_of(control, &world.pods[0], |at: &mut Headless| at.only = false);
    crate::support::eventually("the pod is the pod", || ask() == "one");
}

#[test]
fn routes_may_come_after_the_connection() {
    let world = World::new(Protocol::Http1);
    let _apps = [
        App::echo(&world.pods[0].netns, AT, "one"),
        App::echo(&world.pods[1].netns, AT, "two"),
    ];
    let (db, control) = (world.db, &world.mesh.control);
    crate::support::resources::set_pod_address(control, &world.pods[0], vec![]);
    let at = world.pods[0].at(AT);
    let (routed, follow) = tokio::sync::oneshot::channel();
    let moves = async move {
        let mut client = Client::http1(at).await.unwrap();
        client.authority = "db".to_owned();
        assert_eq!(client.get("/").await.unwrap().app(), "one");
        routed.send(()).unwrap();
        // Bounded by the patience of whoever runs it.
        while client.get("/").await.unwrap().app() != "two" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| world.client.run(moves));
        follow.blocking_recv().unwrap();
        db.set_rules(control, vec![rule("moved", vec![db.to("v2", 1)])]);
        db.set_pod_of(control, &world.pods[0], |_| {});
    });
}
