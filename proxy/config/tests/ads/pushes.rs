//! What a push does to the snapshot, and what of it is refused.

use std::sync::Arc;

use heddle_proto::mesh;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{Address, Name};
use heddle_proxy_config::store::Limits;

use crate::fake::{self, FakeControl, resource};
use crate::run;

#[tokio::test]
async fn one_bad_resource_of_three_is_refused_alone_and_by_name() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let good = |weight| resource(Kind::RouteTable, "default/b", &fake::routes(weight));
    stream.accepted(Kind::RouteTable, vec![good(50)], &[]).await;
    let before = store.snapshot().load().routes[&Name::new("default/b")].clone();

    let mut bad = fake::routes(90);
    bad.http[0].destinations.clear();
    let refused = stream
        .push(
            Kind::RouteTable,
            vec![
                resource(Kind::RouteTable, "default/a", &fake::routes(80)),
                resource(Kind::RouteTable, "default/b", &bad),
                resource(Kind::RouteTable, "default/c", &fake::routes(70)),
            ],
            &[],
        )
        .await;
    let reason = "http[0].destinations: empty";
    assert_eq!(
        refused,
        [mesh::ResourceError {
            name: "default/b".into(),
            reason: reason.into()
        }]
    );
    let snapshot = store.snapshot().load_full();
    assert!(
        Arc::ptr_eq(&snapshot.routes[&Name::new("default/b")], &before),
        "the last good version stays"
    );
    assert_eq!(
        snapshot.routes[&Name::new("default/a")].http.rules()[0].destinations[0].weight,
        80
    );
    assert_eq!(
        snapshot.routes[&Name::new("default/c")].http.rules()[0].destinations[0].weight,
        70
    );
    assert_eq!(
        store.status().nacks,
        [("RouteTable".into(), "default/b".into(), reason.into())]
    );

    stream.accepted(Kind::RouteTable, vec![good(40)], &[]).await;
    assert_eq!(store.status().nacks, [], "a good version ends the refusal");
}

#[tokio::test]
async fn strangers_are_refused() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits {
        resources: 2,
        ..Limits::default()
    });
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;

    let other = mesh::Workload {
        name: "other".into(),
        ..fake::workload()
    };
    let refused = stream
        .push(
            Kind::Workload,
            vec![resource(Kind::Workload, "default/other", &other)],
            &[],
        )
        .await;
    assert!(
        refused[0].reason.contains("not subscribed to"),
        "{refused:?}"
    );
    assert!(store.snapshot().load().workload.is_none());

    let disguised = resource(Kind::Telemetry, "default/a", &fake::service("a"));
    let refused = stream.push(Kind::Service, vec![disguised], &[]).await;
    assert!(refused[0].reason.contains("unknown type"), "{refused:?}");

    let trust = |root: &[u8]| {
        vec![resource(
            Kind::TrustBundle,
            "cluster.local",
            &fake::bundle(root),
        )]
    };
    stream
        .accepted(Kind::TrustBundle, trust(b"good"), &[])
        .await;
    let refused = stream.push(Kind::TrustBundle, trust(b"bad"), &[]).await;
    assert_eq!(refused[0].reason, "the roots are refused: no certificate");

    let services = |names: [&str; 2]| {
        names
            .map(|name| {
                resource(
                    Kind::Service,
                    &format!("default/{name}"),
                    &fake::service(name),
                )
            })
            .to_vec()
    };
    let refused = stream.push(Kind::Service, services(["a", "b"]), &[]).await;
    assert_eq!(refused.len(), 1, "two resources are the limit: {refused:?}");
    assert_eq!(store.snapshot().load().services.len(), 1);

    // An address that nobody asked for is no mistake, and is not kept.
    stream
        .accepted(
            Kind::Address,
            vec![resource(
                Kind::Address,
                "10.0.0.9",
                &fake::address("default/a"),
            )],
            &[],
        )
        .await;
    assert!(store.snapshot().load().addresses.is_empty());
}

#[tokio::test]
async fn new_endpoints_come_before_the_routes_that_use_them_and_nothing_else_moves() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let name = Name::new("default/reviews");
    let held = store.hold("10.0.0.1".parse().unwrap());
    stream.request().await;
    stream.push_reviews("10.0.0.1").await;
    let first = store.snapshot().load_full();
    let mut changes = store.changed();
    changes.borrow_and_update();

    stream
        .accepted(
            Kind::Endpoints,
            vec![resource(
                Kind::Endpoints,
                "default/reviews",
                &fake::endpoints(3),
            )],
            &[],
        )
        .await;
    let second = store.snapshot().load_full();
    let number = *changes.borrow_and_update();
    assert_eq!(second.endpoints[&name].endpoints.len(), 3);
    for n in 0..2 {
        assert!(Arc::ptr_eq(
            &first.endpoints[&name].endpoints[n],
            &second.endpoints[&name].endpoints[n]
        ));
    }
    assert!(Arc::ptr_eq(&first.routes[&name], &second.routes[&name]));

    stream
        .accepted(
            Kind::RouteTable,
            vec![resource(
                Kind::RouteTable,
                "default/reviews",
                &fake::routes(10),
            )],
            &[],
        )
        .await;
    let third = store.snapshot().load_full();
    assert_eq!(
        *changes.borrow_and_update(),
        number + 1,
        "one push, one snapshot"
    );
    assert!(Arc::ptr_eq(
        &second.endpoints[&name],
        &third.endpoints[&name]
    ));
    assert!(!Arc::ptr_eq(&second.routes[&name], &third.routes[&name]));

    // The same content again, under whatever version, moves nothing.
    stream.push_reviews("10.0.0.1").await;
    stream
        .accepted(
            Kind::RouteTable,
            vec![resource(
                Kind::RouteTable,
                "default/reviews",
                &fake::routes(90),
            )],
            &[],
        )
        .await;
    let before = store.snapshot().load_full();
    let mut again = resource(Kind::RouteTable, "default/reviews", &fake::routes(90));
    again.version = "other".into();
    stream.accepted(Kind::RouteTable, vec![again], &[]).await;
    assert!(Arc::ptr_eq(
        &before.routes[&name],
        &store.snapshot().load().routes[&name]
    ));

    // Removed while in use: the mesh has nothing there any more.
    stream.accepted(Kind::Address, vec![], &["10.0.0.1"]).await;
    stream
        .accepted(Kind::Service, vec![], &["default/reviews"])
        .await;
    let last = store.snapshot().load_full();
    assert_eq!(
        *last.addresses[&"10.0.0.1".parse().unwrap()],
        Address::Unknown
    );
    assert!(last.services.is_empty());
    drop(held);
}
