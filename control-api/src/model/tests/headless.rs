//! What a client is told of headless services at the addresses of their pods.

use std::net::IpAddr;

use super::*;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9090}]}
";
const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec: {hosts: [db], http: [{route: [{destination: {host: reviews}}]}]}
";

fn world(more: &[&str]) -> Model {
    let pod = pod("db-0", "10.1.7.0", "db", "v1");
    let mut documents = vec![REVIEWS, SERVICE, &pod];
    documents.extend(more);
    model(&documents.join("---\n"))
}

fn ip() -> IpAddr {
    [10, 1, 7, 0].into()
}

/// Number, service, its port, the pod's, and whether there is no other.
fn told(model: &Model, namespace: &str) -> Vec<(u32, String, u32, u32, bool)> {
    let encoded = model.address(ip(), &client(namespace));
    let address = mesh::Address::decode(&*encoded.body).unwrap();
    assert!(matches!(
        address.kind,
        Some(mesh::address::Kind::Workload(_))
    ));
    let behind = model.services_behind(ip(), &client(namespace));
    let mut named: Vec<&str> = address.headless.iter().map(|h| &*h.service).collect();
    named.sort_unstable();
    named.dedup();
    assert!(behind.iter().map(NsName::as_str).eq(named));
    let own = |h: &mesh::Headless| h.own == (namespace == "default");
    assert!(address.headless.iter().all(own));
    let all = address.headless.into_iter();
    all.map(|h| (h.number, h.service, h.service_port, h.target_port, h.only))
        .collect()
}

/// A number, as the only one.
fn at(number: u32, port: u32, target: u32) -> (u32, String, u32, u32, bool) {
    (number, "default/db".to_owned(), port, target, true)
}

#[test]
fn a_client_is_told_of_those_alone_of_which_something_is_said() {
    let rule = |spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: db}}\nspec: {{host: db, {spec}}}\n"
        )
    };
    let policy = rule("trafficPolicy: {tls: {mode: DISABLE}}");
    let subsets = rule("subsets: [{name: v1, labels: {version: v1}}]");
    let http_route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{group: '', kind: Service, name: db}]\n  rules:\n  - backendRefs: [{name: reviews, port: 9080}]\n";
    // By the pod's numbers, and by the service's own where the pod has none such.
    let all = vec![at(80, 80, 8080), at(8080, 80, 8080), at(9090, 9090, 9090)];
    let none = Vec::new();
    for (more, here, elsewhere) in [
        ("", &none, &none),
        (ROUTE, &all, &all),
        (http_route, &all, &all),
        (&*policy, &all, &all),
        (&*subsets, &none, &none),
        (
            &*ROUTE.replace("{hosts", "{exportTo: [.], hosts"),
            &all,
            &none,
        ),
    ] {
        let model = world(&[more]);
        assert_eq!(told(&model, "default"), *here, "{more}");
        assert_eq!(told(&model, "other"), *elsewhere, "{more}");
    }
}

#[test]
fn a_number_of_two_services_is_neithers_alone() {
    let other = SERVICE
        .replace("name: db", "name: peers")
        .replace("port: 80, targetPort: 8080", "port: 8080");
    let model = world(&[ROUTE, &other]);
    let (_, service, port, target, _) = at(8080, 80, 8080);
    assert_eq!(
        told(&model, "default"),
        [
            at(80, 80, 8080),
            (8080, service.clone(), port, target, false),
            (9090, service, 9090, 9090, false)
        ]
    );
}

#[test]
fn a_port_of_the_pods_own_number_speaks_for_it() {
    let two = SERVICE.replace("{name: tcp, port: 9090}", "{name: http-alt, port: 8080}");
    let model = world(&[ROUTE, &two]);
    assert_eq!(
        told(&model, "default"),
        [at(80, 80, 8080), at(8080, 8080, 8080)]
    );
}

#[test]
fn a_slice_says_who_is_there() {
    let slice = |addresses: &str, port: u16| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: db-1, labels: {{kubernetes.io/service-name: db}}}}\naddressType: IPv4\nports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [{addresses}], targetRef: {{kind: Pod, name: db-0, namespace: default}}}}]\n"
        )
    };
    let mut model = world(&[ROUTE, &slice("10.1.7.0", 7070)]);
    assert_eq!(
        told(&model, "default"),
        [at(80, 80, 7070), at(7070, 80, 7070)]
    );
    let dirty = model.apply(batch(&slice("10.1.7.0", 7071)).changes);
    assert!(dirty.addresses.contains(&ip()));
    assert_eq!(told(&model, "default")[1], at(7071, 80, 7071));
    let dirty = model.apply(batch(&slice("10.1.7.9", 7071)).changes);
    assert!(dirty.addresses.contains(&ip()));
    assert_eq!(told(&model, "default"), []);
}

#[test]
fn what_is_not_seen_is_not_named() {
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {egress: [{hosts: [./reviews.default.svc.cluster.local]}]}\n";
    let model = world(&[ROUTE, sidecar]);
    assert_eq!(told(&model, "default"), []);
    assert_eq!(told(&model, "other").len(), 3);
}

#[test]
fn whoever_holds_the_address_of_a_pod_learns_of_the_change() {
    let mut model = world(&[]);
    let mut touches = |yaml: &str| {
        let dirty = model.apply(batch(yaml).changes);
        dirty.addresses.contains(&ip())
    };
    assert!(touches(ROUTE));
    let edited = ROUTE.replace("host: reviews", "host: ratings");
    assert!(touches(&edited));
    assert!(!touches(&ROUTE.replace("db", "details")), "another's route");
    assert!(touches(
        &SERVICE.replace("clusterIP: None", "clusterIP: 10.0.0.77")
    ));
    assert!(touches(SERVICE));
    let moved = pod("db-0", "10.1.7.0", "other", "v1");
    assert!(touches(&moved));
    let dirty = model.apply(vec![Change::Remove(ObjectKey {
        kind: Kind::VirtualService,
        name: name("default/db"),
    })]);
    assert!(
        !dirty.addresses.contains(&ip()),
        "it is no pod of it any more"
    );
    assert_eq!(told(&model, "default"), []);
}
