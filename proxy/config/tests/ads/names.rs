//! Host names: asked for once, awaited with a bound, kept fresh, dropped when idle, kept on disk.

use std::net::IpAddr;
use std::time::Duration;

use heddle_proto::mesh::{self, dns_name};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::names::{DnsName, HostName};
use heddle_proxy_config::persist;
use heddle_proxy_config::store::Limits;

use crate::fake::{self, FakeControl, Stream, resource};
use crate::{eventually, run};

const PATIENCE: Duration = Duration::from_secs(20);

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn found(ips: &[&str]) -> mesh::DnsName {
    let found = dns_name::Addresses {
        ips: ips.iter().map(ToString::to_string).collect(),
        ttl_seconds: 5,
    };
    mesh::DnsName {
        kind: Some(dns_name::Kind::Addresses(found)),
        ..Default::default()
    }
}

fn ips(name: &DnsName) -> Vec<IpAddr> {
    match name {
        DnsName::Addresses { ips, .. } => ips.clone(),
        DnsName::Unknown | DnsName::Hidden(_) => panic!("it is known"),
    }
}

async fn push(stream: &mut Stream, name: &str, content: &mesh::DnsName) {
    let resources = vec![resource(Kind::DnsName, name, content)];
    stream.accepted(Kind::DnsName, resources, &[]).await;
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_kept_fresh() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    eventually(&store, "connected", |store| store.status().connected).await;

    let web = host("web.default.svc");
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (store, web) = (store.clone(), web.clone());
            tokio::spawn(async move { store.resolve_name(&web, PATIENCE).await })
        })
        .collect();
    let request = stream.request().await;
    assert_eq!(request.type_url, Kind::DnsName.type_url());
    assert_eq!(request.resource_names_subscribe, ["web.default.svc"]);
    let before = store.snapshot().load_full();
    push(&mut stream, "web.default.svc", &found(&["10.0.0.1"])).await;
    for asked in asking {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(ips(&answer), [IpAddr::from([10, 0, 0, 1])]);
    }
    push(&mut stream, "web.default.svc", &found(&["10.0.0.2"])).await;
    assert_eq!(
        ips(&store.name(&web).unwrap()),
        [IpAddr::from([10, 0, 0, 2])]
    );
    let after = store.snapshot().load_full();
    assert!(
        std::sync::Arc::ptr_eq(&before, &after),
        "workers are not disturbed"
    );
    assert_eq!(store.status().version, "system-2");

    stream
        .accepted(Kind::DnsName, vec![], &["web.default.svc"])
        .await;
    assert_eq!(
        *store.name(&web).unwrap(),
        DnsName::Unknown,
        "removed while it is wanted"
    );

    let request = stream.request().await;
    assert_eq!(request.resource_names_unsubscribe, ["web.default.svc"]);
    eventually(&store, "forgotten", |store| store.status().resources == 0).await;
    assert_eq!(store.name(&web), None);
}

#[tokio::test]
async fn nobody_waits_for_a_control_plane_that_is_away_or_silent() {
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let (web, other) = (host("web"), host("other"));
    assert_eq!(store.resolve_name(&web, PATIENCE * 10).await, None, "away");
    let _client = run(&store, control.connector());
    let mut stream = control.stream().await;
    let first = stream.first_requests(Kind::DnsName).await;
    let subscribed = &first.last().unwrap().resource_names_subscribe;
    assert_eq!(subscribed, &["web"], "what was asked for meanwhile");
    eventually(&store, "connected", |store| store.status().connected).await;
    let patience = Duration::from_millis(50);
    assert_eq!(store.resolve_name(&other, patience).await, None, "silent");
    // Whoever asks later has the answer that came too late.
    stream.request().await;
    push(&mut stream, "other", &found(&[])).await;
    assert_eq!(ips(&store.name(&other).unwrap()), [] as [IpAddr; 0]);
}

#[tokio::test]
async fn names_survive_a_restart_while_the_control_plane_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start().await;
    let store = fake::store(Limits::default());
    let client = run(&store, control.connector());
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    eventually(&store, "connected", |store| store.status().connected).await;
    store.resolve_name(&host("web"), Duration::ZERO).await;
    stream.request().await;
    push(&mut stream, "web", &found(&["10.0.0.1"])).await;
    let (kept, path) = (store.clone(), directory.path().to_owned());
    let writer = tokio::spawn(async move { persist::keep(kept, path).await });
    eventually(&store, "it is on disk", |_| {
        persist::restore(&fake::store(Limits::default()), directory.path()) == 1
    })
    .await;
    writer.abort();
    drop((client, stream));

    let again = fake::store(Limits::default());
    assert_eq!(persist::restore(&again, directory.path()), 1);
    let known = again.name(&host("web")).unwrap();
    assert_eq!(ips(&known), [IpAddr::from([10, 0, 0, 1])]);
    let _client = run(&again, control.connector());
    let mut stream = control.stream().await;
    let first = stream.first_requests(Kind::DnsName).await;
    let names = first.last().unwrap();
    assert_eq!(names.resource_names_subscribe, ["web"]);
    assert!(names.initial_resource_versions.contains_key("web"));
}
