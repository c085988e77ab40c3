//! The store without a network, in paused time.
#![allow(clippy::unwrap_used)]

use heddle_proto::mesh;
use prost::Message;
use tokio::time::{Instant, advance};

use super::resources::Raw;
use super::*;

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
        workload_ports: Vec::new(),
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
