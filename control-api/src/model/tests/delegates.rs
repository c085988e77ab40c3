//! Rules that stand in another VirtualService.

use super::*;

const ROOT: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [ratings]
  http:
  - name: reviews-team
    match: [{uri: {prefix: /reviews}, headers: {x-a: {}}}]
    delegate: {name: reviews, namespace: shop}
    timeout: 3s
    mirror: {host: details}
  - route: [{destination: {host: ratings}}]
";

const DELEGATE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  http:
  - name: one
    match: [{uri: {exact: /reviews/1}, headers: {X-A: {exact: b}}}]
    route: [{destination: {host: reviews.default.svc.cluster.local}}]
    timeout: 1s
  - match: [{uri: {prefix: /elsewhere}}]
    route: [{destination: {host: details.default.svc.cluster.local}}]
  - route: [{destination: {host: productpage.default.svc.cluster.local}}]
";

fn table(model: &Model) -> Vec<(String, Vec<mesh::HttpMatch>, String)> {
    let table = routes(model, "default/ratings", &client("default"));
    let rule = |rule: &mesh::HttpRule| {
        let to = rule.destinations[0].service.clone();
        (rule.origin.clone(), rule.matches.clone(), to)
    };
    table.http.iter().map(rule).collect()
}

fn warned(model: &Model, about: &str) -> bool {
    model.warnings().iter().any(|w| w.reason.contains(about))
}

#[test]
fn the_rules_of_a_delegate_are_narrowed_by_the_one_that_names_it() {
    let mut model = model(REVIEWS);
    model.apply(batch(ROOT).changes);
    assert_eq!(table(&model).len(), 1);
    assert!(warned(&model, "no VirtualService shop/reviews is in force"));
    let dirty = model.apply(batch(DELEGATE).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    let found = table(&model);
    let to: Vec<&str> = found.iter().map(|(_, _, to)| to.as_str()).collect();
    assert_eq!(
        to,
        ["default/reviews", "default/productpage", "default/ratings"]
    );
    assert_eq!(found[0].0, "VirtualService/shop/reviews#0 (test.yaml:6)");
    let wire = routes(&model, "default/ratings", &client("default"));
    let exact = |text: &str| mesh::string_match::Kind::Exact(text.into());
    let path = |rule: usize| wire.http[rule].matches[0].path.clone().unwrap().kind;
    assert_eq!(path(0), Some(exact("/reviews/1")));
    let headers = &wire.http[0].matches[0].headers;
    assert_eq!((headers.len(), headers[0].name.as_str()), (1, "x-a"));
    assert_eq!(headers[0].value.clone().unwrap().kind, Some(exact("b")));
    let timeout = |rule: usize| wire.http[rule].timeout.as_ref().map(|t| t.millis);
    assert_eq!((timeout(0), timeout(1)), (Some(1000), Some(3000)));
    let prefix = mesh::string_match::Kind::Prefix("/reviews".into());
    assert_eq!(path(1), Some(prefix));
    let mirrored = wire.http[1].mirrors[0].destination.clone().unwrap().service;
    assert_eq!(mirrored, "default/details");
    assert!(warned(&model, "not every request that it matches"));
    assert!(!warned(&model, "applies to nothing"));
}

#[test]
fn a_delegate_that_cannot_be_one_leaves_its_rule_empty() {
    let hosts = DELEGATE.replace("spec:\n", "spec:\n  hosts: [x.example.com]\n");
    let hidden = DELEGATE.replace("spec:\n", "spec:\n  exportTo: [ops]\n");
    let mut model = model(REVIEWS);
    model.apply(batch(ROOT).changes);
    for (delegate, rules, reason) in [
        (hosts.as_str(), 1, "has hosts of its own"),
        (hidden.as_str(), 1, "is not exported to default"),
        (DELEGATE, 3, "not every request"),
    ] {
        model.apply(batch(delegate).changes);
        assert_eq!(table(&model).len(), rules, "{reason}");
        assert!(warned(&model, reason), "{reason}: {:?}", model.warnings());
    }
    model.apply(remove(Kind::VirtualService, "default/root"));
    assert!(warned(
        &model,
        "no VirtualService in force delegates to this one"
    ));
    model.apply(batch(ROOT).changes);
    let dirty = model.apply(remove(Kind::VirtualService, "shop/reviews"));
    assert!(dirty.services.contains("default/ratings") && table(&model).len() == 1);
}

#[test]
fn clients_are_told_apart_by_what_a_delegate_asks() {
    let by_label = DELEGATE.replace("headers: {X-A: {exact: b}}", "sourceNamespace: other");
    let mut model = model(REVIEWS);
    model.apply(batch(ROOT).changes);
    model.apply(batch(&by_label).changes);
    let rules = |namespace: &str| {
        routes(&model, "default/ratings", &client(namespace))
            .http
            .len()
    };
    assert_eq!((rules("default"), rules("other")), (2, 3));
}
