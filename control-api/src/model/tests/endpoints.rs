//! Who is an endpoint of a service, and what is said of it.

use super::*;

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
    let shown = endpoints(&model, "default/ratings").endpoints;
    let shown: Vec<_> = shown
        .iter()
        .map(|e| (e.address.as_str(), e.health()))
        .collect();
    use mesh::Health::{Draining, Unspecified};
    assert_eq!(shown, [("10.1.0.6", Draining), ("10.1.0.66", Unspecified)]);
    let stopped = terminating.replace("status: 'True'", "status: 'False'");
    model.apply(batch(&stopped).changes);
    assert_eq!(
        endpoints(&model, "default/ratings").endpoints[0].address,
        "10.1.0.66"
    );
    model.apply(remove(Kind::Pod, "default/ratings-2"));
    model.apply(remove(Kind::Pod, "default/ratings-1"));
    assert_eq!(ratings(&model), 0);
    assert!(matches!(
        mesh::Address::decode(
            &*model
                .address("10.1.0.6".parse().unwrap(), &client("default"))
                .body
        )
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
        let address = model.address("10.1.0.6".parse().unwrap(), &client("default"));
        match mesh::Address::decode(&*address.body).unwrap().kind {
            Some(mesh::address::Kind::Workload(endpoint)) => assert_eq!(endpoint.owner, owner),
            other => panic!("{other:?}"),
        }
        versions.push(address.version);
    }
    assert_ne!(versions[0], versions[1]);
}

#[test]
fn places_come_from_pods_then_from_nodes() {
    let node = |zone: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: node, labels: {{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: {zone}}}}}\n"
        )
    };
    let on = |labels: &str| {
        pod("ratings-1", "10.1.0.6", "ratings", "v1")
            .replace("version: v1}", &format!("version: v1{labels}}}"))
            .replace("spec:\n", "spec:\n  nodeName: node\n")
    };
    let mut model = model(REVIEWS);
    let places = |model: &Model| {
        let address = model.address("10.1.0.6".parse().unwrap(), &client("default"));
        let address = match mesh::Address::decode(&*address.body).unwrap().kind {
            Some(mesh::address::Kind::Workload(endpoint)) => endpoint.locality,
            other => panic!("{other:?}"),
        };
        [
            endpoints(model, "default/ratings").endpoints[0]
                .locality
                .clone(),
            workload(model, "default/ratings-1").locality,
            address,
        ]
    };
    let all = |place: &str| [place.to_owned(), place.to_owned(), place.to_owned()];
    model.apply(batch(&on("")).changes);
    assert_eq!(places(&model), all(""));
    let dirty = model.apply(batch(&node("a")).changes);
    assert!(
        dirty.services.contains("default/ratings")
            && dirty.own.pods.contains("default/ratings-1")
            && dirty.addresses.len() == 1
    );
    assert_eq!(places(&model), all("eu/a"));
    assert!(
        model.apply(batch(&node("a")).changes).is_empty(),
        "a node that only breathes"
    );
    model.apply(batch(&node("b")).changes);
    assert_eq!(places(&model), all("eu/b"));
    assert_eq!(
        workload(&model, "default/ratings-1").priority_labels["topology.kubernetes.io/zone"],
        "b"
    );
    model.apply(batch(&on(", topology.kubernetes.io/region: us")).changes);
    assert_eq!(places(&model), all("us"));
    model.apply(batch(&on(", istio-locality: us.c.d")).changes);
    assert_eq!(places(&model), all("us/c/d"));
    model.apply(batch(&on("")).changes);
    model.apply(remove(Kind::Node, "default/node"));
    assert_eq!(places(&model), all(""));
    // A slice knows the zone of what is no pod.
    model.apply(
        batch(&SLICE.replace(
            "- addresses: [10.9.9.9]",
            "- addresses: [10.9.9.9]\n  zone: z",
        ))
        .changes,
    );
    assert_eq!(
        endpoints(&model, "default/ratings").endpoints[1].locality,
        "/z"
    );
}
