//! The configuration that is kept on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::persist::{self, DEBOUNCE, FILE_NAME};
use heddle_proxy_config::snapshot::{Address, Name};
use heddle_proxy_config::store::{ConfigStore, Limits, ResolveError};
use tokio::task::JoinSet;

use crate::fake::{self, FakeControl, resource};
use crate::{eventually, run};

fn keep(store: &ConfigStore, directory: &Path) -> JoinSet<()> {
    let (store, directory) = (store.clone(), directory.to_owned());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        persist::keep(store, directory).await;
    });
    tasks
}

/// A store that has been given the reviews service, and its file.
async fn filled(directory: &Path) -> (FakeControl, usize) {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let _writer = keep(&store, directory);
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let _held = store.hold("10.0.0.1".parse().unwrap());
    stream.request().await;
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
    stream.push_reviews("10.0.0.1").await;
    let resources = store.status().resources;
    assert_eq!(resources, 5);
    eventually(&store, "all of it is on disk", |_| {
        let other = fake::store(Limits::default());
        persist::restore(&other, directory) == resources
    })
    .await;
    (control, resources)
}

#[tokio::test]
async fn a_sidecar_that_starts_while_the_control_plane_is_away_serves_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let (control, resources) = filled(directory.path()).await;
    let address = control.address;
    drop(control);
    let mode = std::fs::metadata(directory.path().join(FILE_NAME))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let store = fake::store(Limits {
        resolve_timeout: Duration::from_millis(200),
        ..Limits::default()
    });
    assert_eq!(persist::restore(&store, directory.path()), resources);
    let _client = run(&store, fake::connector(address));
    let snapshot = store.snapshot().load_full();
    let name = Name::new("default/reviews");
    assert!(snapshot.workload.is_some() && snapshot.routes.contains_key(&name));
    assert_eq!(snapshot.endpoints[&name].endpoints.len(), 2);
    assert!(!snapshot.version.is_empty());
    let known = store.resolve("10.0.0.1".parse().unwrap()).await.unwrap();
    assert_eq!(*known, Address::Service(name));

    eventually(&store, "an attempt has failed", |store| {
        store.status().last_error.is_some()
    })
    .await;
    let error = store
        .resolve("10.0.0.2".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("known destinations keep working"),
        "{error}"
    );
}

#[tokio::test]
async fn the_kept_versions_are_listed_when_the_control_plane_is_back() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path()).await);
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    persist::restore(&store, directory.path());
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    let requests = stream.first_requests(Kind::Address).await;
    let versions: usize = requests
        .iter()
        .map(|request| request.initial_resource_versions.len())
        .sum();
    assert_eq!(versions, 5);
    assert_eq!(
        requests.last().unwrap().resource_names_subscribe,
        ["10.0.0.1"]
    );
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path()).await);
    let path = directory.path().join(FILE_NAME);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for content in [
        &flipped[..],
        &good[..good.len() / 2],
        b"",
        b"apiVersion: v1",
    ] {
        std::fs::write(&path, content).unwrap();
        let store = fake::store(Limits::default());
        assert_eq!(persist::restore(&store, directory.path()), 0);
        assert!(store.snapshot().load().workload.is_none());
        // A store that was given nothing leaves the file to a proxy that can read it.
        let _writer = keep(&store, directory.path());
        tokio::time::sleep(DEBOUNCE * 2).await;
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    assert_eq!(
        persist::restore(
            &fake::store(Limits::default()),
            &directory.path().join("absent")
        ),
        0
    );
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_costs_nothing_and_is_tried_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("not-yet");
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let _writer = keep(&store, &directory);
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let service = |name: &str| {
        vec![resource(
            Kind::Service,
            &format!("default/{name}"),
            &fake::service(name),
        )]
    };
    stream.accepted(Kind::Service, service("a"), &[]).await;
    tokio::time::sleep(DEBOUNCE * 2).await; // at least one write has failed by now
    std::fs::create_dir(&directory).unwrap();
    stream.accepted(Kind::Service, service("b"), &[]).await;
    eventually(&store, "both are on disk", |_| {
        persist::restore(&fake::store(Limits::default()), &directory) == 2
    })
    .await;
    let left: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [FILE_NAME]);
}
