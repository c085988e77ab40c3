//! Which routes a client sees, and what is in them.

use super::*;

#[test]
fn routes_wait_for_what_they_name() {
    let mut model = Model::new(Settings::default());
    model.apply(batch(document("VirtualService")).changes);
    assert!(
        model.refusals()[0]
            .reason
            .contains("there is no service default/reviews")
    );
    model.apply(batch(REVIEWS.split("---\n").nth(2).unwrap()).changes);
    assert!(
        model.refusals().iter().all(|r| r.reason.contains("subset")),
        "{:?}",
        model.refusals()
    );
    assert!(
        routes(&model, "default/reviews", &client("default"))
            .http
            .is_empty()
    );
    model.apply(batch(document("DestinationRule")).changes);
    assert!(model.refusals().is_empty());
    assert_eq!(
        routes(&model, "default/reviews", &client("default"))
            .http
            .len(),
        2
    );
    assert!(
        model
            .warnings()
            .iter()
            .any(|w| w.reason.contains("selects no pod"))
    );
    model.apply(remove(Kind::VirtualService, "default/reviews-route"));
    assert!(
        routes(&model, "default/reviews", &client("default"))
            .http
            .is_empty()
    );
}

#[test]
fn source_conditions_make_tables_for_clients() {
    let route = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [ratings]
  http:
  - match: [{sourceLabels: {app: reviews}, uri: {prefix: /a}}, {sourceNamespace: other}]
    route: [{destination: {host: reviews}}]
  - match: [{gateways: [ingress]}]
    route: [{destination: {host: details}}]
  - route: [{destination: {host: ratings}}]
";
    let mut model = model(REVIEWS);
    model.apply(batch(route).changes);
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    let reviews = Client {
        namespace: "default".into(),
        labels: model
            .pod(&name("default/reviews-v1-1"))
            .unwrap()
            .labels
            .clone(),
    };
    let rules = |client: &Client| {
        routes(&model, "default/ratings", client)
            .http
            .iter()
            .map(|r| r.matches.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(&reviews), [1, 0]);
    assert_eq!(rules(&client("other")), [1, 0]);
    assert_eq!(rules(&client("default")), [0]);
    let other = routes(&model, "default/ratings", &client("other"));
    assert_eq!(
        other.http[0].matches[0],
        mesh::HttpMatch::default(),
        "only the source mattered"
    );
    assert_eq!(
        &*model
            .route_table(&name("default/ratings"), &reviews)
            .unwrap()
            .names,
        [name("default/ratings"), name("default/reviews")]
    );
}

#[test]
fn matches_and_policies_are_carried_over() {
    let route = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [ratings.default.svc.cluster.local]
  http:
  - match:
    - uri: {regex: '/v[0-9]+'}
      ignoreUriCase: true
      method: {exact: GET}
      headers: {X-One: {}, X-Two: {regex: '*'}}
      withoutHeaders: {X-Three: {prefix: a}}
      queryParams: {q: {exact: '1'}}
      port: 9080
    route: [{destination: {host: details}}]
    timeout: 1.5s
    retries: {attempts: 3, perTryTimeout: 200ms, retryOn: '5xx, reset'}
  tcp:
  - match: [{port: 9080}]
    route:
    - {destination: {host: details, port: {number: 9080}}, weight: 1}
    - {destination: {host: ratings}, weight: 3}
";
    let mut model = model(REVIEWS);
    model.apply(batch(route).changes);
    let table = routes(&model, "default/ratings", &client("default"));
    let (rule, one) = (&table.http[0], &table.http[0].matches[0]);
    assert_eq!(
        one.headers
            .iter()
            .map(|h| h.name.as_str())
            .collect::<Vec<_>>(),
        ["x-one", "x-two"]
    );
    assert!(
        one.headers.iter().all(
            |h| h.value.as_ref().unwrap().kind == Some(mesh::string_match::Kind::Present(true))
        )
    );
    assert_eq!(
        (
            one.ignore_path_case,
            one.port,
            one.without_headers.len(),
            one.query.len()
        ),
        (true, 9080, 1, 1)
    );
    assert_eq!(rule.timeout.as_ref().unwrap().millis, 1500);
    let retries = rule.retries.as_ref().unwrap();
    assert_eq!(
        (
            retries.attempts,
            retries.per_try_timeout.as_ref().unwrap().millis
        ),
        (3, 200)
    );
    assert_eq!(retries.retry_on, ["5xx", "reset"]);
    assert_eq!(
        rule.destinations[0].port, 9080,
        "the only port of another service"
    );
    assert_eq!(
        (
            table.tcp[0].port,
            table.tcp[0].destinations[1].port,
            table.tcp[0].destinations[1].weight
        ),
        (9080, 0, 3)
    );
}

#[test]
fn private_routes_are_for_their_namespace_alone() {
    let route = |name: &str, namespace: &str, to: &str, more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{hosts: [ratings.default.svc.cluster.local], http: [{{route: [{{destination: {{host: {to}.default.svc.cluster.local}}}}]}}]{more}}}\n"
        )
    };
    let mut model = model(REVIEWS);
    let to = |model: &Model, namespace: &str| {
        let table = routes(model, "default/ratings", &client(namespace));
        table
            .http
            .first()
            .map(|rule| rule.destinations[0].service.clone())
    };
    let service = |name: &str| Some(format!("default/{name}"));
    model.apply(batch(&route("a", "shop", "details", ", exportTo: ['.']")).changes);
    assert_eq!(
        (
            to(&model, "shop"),
            to(&model, "default"),
            to(&model, "other")
        ),
        (service("details"), None, None)
    );
    model.apply(batch(&route("b", "default", "reviews", "")).changes);
    assert_eq!(
        (to(&model, "shop"), to(&model, "other")),
        (service("details"), service("reviews"))
    );
    let dirty = model.apply(batch(&route("a", "shop", "details", "")).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert_eq!(to(&model, "shop"), to(&model, "other"));
}

#[test]
fn routes_are_for_the_namespaces_that_they_are_exported_to() {
    let route = |name: &str, namespace: &str, to: &str, export_to: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{hosts: [ratings.default.svc.cluster.local], http: [{{route: [{{destination: {{host: {to}.default.svc.cluster.local}}}}]}}], exportTo: [{export_to}]}}\n"
        )
    };
    let mut model = model(REVIEWS);
    let to = |model: &Model, namespace: &str| {
        let table = routes(model, "default/ratings", &client(namespace));
        let rule = table.http.first()?;
        Some(rule.destinations[0].service.clone())
    };
    let service = |name: &str| Some(format!("default/{name}"));
    model.apply(batch(&route("a", "ops", "details", "shop, other")).changes);
    for (namespace, found) in [
        ("shop", service("details")),
        ("other", service("details")),
        ("ops", None),
        ("default", None),
    ] {
        assert_eq!(to(&model, namespace), found, "{namespace}");
    }
    model.apply(batch(&route("b", "default", "reviews", "'*', shop")).changes);
    model.apply(batch(&route("c", "shop", "productpage", "'.'")).changes);
    for (namespace, found) in [
        ("shop", service("productpage")),
        ("other", service("details")),
        ("ops", service("reviews")),
    ] {
        assert_eq!(to(&model, namespace), found, "{namespace}");
    }
    model.apply(batch(&route("c", "shop", "productpage", "'~'")).changes);
    assert_eq!(to(&model, "shop"), service("details"));
}
