//! What is said on a stream, on the first and on the ones after it.

use std::collections::HashMap;
use std::sync::Arc;

use heddle_proto::mesh;
use heddle_proxy_config::ads::AdsConfig;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{MtlsMode, Name, Telemetry};
use heddle_proxy_config::store::Limits;

use crate::fake::{self, FakeControl, resource};
use crate::{eventually, run, run_with};

#[tokio::test]
async fn a_stream_begins_with_what_concerns_the_own_pod() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    assert!(!store.status().connected);
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    let requests = stream.first_requests(Kind::Telemetry).await;
    let said: Vec<_> = requests
        .iter()
        .map(|r| (r.type_url.as_str(), r.resource_names_subscribe.clone()))
        .collect();
    assert_eq!(
        said,
        [
            (
                Kind::Workload.type_url(),
                vec!["default/productpage-1".to_owned()]
            ),
            (
                Kind::TrustBundle.type_url(),
                vec!["cluster.local".to_owned()]
            ),
            (Kind::Telemetry.type_url(), vec!["default".to_owned()]),
        ]
    );
    assert_eq!(
        requests[0].node.as_ref().unwrap().id,
        "default/productpage-1"
    );
    eventually(&store, "connected", |store| store.status().connected).await;

    stream
        .accepted(
            Kind::Workload,
            vec![resource(
                Kind::Workload,
                "default/productpage-1",
                &fake::workload(),
            )],
            &[],
        )
        .await;
    let telemetry = mesh::Telemetry {
        sampling_ppm: 10_000,
        ..Default::default()
    };
    stream
        .accepted(
            Kind::Telemetry,
            vec![resource(Kind::Telemetry, "default", &telemetry)],
            &[],
        )
        .await;
    let snapshot = store.snapshot().load_full();
    assert_eq!(snapshot.workload.as_ref().unwrap().mtls, MtlsMode::Strict);
    assert_eq!(snapshot.telemetry.sampling_ppm, 10_000);
    assert_eq!(
        (&*snapshot.version, store.status().version.as_str()),
        ("system-2", "system-2")
    );

    // The pod is being deleted: it serves on as it is. Telemetry falls back to none.
    stream
        .accepted(Kind::Workload, vec![], &["default/productpage-1"])
        .await;
    stream.accepted(Kind::Telemetry, vec![], &["default"]).await;
    let snapshot = store.snapshot().load_full();
    assert!(snapshot.workload.is_some());
    assert_eq!(*snapshot.telemetry, Telemetry::default());
}

#[tokio::test]
async fn a_new_stream_lists_what_is_held_and_differences_apply() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let held = store.hold("10.0.0.1".parse().unwrap());
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["10.0.0.1"]
    );
    stream
        .accepted(
            Kind::Workload,
            vec![resource(
                Kind::Workload,
                "default/productpage-1",
                &fake::workload(),
            )],
            &[],
        )
        .await;
    stream
        .accepted(
            Kind::TrustBundle,
            vec![resource(
                Kind::TrustBundle,
                "cluster.local",
                &fake::bundle(b"r"),
            )],
            &[],
        )
        .await;
    stream
        .accepted(
            Kind::Telemetry,
            vec![resource(
                Kind::Telemetry,
                "default",
                &mesh::Telemetry::default(),
            )],
            &[],
        )
        .await;
    stream.push_reviews("10.0.0.1").await;
    let before = store.snapshot().load_full();

    drop(stream);
    let mut stream = control.stream().await;
    let requests = stream.first_requests(Kind::Address).await;
    let versions: Vec<(&str, &HashMap<String, String>)> = requests
        .iter()
        .map(|r| (r.type_url.as_str(), &r.initial_resource_versions))
        .collect();
    assert_eq!(
        versions.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        // No name was asked for.
        Kind::ALL.map(Kind::type_url)[..Kind::ALL.len() - 1]
    );
    let held_now = [
        resource(Kind::Endpoints, "default/reviews", &fake::endpoints(2)),
        resource(Kind::Service, "default/reviews", &fake::service("reviews")),
        resource(Kind::RouteTable, "default/reviews", &fake::routes(90)),
        resource(Kind::Workload, "default/productpage-1", &fake::workload()),
        resource(Kind::TrustBundle, "cluster.local", &fake::bundle(b"r")),
        resource(Kind::Telemetry, "default", &mesh::Telemetry::default()),
        resource(Kind::Address, "10.0.0.1", &fake::address("default/reviews")),
    ];
    for ((kind, listed), held) in versions.iter().zip(held_now) {
        assert_eq!(
            **listed,
            HashMap::from([(held.name, held.version)]),
            "{kind}"
        );
    }
    for implied in [Kind::Endpoints, Kind::Service, Kind::RouteTable] {
        let request = requests
            .iter()
            .find(|r| r.type_url == implied.type_url())
            .unwrap();
        assert!(request.resource_names_subscribe.is_empty());
    }
    assert_eq!(
        requests.last().unwrap().resource_names_subscribe,
        ["10.0.0.1"]
    );
    assert!(
        Arc::ptr_eq(&before, &store.snapshot().load_full()),
        "a lost stream changes nothing"
    );

    stream
        .accepted(Kind::RouteTable, vec![], &["default/reviews"])
        .await;
    let after = store.snapshot().load_full();
    assert!(after.routes.is_empty());
    assert!(Arc::ptr_eq(
        &before.services[&Name::new("default/reviews")],
        &after.services[&Name::new("default/reviews")]
    ));
    drop(held);
}

#[tokio::test]
async fn a_message_over_the_bound_ends_the_stream_and_costs_nothing_else() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let config = AdsConfig {
        max_message: 4096,
        ..AdsConfig::default()
    };
    let _client = run_with(&store, control.connector(), config);
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    stream
        .accepted(
            Kind::Service,
            vec![resource(Kind::Service, "default/a", &fake::service("a"))],
            &[],
        )
        .await;
    let mut huge = fake::service("b");
    huge.hosts = vec!["h".repeat(5000)];
    stream
        .send(
            Kind::Service,
            vec![resource(Kind::Service, "default/b", &huge)],
            &[],
        )
        .await;
    let mut stream = control.stream().await;
    let requests = stream.first_requests(Kind::Telemetry).await;
    assert_eq!(requests[0].initial_resource_versions.len(), 1);
    assert_eq!(store.snapshot().load().services.len(), 1);
}
