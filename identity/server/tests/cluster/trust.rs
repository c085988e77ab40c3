//! The trust bundle in every namespace: there, current, repaired, and left alone otherwise.

use std::process::Command;

use heddle_apiserver::{Effect, Fault};
use serde_json::json;

use crate::support::{CONFIG_MAP, Cluster};

const FLAGS: &[&str] = &[
    "--verify-tokens",
    "review",
    "--root-secret",
    "heddle-root",
    "--trust-config-map",
    CONFIG_MAP,
];

fn writes(cluster: &Cluster) -> usize {
    let asked = cluster.api.asked();
    asked
        .iter()
        .filter(|asked| asked.resource == "configmaps" && asked.verb == "patch")
        .count()
}

#[tokio::test]
async fn every_namespace_has_it_and_keeps_it() {
    let cluster = Cluster::new().await;
    cluster.api.namespace("shop").await;
    let replica = cluster.start("a", FLAGS).await;
    let all = ["default", "kube-system", "heddle-system", "shop"];
    let have = |names: &[&str]| names.iter().all(|name| cluster.bundle_in(name).is_some());
    cluster.until("the bundle everywhere", || have(&all)).await;
    let bundle = cluster.bundle_in("shop").unwrap();
    assert_eq!(bundle.as_bytes(), cluster.root().unwrap());

    // A namespace that comes.
    cluster.api.namespace("late").await;
    cluster
        .until("the bundle in a new namespace", || have(&["late"]))
        .await;
    let before = writes(&cluster);

    // One that is edited, and one that is deleted.
    let edited = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"root-cert.pem": "mine"},
        "metadata": {"name": CONFIG_MAP, "namespace": "shop"},
    });
    cluster.api.put(edited).await.unwrap();
    cluster
        .until("the repair", || {
            cluster.bundle_in("shop").as_ref() == Some(&bundle)
        })
        .await;
    cluster.api.delete("configmaps", "late", CONFIG_MAP).await;
    cluster.until("the bundle anew", || have(&["late"])).await;
    assert_eq!(writes(&cluster), before + 2, "the others were left alone");

    // Nothing is written for watches that begin anew, nor by a replica that finds all in order.
    cluster.api.expire_watches();
    let _second = cluster.start("b", FLAGS).await;
    cluster.api.namespace("last").await;
    cluster
        .until("the bundle after a 410", || have(&["last"]))
        .await;
    assert!(writes(&cluster) <= before + 4, "one each for the last");
    assert!(
        !replica.said().contains("cannot watch"),
        "{}",
        replica.said()
    );

    // A root that is announced is in all of them.
    let rotated = Command::new(env!("CARGO_BIN_EXE_heddle-identity"))
        .arg("rotate-root")
        .arg("--data-dir")
        .arg(&replica.data)
        .status()
        .unwrap();
    assert!(rotated.success());
    let two = |name: &&str| {
        let bundle = cluster.bundle_in(name).unwrap_or_default();
        bundle.matches("BEGIN CERTIFICATE").count() == 2
    };
    cluster
        .until("both roots everywhere", || all.iter().all(two))
        .await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_written_is_tried_again() {
    let cluster = Cluster::new().await;
    cluster.api.fail(Fault {
        verbs: vec!["patch"],
        resource: "configmaps".into(),
        effect: Effect::Refuse(500, "InternalError"),
        times: 3,
    });
    let _replica = cluster.start("a", FLAGS).await;
    let all = ["default", "kube-system", "heddle-system"];
    let have = || all.iter().all(|name| cluster.bundle_in(name).is_some());
    cluster.until("the bundle everywhere", have).await;
}

#[tokio::test]
async fn a_namespace_that_seemed_to_go_is_not_held_to_have_it() {
    let cluster = Cluster::new().await;
    cluster.api.fail(Fault {
        verbs: vec!["patch"],
        resource: "configmaps".into(),
        effect: Effect::Refuse(404, "NotFound"),
        times: 3,
    });
    let _replica = cluster.start("a", FLAGS).await;
    let all = ["default", "kube-system", "heddle-system"];
    let have = || all.iter().all(|name| cluster.bundle_in(name).is_some());
    cluster.until("the bundle everywhere", have).await;
}
