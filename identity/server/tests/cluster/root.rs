//! The root in a Secret: made once by whoever is first, shared, rotated by one for all, and put back.

use std::process::Command;

use heddle_identity::tls::parse_pem_bundle;
use serde_json::json;

use crate::support::{Cluster, LONG, Replica};

const FLAGS: &[&str] = &[
    "--verify-tokens",
    "review",
    "--root-secret",
    "heddle-root",
    "--root-spread",
    "1s",
];

async fn issuing_root(cluster: &Cluster, replica: &Replica) -> Vec<u8> {
    let roots = cluster.root().unwrap();
    let token = cluster.known_token("shop", "cart");
    let issued = replica.issue(&roots, "shop", "cart", &token).await.unwrap();
    issued.roots[0].clone()
}

#[tokio::test]
async fn replicas_that_start_at_once_have_one_root() {
    let cluster = Cluster::new().await;
    let names = ["a", "b", "c"];
    let mut replicas = Vec::new();
    for name in names {
        replicas.push(cluster.start(name, FLAGS).await);
    }
    cluster.until("the root", || cluster.root().is_some()).await;
    let expected = parse_pem_bundle(&cluster.root().unwrap()).unwrap()[0].to_vec();
    for replica in &replicas {
        assert_eq!(issuing_root(&cluster, replica).await, expected);
    }
    let made = replicas
        .iter()
        .filter(|r| r.said().contains("kept in a new Secret"));
    assert_eq!(made.count(), 1);
    assert_eq!(cluster.secret().unwrap().as_object().unwrap().len(), 2);

    // A root that is announced to one of them is everybody's.
    let rotated = Command::new(env!("CARGO_BIN_EXE_heddle-identity"))
        .arg("rotate-root")
        .arg("--data-dir")
        .arg(&replicas[1].data)
        .status()
        .unwrap();
    assert!(rotated.success());
    cluster
        .until("the next root", || {
            cluster
                .root()
                .is_some_and(|root| parse_pem_bundle(&root).unwrap()[0].to_vec() != expected)
        })
        .await;
    let next = parse_pem_bundle(&cluster.root().unwrap()).unwrap()[0].to_vec();
    for replica in &replicas {
        let begun = tokio::time::Instant::now();
        while issuing_root(&cluster, replica).await != next {
            assert!(begun.elapsed() < LONG);
        }
    }
    // The old one is still trusted, and a replica that comes now knows that.
    let late = cluster.start("late", FLAGS).await;
    let token = cluster.known_token("shop", "cart");
    let roots = cluster.root().unwrap();
    let issued = late.issue(&roots, "shop", "cart", &token).await.unwrap();
    assert_eq!(issued.roots, [next, expected]);
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_emptied_is_put_back() {
    let cluster = Cluster::new().await;
    let replica = cluster.start("a", FLAGS).await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let root = cluster.root();
    issuing_root(&cluster, &replica).await;
    cluster
        .api
        .delete("secrets", "heddle-system", "heddle-root")
        .await;
    cluster
        .until("the root again", || cluster.root() == root)
        .await;
    let emptied = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {},
        "metadata": {"name": "heddle-root", "namespace": "heddle-system"},
    });
    cluster.api.put(emptied).await.unwrap();
    cluster
        .until("the root once more", || cluster.root() == root)
        .await;
}

#[tokio::test]
async fn a_root_that_cannot_be_used_takes_no_good_ones_place() {
    let cluster = Cluster::new().await;
    let _replica = cluster.start("a", FLAGS).await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let secret = cluster.secret();
    let nonsense = json!({
        "apiVersion": "v1", "kind": "Secret",
        "data": {"root-key.pem": "bm9uc2Vuc2U=", "root-cert.pem": "bm9uc2Vuc2U="},
        "metadata": {"name": "heddle-root", "namespace": "heddle-system"},
    });
    cluster.api.put(nonsense).await.unwrap();
    cluster
        .until("the good root", || cluster.secret() == secret)
        .await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_while_nobody_watches_is_put_back() {
    let cluster = Cluster::new().await;
    let _replica = cluster.start("a", FLAGS).await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let secret = cluster.secret();
    cluster.api.go_away().await;
    cluster
        .api
        .delete("secrets", "heddle-system", "heddle-root")
        .await;
    cluster.api.compact();
    cluster.api.come_back().await;
    cluster
        .until("the root again", || cluster.secret() == secret)
        .await;
}

#[tokio::test]
async fn a_secret_without_a_root_is_not_overwritten_at_the_start() {
    let cluster = Cluster::new().await;
    let other = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"ca.key": "eA=="},
        "metadata": {"name": "heddle-root", "namespace": "heddle-system"},
    });
    cluster.api.put(other).await.unwrap();
    let mut replica = cluster.start("a", FLAGS).await;
    let begun = tokio::time::Instant::now();
    while !replica.ended() {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(
        replica.said().contains("restore it from a backup"),
        "{}",
        replica.said()
    );
    assert!(cluster.root().is_none());
}

#[tokio::test]
async fn the_api_server_may_be_away_once_there_is_a_root() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start(
            "a",
            &[
                "--verify-tokens",
                "cluster-keys",
                "--root-secret",
                "heddle-root",
            ],
        )
        .await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let roots = cluster.root().unwrap();
    let token = cluster.token("shop", "cart", "heddle");
    replica.issue(&roots, "shop", "cart", &token).await.unwrap();
    cluster.api.go_away().await;
    replica.issue(&roots, "shop", "cart", &token).await.unwrap();
    cluster.api.come_back().await;
    cluster
        .api
        .delete("secrets", "heddle-system", "heddle-root")
        .await;
    cluster
        .until("the root again", || cluster.root().as_ref() == Some(&roots))
        .await;
}
