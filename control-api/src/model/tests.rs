#![allow(clippy::unwrap_used)]
mod actions;
mod delegates;
mod destination_rules;
mod dns;
mod endpoints;
mod entries;
mod gateway;
mod headless;
mod judgement;
mod lints;
mod policies;
mod routes;

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

fn service(model: &Model, service: &str, namespace: &str) -> mesh::Service {
    let resource = model.service_resource(&name(service), &client(namespace));
    mesh::Service::decode(&*resource.unwrap().body).unwrap()
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
            .service_resource(&name("default/reviews"), &client("default"))
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
            one.address(ip.parse().unwrap(), &client).version,
            two.address(ip.parse().unwrap(), &client).version
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
    assert!(warnings.iter().all(|w| w.is_warning()));
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
