//! Addresses: asked for once, awaited from any thread, dropped when idle.

use std::net::IpAddr;
use std::time::Duration;

use heddle_proto::mesh;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{Address, Name};
use heddle_proxy_config::store::{ConfigStore, Limits, ResolveError};

use crate::fake::{self, FakeControl, resource};
use crate::{eventually, run};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn unknown() -> mesh::Address {
    mesh::Address {
        kind: Some(mesh::address::Kind::Unknown(mesh::Unknown {})),
        ..Default::default()
    }
}

/// Resolves on a thread and a runtime of its own, as a worker does.
fn resolve_on_a_worker(
    store: &ConfigStore,
    ip: IpAddr,
) -> std::thread::JoinHandle<Result<Address, ResolveError>> {
    let store = store.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = runtime.block_on(store.resolve(ip));
        address.map(|address| {
            // Whoever wakes finds what the address depends on.
            if let Address::Service(name) = &*address {
                let snapshot = store.snapshot().load();
                assert!(
                    snapshot.services.contains_key(name) && snapshot.endpoints.contains_key(name)
                );
            }
            Address::clone(&address)
        })
    })
}

#[tokio::test]
async fn workers_on_many_threads_share_one_subscription() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits {
        resolve_timeout: Duration::from_secs(20),
        ..Limits::default()
    });
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let workers: Vec<_> = ["10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"]
        .into_iter()
        .cycle()
        .take(12)
        .map(|text| resolve_on_a_worker(&store, ip(text)))
        .collect();
    let request = stream.request().await;
    assert_eq!(
        (request.type_url.as_str(), request.resource_names_subscribe),
        (Kind::Address.type_url(), vec!["10.0.0.1".to_owned()])
    );
    stream.push_reviews("10.0.0.1").await;
    for worker in workers {
        let address = tokio::task::spawn_blocking(|| worker.join().unwrap())
            .await
            .unwrap();
        assert_eq!(address, Ok(Address::Service(Name::new("default/reviews"))));
    }
    // The next request is for the next address: the first was subscribed to once.
    let second = resolve_on_a_worker(&store, ip("fd00::1"));
    assert_eq!(stream.request().await.resource_names_subscribe, ["fd00::1"]);
    stream
        .accepted(
            Kind::Address,
            vec![resource(Kind::Address, "fd00::1", &unknown())],
            &[],
        )
        .await;
    assert_eq!(
        tokio::task::spawn_blocking(|| second.join().unwrap())
            .await
            .unwrap(),
        Ok(Address::Unknown)
    );
}

#[tokio::test]
async fn a_refused_answer_is_told_at_once() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits {
        resolve_timeout: Duration::from_secs(60),
        ..Limits::default()
    });
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let waiting = resolve_on_a_worker(&store, ip("10.0.0.1"));
    stream.request().await;
    let refused = stream
        .push(
            Kind::Address,
            vec![resource(
                Kind::Address,
                "10.0.0.1",
                &fake::address("no-slash"),
            )],
            &[],
        )
        .await;
    assert_eq!(refused.len(), 1);
    let error = tokio::task::spawn_blocking(|| waiting.join().unwrap())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(&error, ResolveError::Refused { reason, .. } if reason.contains("no-slash")),
        "{error}"
    );
}

#[tokio::test]
async fn idle_addresses_are_unsubscribed_and_come_back_when_used() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let held = store.hold(ip("10.0.0.2"));
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["10.0.0.2"]
    );
    drop(store.hold(ip("10.0.0.1")));
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["10.0.0.1"]
    );
    let answer = |text: &str| vec![resource(Kind::Address, text, &unknown())];
    stream
        .accepted(Kind::Address, answer("10.0.0.1"), &[])
        .await;
    stream
        .accepted(Kind::Address, answer("10.0.0.2"), &[])
        .await;

    assert_eq!(
        stream.request().await.resource_names_unsubscribe,
        ["10.0.0.1"],
        "only the one that is not held"
    );
    eventually(&store, "forgotten", |store| {
        !store
            .snapshot()
            .load()
            .addresses
            .contains_key(&ip("10.0.0.1"))
    })
    .await;
    assert!(
        store
            .snapshot()
            .load()
            .addresses
            .contains_key(&ip("10.0.0.2"))
    );
    let again = resolve_on_a_worker(&store, ip("10.0.0.1"));
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["10.0.0.1"]
    );
    stream
        .accepted(Kind::Address, answer("10.0.0.1"), &[])
        .await;
    assert!(
        tokio::task::spawn_blocking(|| again.join().unwrap())
            .await
            .unwrap()
            .is_ok()
    );
    drop(held);
}
