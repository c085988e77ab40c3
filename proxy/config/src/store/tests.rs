//! The store without a network, in paused time.
#![allow(clippy::unwrap_used)]

use heddle_proto::mesh;
use prost::Message;
use tokio::time::{Instant, advance};

use super::resources::Raw;
use super::*;
use crate::snapshot::Name;

fn store(addresses: usize) -> ConfigStore {
    let node = ProxyNode {
        namespace: "default".into(),
        pod: "a".into(),
        trust_domain: heddle_identity::TrustDomain::default(),
    };
    ConfigStore::new(
        node,
        Limits {
            addresses,
            ..Limits::default()
        },
        Box::new(|_| Ok(())),
    )
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// The control plane's answer for an address.
fn answer(address: IpAddr) -> Push {
    let unknown = mesh::Address {
        kind: Some(mesh::address::Kind::Unknown(mesh::Unknown {})),
        ..Default::default()
    };
    let raw = Raw {
        name: address.to_string(),
        version: "1".into(),
        value: unknown.encode_to_vec(),
    };
    Push {
        kind: Kind::Address,
        version: "1".into(),
        resources: vec![raw],
        removed: Vec::new(),
    }
}

/// What would be said to the control plane, in order.
fn told(store: &ConfigStore) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let mut wanted = store.interests().take_changes();
    wanted.subscribe.sort_unstable();
    wanted.unsubscribe.sort_unstable();
    (wanted.subscribe, wanted.unsubscribe)
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_and_says_whether_the_control_plane_is_there() {
    let store = store(10);
    let started = Instant::now();
    let error = store.resolve(ip(1)).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert!(
        matches!(error, ResolveError::Unreachable { reason: None, .. }),
        "{error}"
    );
    store.disconnected("connection refused".into());
    let error = store.resolve(ip(1)).await.unwrap_err();
    assert!(
        error.to_string().contains("(connection refused)"),
        "{error}"
    );
    store.connected();
    let error = store.resolve(ip(1)).await.unwrap_err();
    assert_eq!(
        error,
        ResolveError::NoAnswer {
            ip: ip(1),
            waited: Duration::from_secs(5)
        }
    );
}

#[tokio::test(start_paused = true)]
async fn many_waiters_are_one_subscription_and_all_wake() {
    let store = store(10);
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.resolve(ip(1)).await })
        })
        .collect();
    advance(Duration::from_secs(1)).await;
    assert_eq!(told(&store), (vec![ip(1)], vec![]));
    assert_eq!(store.apply(answer(ip(1))), []);
    let answered = Instant::now();
    for waiter in waiters {
        assert_eq!(*waiter.await.unwrap().unwrap(), Address::Unknown);
    }
    assert_eq!(answered.elapsed(), Duration::ZERO);
    store.resolve(ip(1)).await.unwrap();
    assert_eq!(
        told(&store),
        (vec![], vec![]),
        "known: nothing more is said"
    );
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_the_address_idle_for_longest_makes_room() {
    let store = store(3);
    for last in [1, 2, 3] {
        drop(store.hold(ip(last)));
        advance(Duration::from_secs(1)).await;
    }
    drop(store.hold(ip(1)));
    assert_eq!(told(&store).0.len(), 3);
    let held = store.hold(ip(4));
    assert_eq!(told(&store), (vec![ip(4)], vec![ip(2)]));

    let others = [store.hold(ip(1)), store.hold(ip(3))];
    let started = Instant::now();
    let error = store.resolve(ip(5)).await.unwrap_err();
    assert_eq!(
        error,
        ResolveError::TooManyAddresses {
            ip: ip(5),
            limit: 3
        }
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    drop(store.hold(ip(5)));
    assert_eq!(told(&store), (vec![], vec![]));
    drop((held, others));
    advance(Duration::from_secs(1)).await;
    let _held = store.hold(ip(5));
    assert_eq!(told(&store).0, [ip(5)]);
}

#[tokio::test(start_paused = true)]
async fn addresses_that_nobody_uses_go_after_the_idle_time() {
    let store = store(10);
    let idle = Duration::from_secs(600);
    let held = store.hold(ip(1));
    drop(store.hold(ip(2)));
    drop(store.hold(ip(3)));
    told(&store);
    advance(idle - Duration::from_secs(1)).await;
    store.interests().expire(idle);
    drop(store.hold(ip(3)));
    advance(Duration::from_secs(2)).await;
    store.interests().expire(idle);
    assert_eq!(told(&store), (vec![], vec![ip(2)]));
    drop(held);
    advance(idle - Duration::from_secs(1)).await;
    store.interests().expire(idle);
    assert_eq!(
        told(&store),
        (vec![], vec![ip(3)]),
        "idle counts from the end of the last use"
    );
    advance(idle).await;
    store.interests().expire(idle);
    // Wanted again before anything was said: nothing is said.
    let _again = store.hold(ip(1));
    assert_eq!(told(&store), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_forgotten_and_a_late_answer_is_not_kept() {
    let store = store(1);
    drop(store.hold(ip(1)));
    told(&store);
    store.apply(answer(ip(1)));
    let _held = store.hold(ip(2));
    assert_eq!(store.unwanted(), [ip(1)]);
    store.forget(&told(&store).1);
    assert!(store.snapshot().load().addresses.is_empty());
    let before = *store.changed().borrow();
    store.forget(&[ip(1)]);
    assert_eq!(
        *store.changed().borrow(),
        before,
        "nothing to forget: nothing is published"
    );
    assert_eq!(store.apply(answer(ip(1))), []);
    assert!(store.snapshot().load().addresses.is_empty());
    assert_eq!(store.status().resources, 0);
}

fn push(kind: Kind, name: &str, content: &impl Message) -> Push {
    let raw = Raw {
        name: name.into(),
        version: "1".into(),
        value: content.encode_to_vec(),
    };
    Push {
        kind,
        version: "1".into(),
        resources: vec![raw],
        removed: Vec::new(),
    }
}

/// A service of these hosts, and of an address of its own.
fn list_hosts(store: &ConfigStore, hosts: &[&str]) {
    let endpoint = |host: &&str| mesh::Endpoint {
        host: host.to_string(),
        target_ports: vec![443],
        ..Default::default()
    };
    let mut endpoints: Vec<_> = hosts.iter().map(endpoint).collect();
    endpoints.push(mesh::Endpoint {
        address: "10.0.0.9".into(),
        target_ports: vec![443],
        ..Default::default()
    });
    let listed = mesh::Endpoints {
        service_ports: vec![443],
        endpoints,
        ..Default::default()
    };
    assert_eq!(store.apply(push(Kind::Endpoints, "x/ext", &listed)), []);
}

fn endpoint_ips(store: &ConfigStore) -> Vec<IpAddr> {
    let snapshot = store.snapshot().load();
    let mut ips: Vec<_> = snapshot.endpoints[&Name::new("x/ext")]
        .endpoints
        .iter()
        .map(|endpoint| endpoint.ip)
        .collect();
    ips.sort();
    ips
}

#[tokio::test]
async fn hosts_become_endpoints_when_they_are_resolved() {
    let store = store(1);
    let host = |name| crate::names::HostName::new(name).unwrap();
    list_hosts(&store, &["a.example", "b.example"]);
    assert_eq!(
        Vec::from_iter(store.hosts()),
        [host("a.example"), host("b.example")]
    );
    assert_eq!(endpoint_ips(&store), [ip(9)]);
    store.set_host(&host("a.example"), vec![ip(1), ip(2)]);
    assert!(
        store
            .snapshot()
            .load()
            .unresolved
            .contains(&Name::new("x/ext"))
    );
    store.set_host(&host("b.example"), vec![]);
    assert!(store.snapshot().load().unresolved.is_empty());
    assert_eq!(endpoint_ips(&store), [ip(1), ip(2), ip(9)]);

    let before = store.snapshot().load_full();
    store.set_host(&host("a.example"), vec![ip(1), ip(2)]);
    store.set_host(&host("c.example"), vec![ip(3)]);
    assert!(
        Arc::ptr_eq(&before, &store.snapshot().load_full()),
        "nothing new"
    );
    store.set_host(&host("a.example"), vec![ip(2), ip(3)]);
    assert_eq!(endpoint_ips(&store), [ip(2), ip(3), ip(9)]);
    let same = |snapshot: &Snapshot| {
        let all = &snapshot.endpoints[&Name::new("x/ext")].endpoints;
        let one = all.iter().find(|endpoint| endpoint.ip == ip(2));
        Arc::as_ptr(one.unwrap())
    };
    assert_eq!(
        same(&before),
        same(&store.snapshot().load()),
        "the one that stays is the same"
    );

    // Listed anew: what is known of a host that stays is known at once.
    list_hosts(&store, &["a.example"]);
    assert_eq!(endpoint_ips(&store), [ip(2), ip(3), ip(9)]);
    list_hosts(&store, &[]);
    assert_eq!(endpoint_ips(&store), [ip(9)]);
    assert!(store.hosts().is_empty());
    list_hosts(&store, &["a.example"]);
    assert_eq!(
        endpoint_ips(&store),
        [ip(9)],
        "what nobody named was forgotten"
    );
    let mut removed = push(Kind::Endpoints, "x/ext", &mesh::Endpoints::default());
    removed.removed = vec![removed.resources.remove(0).name];
    store.apply(removed);
    let snapshot = store.snapshot().load();
    assert!(snapshot.endpoints.is_empty() && snapshot.unresolved.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_until_the_hosts_of_its_service_were_asked_for() {
    let store = store(10);
    let host = crate::names::HostName::new("a.example").unwrap();
    list_hosts(&store, &["a.example"]);
    drop(store.hold(ip(1)));
    let service = mesh::Address {
        kind: Some(mesh::address::Kind::Service("x/ext".into())),
        ..Default::default()
    };
    store.apply(push(Kind::Address, "10.0.0.1", &service));
    let started = Instant::now();
    store.resolve(ip(1)).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(5), "bounded");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.resolve(ip(1)).await }
    });
    advance(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    store.set_host(&host, vec![ip(7)]);
    let resolved = Instant::now();
    waiting.await.unwrap().unwrap();
    assert_eq!(resolved.elapsed(), Duration::ZERO);
    assert_eq!(endpoint_ips(&store), [ip(7), ip(9)]);
}

#[tokio::test]
async fn refusals_are_bounded() {
    let store = store(10);
    let bad = |n: usize| Raw {
        name: format!("no-slash-{n}"),
        version: "1".into(),
        value: Vec::new(),
    };
    let resources = (0..3_000).map(bad).collect();
    let push = Push {
        kind: Kind::Endpoints,
        version: "1".into(),
        resources,
        removed: Vec::new(),
    };
    assert_eq!(store.apply(push).len(), 3_000);
    assert_eq!(store.status().nacks.len(), 1_000);
    assert_eq!(
        *store.changed().borrow(),
        0,
        "nothing accepted: nothing published"
    );
}

/// A resolve waits on a worker, one per connection to a new address.
#[test]
fn a_waiting_resolve_is_small() {
    let store = store(1);
    assert!(size_of_val(&store.resolve(ip(1))) < 1024);
}
