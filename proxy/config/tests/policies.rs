//! What a DestinationRule says converts with the API's defaults, or is refused with its field; the
//! most specific policy is the one that counts.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use heddle_proto::mesh::{
    self, ClientTls, ConnectionPool, ConsistentHash, LoadBalancer, LocalityPolicy, Millis,
    OutlierDetection, ScopedPolicy, Service, TrafficPolicy, consistent_hash, load_balancer,
    locality_policy,
};
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{self, Algorithm, HashKey, HashTable};
use prost::Message;

fn convert(policies: Vec<ScopedPolicy>) -> Result<snapshot::Service, String> {
    let service = Service {
        namespace: "default".into(),
        name: "a".into(),
        policies,
        ..Default::default()
    };
    match compile(Kind::Service, "default/a", &service.encode_to_vec()) {
        Ok(Compiled::Service(_, service)) => Ok(service),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.to_string()),
    }
}

fn whole(policy: TrafficPolicy) -> ScopedPolicy {
    ScopedPolicy {
        policy: Some(policy),
        ..Default::default()
    }
}

fn one(policy: TrafficPolicy) -> snapshot::TrafficPolicy {
    let service = convert(vec![whole(policy)]).unwrap();
    (**service.policy(None, 80).unwrap()).clone()
}

fn refusal(policy: TrafficPolicy) -> String {
    convert(vec![whole(policy)]).unwrap_err()
}

fn balancer(balancer: LoadBalancer) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: Some(balancer),
        ..Default::default()
    }
}

fn hash(hash: ConsistentHash) -> TrafficPolicy {
    balancer(LoadBalancer {
        algorithm: Some(load_balancer::Algorithm::ConsistentHash(hash)),
        ..Default::default()
    })
}

#[test]
fn what_is_not_said_is_the_apis_default() {
    let empty = one(TrafficPolicy::default());
    assert_eq!(empty, snapshot::TrafficPolicy::default());
    let outlier = one(TrafficPolicy {
        outlier_detection: Some(OutlierDetection::default()),
        ..Default::default()
    });
    assert_eq!(outlier.outlier, Some(snapshot::OutlierDetection::default()));
    let split = one(TrafficPolicy {
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: Some(7),
            split_local_failures: true,
            min_health_percent: 40,
            interval: Some(Millis { millis: 250 }),
            ..Default::default()
        }),
        ..Default::default()
    });
    let detection = split.outlier.unwrap();
    assert_eq!(detection.consecutive_local_failures, Some(7));
    assert_eq!(detection.interval, Duration::from_millis(250));
    assert_eq!(split.panic_percent, 40);
    let key = Some(consistent_hash::Key::SourceIp(true));
    let ring = one(hash(ConsistentHash {
        key: key.clone(),
        table: None,
    }));
    assert_eq!(
        ring.algorithm,
        Algorithm::Hash(HashKey::SourceIp, HashTable::Ring(1024))
    );
    let table = Some(consistent_hash::Table::MaglevSize(0));
    let maglev = one(hash(ConsistentHash { key, table }));
    assert_eq!(
        maglev.algorithm,
        Algorithm::Hash(HashKey::SourceIp, HashTable::Maglev(65_537))
    );
}

#[test]
fn the_most_specific_policy_counts_alone() {
    let scoped = |subset: &str, port, origin: &str| ScopedPolicy {
        subset: subset.into(),
        port,
        policy: Some(TrafficPolicy {
            origin: origin.into(),
            ..Default::default()
        }),
    };
    let service = convert(vec![
        scoped("", 0, "all"),
        scoped("", 80, "port"),
        scoped("v1", 0, "subset"),
        scoped("v1", 80, "both"),
    ])
    .unwrap();
    let origin = |subset: Option<&str>, port| service.policy(subset, port).unwrap().origin.clone();
    assert_eq!(&*origin(None, 81), "all");
    assert_eq!(&*origin(None, 80), "port");
    assert_eq!(&*origin(Some("v2"), 80), "port");
    assert_eq!(&*origin(Some("v1"), 81), "subset");
    assert_eq!(&*origin(Some("v1"), 80), "both");
    let service = convert(vec![scoped("v1", 80, "both")]).unwrap();
    assert!(service.policy(Some("v1"), 81).is_none());
    assert!(service.policy(None, 80).is_none());
}

#[test]
fn each_mistake_is_refused_with_its_field() {
    let ring = |size| {
        hash(ConsistentHash {
            key: Some(consistent_hash::Key::SourceIp(true)),
            table: Some(consistent_hash::Table::MinimumRingSize(size)),
        })
    };
    let maglev = |size| {
        hash(ConsistentHash {
            key: Some(consistent_hash::Key::SourceIp(true)),
            table: Some(consistent_hash::Table::MaglevSize(size)),
        })
    };
    let cookie = |name: &str, path: &str| {
        hash(ConsistentHash {
            key: Some(consistent_hash::Key::Cookie(mesh::Cookie {
                name: name.into(),
                path: path.into(),
                ttl: None,
            })),
            table: None,
        })
    };
    let header = hash(ConsistentHash {
        key: Some(consistent_hash::Key::Header("a b".into())),
        table: None,
    });
    let tls = |tls: ClientTls| TrafficPolicy {
        tls: Some(tls),
        ..Default::default()
    };
    let mutual = mesh::client_tls::Mode::Mutual as i32;
    let cases = [
        (
            ring(1 << 40),
            "consistent_hash.minimum_ring_size: 1099511627776 is more than",
        ),
        (
            maglev(65_536),
            "consistent_hash.maglev_size: 65536 is not a prime",
        ),
        (
            maglev(1 << 40),
            "maglev_size: 1099511627776 is not a prime of at most",
        ),
        (
            cookie("", ""),
            "consistent_hash.cookie.name: \"\" is not a cookie's name",
        ),
        (
            cookie("a", "/;x"),
            "consistent_hash.cookie.path: \"/;x\" is not",
        ),
        (
            header,
            "consistent_hash.header: \"a b\" is not a header name",
        ),
        (
            hash(ConsistentHash::default()),
            "consistent_hash.key: missing",
        ),
        (
            balancer(LoadBalancer {
                algorithm: Some(load_balancer::Algorithm::Simple(9)),
                ..Default::default()
            }),
            "load_balancer.simple: 9 is no known LoadBalancer.Simple",
        ),
        (
            balancer(LoadBalancer {
                panic_percent: 101,
                ..Default::default()
            }),
            "load_balancer.panic_percent: 101 percent",
        ),
        (
            balancer(LoadBalancer {
                locality: Some(LocalityPolicy {
                    distribute: vec![locality_policy::Distribute::default()],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            "load_balancer.locality.distribute[0].to: the weights are all 0",
        ),
        (
            TrafficPolicy {
                connection_pool: Some(ConnectionPool {
                    connect_timeout: Some(Millis { millis: u64::MAX }),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "connection_pool.connect_timeout: 18446744073709551615 ms is more than ten years",
        ),
        (
            tls(ClientTls {
                mode: 17,
                ..Default::default()
            }),
            "tls.mode: 17 is no known ClientTls.Mode",
        ),
        (
            tls(ClientTls {
                mode: mutual,
                private_key: "/key".into(),
                ..Default::default()
            }),
            "tls: a certificate and its key must both be named",
        ),
    ];
    for (policy, reason) in cases {
        let refusal = refusal(policy);
        assert!(refusal.starts_with("policies[0].policy."), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}\nnot {reason}");
    }
}

#[test]
fn priority_labels_may_ask_for_a_value() {
    let policy = one(balancer(LoadBalancer {
        locality: Some(LocalityPolicy {
            failover_priority: vec!["zone".into(), "version=v1".into()],
            ..Default::default()
        }),
        ..Default::default()
    }));
    assert_eq!(
        policy.locality.unwrap().priority_labels,
        [("zone".into(), None), ("version".into(), Some("v1".into()))]
    );
}
