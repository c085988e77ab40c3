#![allow(clippy::unwrap_used)]
use heddle_proto::mesh::{self, MtlsMode, Protocol};
use prost::Message;

use super::{
    testing::{REVIEWS, batch, client, model, name, pod},
    *,
};
use crate::{
    name::{Kind, ObjectKey},
    source::Change,
};

fn endpoints(model: &Model, service: &str) -> mesh::Endpoints {
    mesh::Endpoints::decode(
        &*model
            .endpoints(&name(service), &client("default"))
            .unwrap()
            .body,
    )
    .unwrap()
}

fn routes(model: &Model, service: &str, client: &Client) -> mesh::RouteTable {
    mesh::RouteTable::decode(
        &*model
            .route_table(&name(service), client)
            .unwrap()
            .encoded
            .body,
    )
    .unwrap()
}

fn workload(model: &Model, pod: &str) -> mesh::Workload {
    mesh::Workload::decode(&*model.workload(&name(pod)).unwrap().body).unwrap()
}

fn document(kind: &str) -> &'static str {
    REVIEWS
        .split("---\n")
        .find(|document| document.contains(&format!("kind: {kind}\n")))
        .unwrap()
}

fn remove(kind: Kind, of: &str) -> Vec<Change> {
    vec![Change::Remove(ObjectKey {
        kind,
        name: name(of),
    })]
}

#[test]
fn the_example_means_what_it_says() {
    let model = model(REVIEWS);
    assert_eq!((model.service_count(), model.endpoint_count()), (4, 6));
    assert!(
        model.refusals().is_empty() && model.warnings().is_empty(),
        "{:?}",
        model.warnings()
    );
    let reviews = endpoints(&model, "default/reviews");
    assert_eq!(reviews.service_ports, [9080]);
    let shown: Vec<_> = reviews
        .endpoints
        .iter()
        .map(|e| {
            (
                e.address.as_str(),
                e.subsets.clone(),
                e.target_ports.clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("10.1.0.3", vec![0], vec![9080]),
            ("10.1.0.4", vec![1], vec![9080]),
            ("10.1.0.5", vec![], vec![9080])
        ]
    );
    assert_eq!(
        reviews.endpoints[0].identity,
        "spiffe://cluster.local/ns/default/sa/reviews"
    );

    let table = routes(&model, "default/reviews", &client("default"));
    assert_eq!(table.http.len(), 2);
    assert!(
        table.http[0]
            .origin
            .starts_with("VirtualService/default/reviews-route#0 (test.yaml:"),
        "{}",
        table.http[0].origin
    );
    let header = &table.http[0].matches[0].headers[0];
    assert_eq!(header.name, "user-type");
    assert_eq!(
        header.value.as_ref().unwrap().kind,
        Some(mesh::string_match::Kind::Exact("premium".into()))
    );
    let split: Vec<_> = table.http[1]
        .destinations
        .iter()
        .map(|d| (d.subset.as_str(), d.weight))
        .collect();
    assert_eq!(split, [("v1", 90), ("v2", 10)]);
    assert!(
        routes(&model, "default/ratings", &client("default"))
            .http
            .is_empty()
    );

    let own = workload(&model, "default/reviews-v1-1");
    assert_eq!(
        (
            own.ports[0].number,
            own.ports[0].protocol(),
            own.ports[0].mtls()
        ),
        (9080, Protocol::Http1, MtlsMode::Permissive)
    );
    assert_eq!(own.ports[0].service, "default/reviews");
    let service = mesh::Service::decode(
        &*model
            .service_resource(&name("default/reviews"))
            .unwrap()
            .body,
    )
    .unwrap();
    assert_eq!(service.hosts[0], "reviews.default.svc.cluster.local");
    assert_eq!(service.addresses, ["10.0.0.3"]);
}

#[test]
fn versions_are_the_same_in_every_process_and_order() {
    let (one, mut two) = (model(REVIEWS), Model::new(Settings::default()));
    let mut changes = batch(REVIEWS).changes;
    changes.reverse();
    for change in changes {
        two.apply(vec![change]);
    }
    let reviews = name("default/reviews");
    let client = client("default");
    let endpoints = |model: &Model| model.endpoints(&reviews, &client).unwrap().version.clone();
    assert_eq!(endpoints(&one), endpoints(&two));
    let table = |model: &Model| model.route_table(&reviews, &client).unwrap();
    assert_eq!(table(&one).encoded, table(&two).encoded);
    assert_eq!(
        one.workload(&name("default/ratings-1")).unwrap().version,
        two.workload(&name("default/ratings-1")).unwrap().version
    );
    for ip in ["10.0.0.3", "10.1.0.3"] {
        assert_eq!(
            one.address(ip.parse().unwrap()).version,
            two.address(ip.parse().unwrap()).version
        );
    }
}

#[test]
fn a_change_touches_only_what_depends_on_it() {
    let mut model = model(REVIEWS);
    let before = model.clone();
    let client = client("default");
    let all = ["default/reviews", "default/ratings", "default/details"];
    let cells = |model: &Model| {
        all.map(|s| {
            (
                model.endpoints(&name(s), &client).unwrap(),
                model.route_table(&name(s), &client).unwrap(),
            )
        })
    };
    let old = cells(&before);
    let dirty = model.apply(batch(&pod("reviews-v2-2", "10.1.0.77", "reviews", "v2")).changes);
    assert_eq!(
        dirty
            .services
            .iter()
            .map(NsName::as_str)
            .collect::<Vec<_>>(),
        ["default/reviews"]
    );
    assert_eq!(dirty.addresses.len(), 1);
    let new = cells(&model);
    for (i, (old, new)) in old.iter().zip(&new).enumerate() {
        assert_eq!(
            Arc::ptr_eq(&old.0, &new.0),
            i != 0,
            "endpoints of {}",
            all[i]
        );
        assert!(Arc::ptr_eq(&old.1, &new.1), "routes of {}", all[i]);
    }
    // The older picture does not change.
    assert_eq!(endpoints(&before, "default/reviews").endpoints.len(), 3);
    // The same document again changes nothing.
    assert!(
        model
            .apply(batch(&pod("reviews-v2-2", "10.1.0.77", "reviews", "v2")).changes)
            .is_empty()
    );
}

#[test]
fn a_subset_that_does_not_exist_is_refused_alone_and_comes_later() {
    let mut model = model(REVIEWS);
    let bad = document("VirtualService").replace("subset: v1", "subset: v9");
    model.apply(batch(&bad).changes);
    let refusals = model.refusals();
    assert_eq!(refusals.len(), 1);
    let refusal = &refusals[0];
    assert!(
        refusal
            .reason
            .contains("no DestinationRule defines the subset `v9`")
            && refusal.reason.contains("last good version stays")
    );
    let line = bad.lines().position(|line| line.contains("v9")).unwrap() as u32 + 1;
    assert_eq!(
        (refusal.file.as_str(), refusal.at.line, refusal.at.column),
        ("test.yaml", line, 17)
    );
    assert_eq!(refusal.suggestion, "did you mean `v1`?");
    assert_eq!(
        routes(&model, "default/reviews", &client("default")).http[1].destinations[0].subset,
        "v1"
    );

    let rule = document("DestinationRule").replace("name: v1", "name: v9");
    let dirty = model.apply(batch(&rule).changes);
    assert!(dirty.services.contains("default/reviews"));
    assert!(model.refusals().is_empty());
    assert_eq!(
        routes(&model, "default/reviews", &client("default")).http[1].destinations[0].subset,
        "v9"
    );
}

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
fn readiness_decides_who_is_an_endpoint() {
    let mut model = model(REVIEWS);
    let ratings = |model: &Model| endpoints(model, "default/ratings").endpoints.len();
    let base = pod("ratings-1", "10.1.0.6", "ratings", "v1");
    assert_eq!(ratings(&model), 1);
    model.apply(batch(&base.replace("status: 'True'", "status: 'False'")).changes);
    assert_eq!(ratings(&model), 0);
    let terminating = base.replace(
        "metadata:\n",
        "metadata:\n  deletionTimestamp: '2026-01-01T00:00:00Z'\n",
    );
    model.apply(batch(&terminating).changes);
    assert_eq!(ratings(&model), 1, "all are terminating: those that serve");
    model.apply(batch(&pod("ratings-2", "10.1.0.66", "ratings", "v1")).changes);
    assert_eq!(
        endpoints(&model, "default/ratings").endpoints[0].address,
        "10.1.0.66"
    );
    model.apply(remove(Kind::Pod, "default/ratings-2"));
    model.apply(remove(Kind::Pod, "default/ratings-1"));
    assert_eq!(ratings(&model), 0);
    assert!(matches!(
        mesh::Address::decode(&*model.address("10.1.0.6".parse().unwrap()).body)
            .unwrap()
            .kind,
        Some(mesh::address::Kind::Unknown(_))
    ));
}

const SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ratings-abc
  labels: {kubernetes.io/service-name: ratings}
addressType: IPv4
ports: [{name: http, port: 9099}]
endpoints:
- addresses: [10.1.0.6]
  targetRef: {kind: Pod, name: ratings-1}
- addresses: [10.9.9.9]
- addresses: [10.9.9.10]
  conditions: {ready: false}
";

#[test]
fn slices_replace_selection() {
    let mut model = model(REVIEWS);
    model.apply(batch(SLICE).changes);
    let all = endpoints(&model, "default/ratings").endpoints;
    let shown: Vec<_> = all
        .iter()
        .map(|e| (e.address.as_str(), e.target_ports[0], e.identity.is_empty()))
        .collect();
    assert_eq!(shown, [("10.1.0.6", 9099, false), ("10.9.9.9", 9099, true)]);
    // A pod of a slice changes.
    let dirty = model.apply(batch(&pod("ratings-1", "10.1.0.6", "ratings", "v2")).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert_eq!(
        endpoints(&model, "default/ratings").endpoints[0].labels["version"],
        "v2"
    );
    model.apply(batch(&SLICE.replace("- addresses: [10.9.9.9]\n", "")).changes);
    assert_eq!(endpoints(&model, "default/ratings").endpoints.len(), 1);
    model.apply(remove(Kind::EndpointSlice, "default/ratings-abc"));
    assert_eq!(
        endpoints(&model, "default/ratings").endpoints[0].target_ports,
        [9080]
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

fn authentication(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn the_narrowest_oldest_authentication_wins() {
    let mut model = model(REVIEWS);
    let mode = |model: &Model| workload(model, "default/ratings-1").mtls();
    let apply = |model: &mut Model, yaml: &str| model.apply(batch(yaml).changes);
    assert_eq!(mode(&model), MtlsMode::Permissive);
    assert!(
        apply(
            &mut model,
            &authentication("mesh", "heddle-system", "{mtls: {mode: STRICT}}")
        )
        .own
        .all
    );
    assert_eq!(mode(&model), MtlsMode::Strict);
    let dirty = apply(
        &mut model,
        &authentication("ns", "default", "{mtls: {mode: PERMISSIVE}}"),
    );
    assert!(dirty.own.covers(&name("default/ratings-1")) && !dirty.own.covers(&name("other/a")));
    assert_eq!(mode(&model), MtlsMode::Permissive);
    apply(
        &mut model,
        &authentication(
            "w",
            "default",
            "{selector: {matchLabels: {app: ratings}}, mtls: {mode: STRICT}, portLevelMtls: {'9080': {mode: PERMISSIVE}, '7': {}}}",
        ),
    );
    let own = workload(&model, "default/ratings-1");
    assert_eq!(own.mtls(), MtlsMode::Strict);
    let ports: Vec<_> = own.ports.iter().map(|p| (p.number, p.mtls())).collect();
    assert_eq!(ports, [(7, MtlsMode::Strict), (9080, MtlsMode::Permissive)]);
    assert_eq!(
        workload(&model, "default/details-1").mtls(),
        MtlsMode::Permissive
    );
    let dirty = apply(
        &mut model,
        &authentication("ns", "default", "{mtls: {mode: DISABLE}}"),
    );
    assert!(dirty.services.contains("default/details"));
    assert_eq!(
        endpoints(&model, "default/details").endpoints[0].identity,
        ""
    );
    assert_ne!(
        endpoints(&model, "default/ratings").endpoints[0].identity,
        ""
    );
}

#[test]
fn telemetry_of_a_namespace_comes_before_that_of_the_mesh() {
    let telemetry = |namespace: &str, percentage: &str| {
        format!(
            "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t, namespace: {namespace}}}\nspec: {{tracing: [{{randomSamplingPercentage: {percentage}}}]}}\n"
        )
    };
    let ppm = |model: &Model, namespace: &str| {
        mesh::Telemetry::decode(&*model.telemetry(namespace).body)
            .unwrap()
            .sampling_ppm
    };
    let mut model = Model::new(Settings::default());
    assert_eq!(ppm(&model, "a"), 10_000);
    model.apply(batch(&telemetry("heddle-system", "50")).changes);
    model.apply(batch(&telemetry("a", "0.25")).changes);
    assert_eq!((ppm(&model, "a"), ppm(&model, "b")), (2500, 500_000));
}

#[test]
fn likely_mistakes_are_told_and_harmless() {
    let mut model = model(REVIEWS);
    let second = document("VirtualService").replace("reviews-route", "zz-route");
    model.apply(batch(&second).changes);
    model.apply(
        batch(
            &document("VirtualService")
                .replace("reviews-route", "other")
                .replace("  - reviews\n", "  - revews\n"),
        )
        .changes,
    );
    let warnings = model.warnings();
    assert!(warnings.iter().all(|w| w.warning));
    assert!(
        warnings
            .iter()
            .any(|w| w.name == "zz-route" && w.reason.contains("older or first by name")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|w| w.name == "other" && w.suggestion.contains("reviews")),
        "{warnings:?}"
    );
    assert!(model.refusals().is_empty());
}

#[test]
fn destination_rules_of_the_client_come_first_and_patterns_last() {
    let rule = |name: &str, namespace: &str, host: &str, subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: '{host}', subsets: [{{name: {subset}, labels: {{version: v1}}}}]}}\n"
        )
    };
    let mut model = model(REVIEWS);
    let names = |model: &Model, namespace: &str| {
        mesh::Endpoints::decode(
            &*model
                .endpoints(&name("default/ratings"), &client(namespace))
                .unwrap()
                .body,
        )
        .unwrap()
        .subset_names
    };
    model.apply(
        batch(&rule(
            "p",
            "default",
            "*.default.svc.cluster.local",
            "pattern",
        ))
        .changes,
    );
    assert_eq!(names(&model, "default"), ["pattern"]);
    model.apply(batch(&rule("d", "default", "ratings", "here")).changes);
    model.apply(batch(&rule("e", "default", "ratings", "too")).changes);
    model.apply(
        batch(&rule(
            "c",
            "shop",
            "ratings.default.svc.cluster.local",
            "client",
        ))
        .changes,
    );
    assert_eq!(names(&model, "default"), ["here", "too"]);
    assert_eq!(names(&model, "shop"), ["client"]);
    model.apply(remove(Kind::DestinationRule, "default/d"));
    model.apply(remove(Kind::DestinationRule, "default/e"));
    assert_eq!(names(&model, "default"), ["pattern"]);
}

#[test]
fn what_was_held_back_before_a_restart_is_held_back_after_it() {
    let bad = REVIEWS
        .replace("subset: v1", "subset: v7")
        .replace("weight: 90", "weight: 91");
    let weights = |model: &Model| {
        let table = routes(model, "default/reviews", &client("default"));
        let weight = |rule: &mesh::HttpRule| rule.destinations[0].weight;
        table.http.last().map(weight)
    };
    let mut before = model(REVIEWS);
    assert!(before.kept().is_empty());
    before.apply(batch(&bad).changes);
    let kept = before.kept();
    assert_eq!((kept.len(), weights(&before)), (1, Some(90)));

    let start = |yaml: &str| {
        let mut model = Model::new(Settings::default()).with_last_good(before.kept());
        model.apply(batch(yaml).changes);
        model
    };
    let mut after = start(&bad);
    assert_eq!(weights(&after), Some(90));
    assert_eq!(after.refusals(), before.refusals());
    assert!(
        after
            .kept()
            .iter()
            .zip(&kept)
            .all(|(a, b)| Arc::ptr_eq(a, b))
    );
    // Good again, in this life or the next; gone, in this life or the next.
    for model in [
        start(REVIEWS),
        start(&REVIEWS.replace("weight: 90", "weight: 80")),
    ] {
        assert!(model.refusals().is_empty() && model.kept().is_empty());
    }
    let without = REVIEWS.replace(document("VirtualService"), "");
    assert_eq!(weights(&start(&without)), None);
    after.apply(remove(Kind::VirtualService, "default/reviews-route"));
    assert!(after.kept().is_empty() && weights(&after).is_none());
    // Only the first batch is a beginning.
    after.apply(batch(&bad).changes);
    assert_eq!(weights(&after), None);
    // Before there was anything good, nothing is.
    assert_eq!(weights(&model(&bad)), None);
}

#[test]
fn a_stand_in_reaches_the_pods_that_it_is_for() {
    use crate::resources::peer_authentication::{Mode, Mtls, PeerAuthentication};
    let stand_in = |namespace: &str, any_pod: bool| {
        let policy = PeerAuthentication {
            mtls: Some(Mtls { mode: Mode::Strict }),
            any_pod,
            ..PeerAuthentication::default()
        };
        Change::Upsert(Arc::new(Object {
            key: ObjectKey {
                kind: Kind::PeerAuthentication,
                name: NsName::new(namespace, "a").unwrap(),
            },
            origin: crate::source::Origin {
                file: None,
                at: Default::default(),
            },
            created: None,
            resource: Resource::PeerAuthentication(policy),
            written: None,
            stand_in: true,
        }))
    };
    let exception = authentication(
        "z",
        "default",
        "{selector: {matchLabels: {app: details}}, mtls: {mode: PERMISSIVE}}",
    );
    let modes = |namespace: &str, any_pod: bool| {
        let mut model = model(&format!("{REVIEWS}---\n{exception}"));
        let dirty = model.apply(vec![stand_in(namespace, any_pod)]);
        assert!(!dirty.own.is_empty());
        ["default/ratings-1", "default/details-1"].map(|pod| workload(&model, pod).mtls())
    };
    use MtlsMode::{Permissive, Strict};
    assert_eq!(modes("default", false), [Strict, Permissive]);
    assert_eq!(modes("default", true), [Strict, Permissive]);
    assert_eq!(modes("heddle-system", false), [Strict, Permissive]);
    // Some pods of the system namespace are not the mesh.
    assert_eq!(modes("heddle-system", true), [Permissive, Permissive]);
}

#[test]
fn an_endpoint_says_what_owns_its_pod() {
    let owned = |owner: &str| {
        let references = format!(
            "  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: {owner}-5d4, controller: true}}]\nspec:\n"
        );
        pod("ratings-1", "10.1.0.6", "ratings", "v1")
            .replace("version: v1}", "version: v1, pod-template-hash: 5d4}")
            .replace("spec:\n", &references)
    };
    let mut model = model(REVIEWS);
    let mut versions = Vec::new();
    for owner in ["ratings", "ratings-canary"] {
        model.apply(batch(&owned(owner)).changes);
        assert_eq!(
            endpoints(&model, "default/ratings").endpoints[0].owner,
            owner
        );
        assert_eq!(workload(&model, "default/ratings-1").owner, owner);
        let address = model.address("10.1.0.6".parse().unwrap());
        match mesh::Address::decode(&*address.body).unwrap().kind {
            Some(mesh::address::Kind::Workload(endpoint)) => assert_eq!(endpoint.owner, owner),
            other => panic!("{other:?}"),
        }
        versions.push(address.version);
    }
    assert_ne!(versions[0], versions[1]);
}

#[test]
fn a_network_policy_is_said_not_to_be_enforced() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: deny, namespace: shop}\nspec: {podSelector: {}, anything: [1]}\n";
    let mut model = model(&format!("{REVIEWS}---\n{policy}"));
    model.apply(batch(policy).changes);
    let warnings = model.warnings();
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(warning.warning && warning.at.line == 1);
    assert_eq!(
        (
            &*warning.kind,
            &*warning.namespace,
            &*warning.name,
            &*warning.file
        ),
        ("NetworkPolicy", "shop", "deny", "test.yaml")
    );
    assert!(warning.reason.contains("not enforced"), "{warning}");
    assert!(model.refusals().is_empty());
    model.apply(remove(Kind::NetworkPolicy, "shop/deny"));
    assert!(model.warnings().is_empty());
}

/// The example's rule with these subsets, in a file of its own.
fn rule(host: &str, subsets: &[&str]) -> String {
    let subsets = subsets
        .iter()
        .map(|name| format!("  - {{name: {name}, labels: {{version: {name}}}}}\n"));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews-destination}}\n\
         spec:\n  host: {host}\n  subsets:\n{}",
        subsets.collect::<String>()
    )
}

/// Names of the subsets in the endpoints, and of those that the split goes to.
fn subsets(model: &Model) -> (Vec<String>, Vec<String>) {
    let table = routes(model, "default/reviews", &client("default"));
    let last = table.http.last().map(|rule| rule.destinations.clone());
    let used = last.unwrap_or_default();
    (
        endpoints(model, "default/reviews").subset_names,
        used.into_iter().map(|to| to.subset).collect(),
    )
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_subset_that_a_route_uses_is_not_taken_away() {
    let both = || (list(&["v1", "v2"]), list(&["v1", "v2"]));
    let (v1, host) = (rule("reviews", &["v1"]), rule("revews", &["v1", "v2"]));
    for bad in [&v1, &host] {
        let mut model = model(REVIEWS);
        model.apply(batch(bad).changes);
        assert_eq!(subsets(&model), both());
        let refusals = model.refusals();
        assert_eq!(
            (&*refusals[0].kind, &*refusals[0].name, refusals[0].at.line),
            ("DestinationRule", "reviews-destination", 5)
        );
        let reason = &refusals[0].reason;
        assert!(
            reason.contains("VirtualService default/reviews-route (test.yaml:"),
            "{reason}"
        );
        // Something else changes; the rule is written anew, as bad; then it is mended.
        model.apply(batch(&pod("reviews-v1-9", "10.1.0.9", "reviews", "v1")).changes);
        model.apply(batch(bad).changes);
        assert_eq!((model.refusals(), subsets(&model)), (refusals, both()));
        // Over a restart too.
        let mut after = Model::new(Settings::default()).with_last_good(model.kept());
        let written = REVIEWS.replace(document("DestinationRule"), bad);
        after.apply(batch(&written).changes);
        assert_eq!(subsets(&after), both());
        assert_eq!(after.refusals().len(), model.refusals().len());
        after.apply(batch(&rule("reviews", &["v1", "v2", "v3"])).changes);
        assert!(after.refusals().is_empty() && after.kept().is_empty());
        assert_eq!(subsets(&after).0, ["v1", "v2", "v3"]);
        // Removing it is no slip.
        model.apply(remove(Kind::DestinationRule, "default/reviews-destination"));
        assert!(subsets(&model).0.is_empty());
        assert!(model.refusals().iter().all(|r| r.kind == "VirtualService"));
        // The route stays as it was in force, over a restart too.
        assert_eq!(subsets(&model).1, ["v1", "v2"]);
        let mut after = Model::new(Settings::default()).with_last_good(model.kept());
        let written = REVIEWS.replace(document("DestinationRule"), "# none\n");
        after.apply(batch(&written).changes);
        assert_eq!(
            (subsets(&after), after.refusals().len()),
            (subsets(&model), model.refusals().len())
        );
    }
}

#[test]
fn a_subset_moves_with_its_routes_in_any_order() {
    let route = document("VirtualService").replace("v2", "v3");
    let moved = rule("reviews", &["v1", "v3"]);
    let both = format!("{route}---\n{moved}");
    let bad_first = (list(&["v1", "v2"]), list(&["v1", "v2"]));
    for edits in [vec![&both], vec![&moved, &route], vec![&route, &moved]] {
        let mut model = model(REVIEWS);
        let (last, first) = edits.split_last().unwrap();
        for edit in first {
            model.apply(batch(edit).changes);
            assert_eq!(subsets(&model), bad_first);
            assert!(!model.refusals().is_empty());
            // A restart in between.
            let mut after = Model::new(Settings::default()).with_last_good(model.kept());
            let kind = if *edit == &route {
                "VirtualService"
            } else {
                "DestinationRule"
            };
            after.apply(batch(&REVIEWS.replace(document(kind), edit)).changes);
            assert_eq!(subsets(&after), bad_first);
            model = after;
        }
        model.apply(batch(last).changes);
        assert_eq!(subsets(&model), (list(&["v1", "v3"]), list(&["v1", "v3"])));
        assert!(
            model.refusals().is_empty() && model.kept().is_empty(),
            "{:?}",
            model.refusals()
        );
    }
    // A route that goes frees the subset.
    let mut model = model(REVIEWS);
    model.apply(batch(&moved).changes);
    model.apply(remove(Kind::VirtualService, "default/reviews-route"));
    assert!(model.refusals().is_empty() && model.kept().is_empty());
    assert_eq!(subsets(&model).0, ["v1", "v3"]);
}

#[test]
fn what_a_refused_rule_would_have_brought_is_not_counted_on() {
    // One route moves to v3, another stays on v2, which the rule takes away for it.
    let other = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\n\
                 spec:\n  hosts: [details]\n  http:\n  - route:\n    - destination: {host: reviews, subset: v2}\n";
    let mut model = model(&format!("{REVIEWS}---\n{other}"));
    let route = document("VirtualService").replace("v2", "v3");
    let moved = rule("reviews", &["v1", "v3"]);
    model.apply(batch(&format!("{route}---\n{moved}")).changes);
    assert_eq!(subsets(&model), (list(&["v1", "v2"]), list(&["v1", "v2"])));
    let kinds: Vec<String> = model.refusals().into_iter().map(|r| r.kind).collect();
    assert!(
        kinds.contains(&"DestinationRule".to_owned())
            && kinds.contains(&"VirtualService".to_owned()),
        "{kinds:?}"
    );
    // The other one moves too: all at once.
    model.apply(batch(&other.replace("v2", "v1")).changes);
    assert_eq!(subsets(&model), (list(&["v1", "v3"]), list(&["v1", "v3"])));
    assert!(model.refusals().is_empty() && model.kept().is_empty());
}
