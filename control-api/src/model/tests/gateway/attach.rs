//! Parents, producers and consumers, ports, kinds on one port, VirtualServices beside.

use super::*;
use crate::check::{Code, Severity};

const TO_V1: &str = "  rules:\n  - backendRefs: [{name: v1, namespace: shop, port: 80}]\n";
const TO_V2: &str = "  rules:\n  - backendRefs: [{name: v2, namespace: shop, port: 80}]\n";

#[test]
fn a_route_has_every_port_of_its_parent_or_the_one_that_is_named() {
    for (parent, ports, conditions) in [
        ("name: echo", vec![], vec![0]),
        ("name: echo, port: 8080", vec![8080], vec![8080]),
        ("name: echo, sectionName: http", vec![80], vec![80]),
        ("name: echo, sectionName: http, port: 8080", vec![], vec![]),
        ("name: echo, port: 81", vec![], vec![]),
        ("name: echo, namespace: other", vec![], vec![]),
        ("name: bare", vec![], vec![]),
    ] {
        let model = with(&[http("shop/r", parent, TO_V1)]);
        let table = routes(&model, "shop/echo", &client("shop"));
        assert_eq!(table.http_ports, ports, "{parent}");
        let matched = table.http.iter().flat_map(|rule| &rule.matches);
        let matched: Vec<u32> = matched.map(|one| one.port).collect();
        assert_eq!(matched, conditions, "{parent}");
    }
}

#[test]
fn several_parents_of_one_service_have_their_ports_together() {
    let two = http("shop/r", "name: echo, port: 80", TO_V1).replace(
        "port: 80}]\n  rules",
        "port: 80}, {group: '', kind: Service, name: echo, port: 7070}, {name: edge}]\n  rules",
    );
    let table = routes(&with(&[two]), "shop/echo", &client("shop"));
    assert_eq!(table.http_ports, [80, 7070]);
    let ports: Vec<u32> = table.http[0].matches.iter().map(|one| one.port).collect();
    assert_eq!((table.http.len(), ports), (1, vec![80, 7070]));
}

#[test]
fn consumers_have_their_own_routes_in_place_of_the_producers() {
    let mut model = with(&[
        http("shop/producer", "name: echo", TO_V1),
        http(
            "far/consumer",
            "name: echo, namespace: shop, port: 80",
            TO_V2,
        ),
    ]);
    let to = |model: &Model, namespace: &str, port: u32| -> Vec<String> {
        let rules = rules(model, "shop/echo", namespace);
        let at = |rule: &&HttpRule| {
            rule.matches
                .iter()
                .any(|one| one.port == 0 || one.port == port)
        };
        let all = rules.iter().filter(at).flat_map(shares);
        all.map(|(service, _)| service).collect()
    };
    assert_eq!(to(&model, "shop", 80), ["shop/v1"]);
    assert_eq!(to(&model, "other", 80), ["shop/v1"]);
    assert_eq!(to(&model, "far", 80), ["shop/v2"]);
    assert_eq!(to(&model, "far", 8080), ["shop/v1"], "only that port");
    model.apply(remove(Kind::HttpRoute, "shop/producer"));
    assert!(to(&model, "shop", 80).is_empty() && to(&model, "far", 8080).is_empty());
    assert_eq!(to(&model, "far", 80), ["shop/v2"]);
    model.apply(remove(Kind::HttpRoute, "far/consumer"));
    assert!(rules(&model, "shop/echo", "far").is_empty());
}

#[test]
fn a_grpc_route_has_its_port_alone() {
    let rpc = |parent: &str| {
        route(
            "GRPCRoute",
            "shop/rpc",
            parent,
            "  rules:\n  - backendRefs: [{name: v1, port: 7070}]\n",
        )
    };
    let model = with(&[
        http("shop/web", "name: echo", TO_V2),
        rpc("name: echo, port: 7070"),
    ]);
    let rules = rules(&model, "shop/echo", "shop");
    let by_port = |port: u32| -> Vec<&str> {
        let at = rules
            .iter()
            .filter(|r| r.matches.iter().any(|one| one.port == port));
        at.map(|rule| rule.origin.split('#').next().unwrap())
            .collect()
    };
    assert_eq!(by_port(7070), ["GRPCRoute/shop/rpc"]);
    assert_eq!(by_port(80), ["HTTPRoute/shop/web"]);
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());

    let everywhere = with(&[http("shop/web", "name: echo", TO_V2), rpc("name: echo")]);
    let refusals = everywhere.refusals();
    assert_eq!(refusals.len(), 1);
    assert!(
        refusals[0]
            .reason
            .contains("GRPCRoute shop/rpc is attached to the same port")
    );
}

#[test]
fn a_virtual_service_keeps_the_ports_that_no_route_has() {
    let virtual_service = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs, namespace: shop}\nspec: {hosts: [echo], http: [{match: [{uri: {prefix: /a}}, {port: 80}], route: [{destination: {host: v1, port: {number: 80}}}]}, {route: [{destination: {host: v2, port: {number: 80}}}]}]}\n".to_owned();
    let model = with(&[
        http("shop/r", "name: echo, port: 80", TO_V1),
        virtual_service,
    ]);
    let table = routes(&model, "shop/echo", &client("shop"));
    let told: Vec<(&str, Vec<u32>)> = table
        .http
        .iter()
        .map(|rule| {
            let ports = rule.matches.iter().map(|one| one.port).collect();
            (rule.origin.split(' ').next().unwrap(), ports)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("HTTPRoute/shop/r#0", vec![80]),
            ("VirtualService/shop/vs#0", vec![7070, 8080]),
            ("VirtualService/shop/vs#1", vec![7070, 8080]),
        ]
    );
    assert!(table.http_ports.is_empty());

    let warnings = model.warnings();
    let told: Vec<_> = warnings
        .iter()
        .filter(|warning| warning.code == Code::RouteBeside)
        .map(|warning| (warning.name.as_str(), warning.reason.as_str()))
        .collect();
    let reason =
        "spec.hosts[0]: HTTPRoute shop/r (test.yaml:39) is attached to port 80 of shop/echo";
    assert_eq!(told, [("vs", reason)], "{warnings:?}");
    let elsewhere = with(&[
        http("shop/r", "name: echo, port: 80", TO_V1),
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs, namespace: shop}\nspec: {hosts: [echo], http: [{match: [{port: 8080}], route: [{destination: {host: v2, port: {number: 80}}}]}]}\n".to_owned(),
    ]);
    let warnings = elsewhere.warnings();
    assert!(
        warnings.iter().all(|one| one.code != Code::RouteBeside),
        "{warnings:?}"
    );
}

#[test]
fn a_route_that_no_sidecar_uses_is_told() {
    let told = |parents: &str| -> Vec<(Code, String)> {
        let route = http("shop/r", "name: echo", TO_V1);
        let (before, rest) = route.split_once("parentRefs: [").unwrap();
        let (_, after) = rest.split_once("]\n").unwrap();
        let model = with(&[format!("{before}parentRefs: [{parents}]\n{after}")]);
        assert!(model.refusals().is_empty(), "{:?}", model.refusals());
        let found = model.warnings().into_iter();
        let found = found.filter(|one| one.kind == "HTTPRoute");
        found.map(|one| (one.code, one.reason)).collect()
    };
    let gateways = told("{name: edge}");
    assert_eq!(
        gateways,
        [(
            Code::ForGateways,
            "spec.parentRefs: all of them are Gateways".to_owned()
        )]
    );
    assert_eq!(gateways[0].0.severity(), Severity::Note);
    let nobody = told("{group: '', kind: Servcie, name: echo}");
    assert_eq!(
        nobody,
        [(
            Code::ParentOfNobody,
            "spec.parentRefs: routes are attached to Services, not to a Servcie".to_owned()
        )]
    );
    assert_eq!(told("")[0].0, Code::ParentOfNobody);
    assert!(told("{name: edge}, {group: '', kind: Service, name: echo}").is_empty());
}

#[test]
fn routes_follow_what_they_name() {
    let documents = http(
        "shop/r",
        "name: echo",
        "  rules:\n  - backendRefs: [{name: late, port: 80}]\n",
    );
    let mut model = with(&[documents]);
    let to = |model: &Model| shares(&rules(model, "shop/echo", "shop")[0]);
    assert_eq!(
        to(&model),
        [("!there is no Service shop/late".to_owned(), 1)]
    );
    let late = "apiVersion: v1\nkind: Service\nmetadata: {name: late, namespace: shop}\nspec: {clusterIP: 10.0.1.9, ports: [{port: 80}]}\n";
    let dirty = model.apply(batch(late).changes);
    assert!(dirty.services.contains("shop/echo"));
    assert_eq!(to(&model), [("shop/late".to_owned(), 1)]);
    let view = model
        .route_table(&name("shop/echo"), &client("shop"))
        .unwrap();
    assert_eq!(&*view.names, [name("shop/late")]);
    model.apply(remove(Kind::Service, "shop/late"));
    assert_eq!(
        to(&model),
        [("!there is no Service shop/late".to_owned(), 1)]
    );
}

#[test]
fn grpc_routes_say_what_is_spoken() {
    let protocols = |documents: &[String], of: &str| -> Vec<Protocol> {
        let model = with(documents);
        let service = service(&model, of, "shop");
        service.ports.iter().map(|port| port.protocol()).collect()
    };
    use Protocol::{Grpc, Http1, Unspecified};
    assert_eq!(protocols(&[], "shop/echo"), [Http1, Unspecified, Http1]);
    let rule = "  rules:\n  - backendRefs: [{name: v2, port: 8080}]\n";
    let named = route("GRPCRoute", "shop/g", "name: echo, port: 8080", rule);
    assert_eq!(
        protocols(std::slice::from_ref(&named), "shop/echo"),
        [Http1, Unspecified, Grpc]
    );
    assert_eq!(
        protocols(&[named], "shop/v2"),
        [Http1, Grpc],
        "its backend too"
    );
    let all = route("GRPCRoute", "shop/g", "name: echo", rule);
    assert_eq!(
        protocols(&[all], "shop/echo"),
        [Unspecified, Unspecified, Unspecified],
        "HTTP/1.1 is not said of any more"
    );
    let rule = "  rules:\n  - backendRefs: [{name: v2, namespace: shop, port: 8080}]\n";
    let foreign = route(
        "GRPCRoute",
        "far/g",
        "name: echo, namespace: shop, port: 8080",
        rule,
    );
    assert_eq!(
        protocols(std::slice::from_ref(&foreign), "shop/echo"),
        [Http1, Unspecified, Http1]
    );
    assert_eq!(
        protocols(std::slice::from_ref(&foreign), "shop/v2"),
        [Http1, Unspecified]
    );
    // A consumer's is for its own clients.
    let model = with(&[foreign]);
    let to_consumers = |of: &str| -> Vec<Protocol> {
        let service = service(&model, of, "far");
        service.ports.iter().map(|port| port.protocol()).collect()
    };
    assert_eq!(to_consumers("shop/echo"), [Http1, Unspecified, Grpc]);
    assert_eq!(to_consumers("shop/v2"), [Http1, Grpc]);
}
