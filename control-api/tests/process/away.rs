//! A control plane that cannot read the cluster: it is not ready, says why, and a sidecar that comes back to
//! it keeps what it has.

use std::{net::IpAddr, time::Duration};

use heddle_proxy_config::{
    ads::{self, AdsConfig, MeshControlPlane},
    node::ProxyNode,
    store::{ConfigStore, Limits},
};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::{
    kubernetes::{Cluster, ROLES, edited, probe},
    support::{Setup, until, workload},
};

const REVIEWS: &str = "10.0.0.3";

/// A sidecar's own client of the control plane.
async fn sidecar(setup: &Setup, tasks: &mut JoinSet<()>) -> ConfigStore {
    let own = workload(&setup.authority, "default", "productpage").await;
    let node = ProxyNode {
        namespace: "default".into(),
        pod: "productpage-1".into(),
        trust_domain: Default::default(),
    };
    let store = ConfigStore::new(node, Limits::default(), Box::new(|_| Ok(())));
    let control_plane = MeshControlPlane {
        tls: own.tls().clone(),
        address: setup.control.clone(),
        identity: "spiffe://cluster.local/ns/heddle-system/sa/heddle-control"
            .parse()
            .unwrap(),
    };
    let followed = store.clone();
    tasks.spawn(async move {
        let _own = own;
        ads::run(followed, control_plane, AdsConfig::default()).await;
    });
    store
}

/// All that it knows of routes, and how many things it knows.
fn known(store: &ConfigStore) -> (String, usize) {
    let snapshot = store.snapshot().load();
    (format!("{:?}", snapshot.routes), store.status().resources)
}

#[tokio::test]
async fn a_sidecar_keeps_its_routes_when_the_control_plane_restarts_without_an_api_server() {
    let setup = Setup::empty().await;
    let cluster = Cluster::new(&setup, ROLES).await;
    let mut program = cluster.start(&setup);
    let mut tasks = JoinSet::new();
    let store = sidecar(&setup, &mut tasks).await;
    let _held = store.hold(REVIEWS.parse::<IpAddr>().unwrap());
    until(async || known(&store).0.contains("weight: 90").then_some(())).await;
    let before = known(&store);

    program.signal(Signal::SIGKILL);
    program.ended().await;
    cluster.server.go_away().await;
    until(async || (!store.status().connected).then_some(())).await;
    let _program = cluster.start(&setup);
    until(async || store.status().connected.then_some(())).await;
    let (code, said) = until(async || probe(cluster.probes, "/readyz")).await;
    let said = said.lines().next().unwrap();
    assert_eq!((code, said), (503, "not everything has been read yet"));
    // A model that is there answers in a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(known(&store), before);
    assert!(store.status().nacks.is_empty());

    cluster.server.come_back().await;
    cluster.server.put_yaml(&edited(30)).await;
    until(async || known(&store).0.contains("weight: 30").then_some(())).await;
    until(async || (probe(cluster.probes, "/readyz")?.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn a_sidecar_keeps_its_routes_when_the_next_control_plane_may_not_list_them() {
    let setup = Setup::empty().await;
    let cluster = Cluster::new(&setup, ROLES).await;
    let mut program = cluster.start(&setup);
    let mut tasks = JoinSet::new();
    let store = sidecar(&setup, &mut tasks).await;
    let _held = store.hold(REVIEWS.parse::<IpAddr>().unwrap());
    until(async || known(&store).0.contains("weight: 90").then_some(())).await;
    let before = known(&store);

    program.signal(Signal::SIGKILL);
    program.ended().await;
    cluster
        .server
        .put_yaml(&ROLES.replace("virtualservices", "nothing"))
        .await;
    let _program = cluster.start(&setup);
    until(async || store.status().connected.then_some(())).await;
    let (code, said) = until(async || {
        let answer = probe(cluster.probes, "/readyz")?;
        answer.1.contains("not allowed").then_some(answer)
    })
    .await;
    assert!(
        code == 503 && said.contains("resources: [virtualservices]"),
        "{said}"
    );
    // A model that is there answers in a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(known(&store), before);

    cluster.server.put_yaml(ROLES).await;
    until(async || (probe(cluster.probes, "/readyz")?.0 == 200).then_some(())).await;
    cluster.server.put_yaml(&edited(30)).await;
    until(async || known(&store).0.contains("weight: 30").then_some(())).await;
}

#[tokio::test]
async fn what_may_not_be_read_is_said_where_one_looks() {
    let setup = Setup::empty().await;
    let cluster = Cluster::new(&setup, &ROLES.replace("nodes, pods]", "nodes]")).await;
    let _program = cluster.start(&setup);
    // Without pods there is no mesh to serve.
    let said = until(async || {
        let (code, said) = probe(cluster.probes, "/readyz")?;
        assert_eq!(code, 503);
        said.contains("not allowed").then_some(said)
    })
    .await;
    assert!(
        said.contains("pods: no sidecar is served before it has been listed: not allowed to list")
            && said.contains("{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}"),
        "{said}"
    );
    let pods =
        |followed: u8| format!("heddle_control_kind_followed{{resource=\"pods\"}} {followed}\n");
    let metrics = || probe(cluster.probes, "/metrics").unwrap().1;
    let text =
        until(async || Some(metrics()).filter(|text| text.contains("\"services\"} 1"))).await;
    assert!(
        text.contains(&pods(0)) && text.contains("heddle_control_ready 0\n"),
        "{text}"
    );
    cluster.server.put_yaml(ROLES).await;
    until(async || (probe(cluster.probes, "/readyz")? == (200, "ok\n".into())).then_some(())).await;
    assert!(metrics().contains(&pods(1)));
}
