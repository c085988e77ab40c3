//! Replicas against a double of the API server: who writes, what, and how seldom.
#![allow(clippy::unwrap_used)]

use heddle_apiserver::{ApiServer, Options, istio};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::{
    model::{Model, Settings},
    source::kubernetes::{Access, KubernetesSource, Pace},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A Lease counts in seconds.
const TIMING: Timing = Timing {
    length: Duration::from_secs(1),
    renew: Duration::from_millis(700),
    retry: Duration::from_millis(50),
};

async fn client(server: &ApiServer, account: &str) -> Client {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let token = server.account_token("heddle-system", account);
    std::fs::write(&file, server.kubeconfig(&token, None)).unwrap();
    Access::Kubeconfig(file).client().await.unwrap()
}

async fn server() -> ApiServer {
    let server = ApiServer::start(Options::default()).await.unwrap();
    server.namespace("heddle-system").await;
    server.install(&istio()).await;
    server
}

/// Until it is so, looking at each change of what the server holds, and now and then.
async fn until(server: &ApiServer, what: &str, mut so: impl FnMut() -> bool) {
    let mut changes = server.changes();
    let waiting = async {
        while !so() {
            _ = timeout(Duration::from_millis(20), changes.changed()).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

fn place(holder: &str) -> Place {
    Place {
        namespace: "heddle-system".into(),
        name: "heddle-control".into(),
        holder: holder.into(),
    }
}

/// A control plane without its listeners.
struct Replica {
    hub: Arc<Hub>,
    _source: KubernetesSource,
    _writer: Writer,
    _tasks: JoinSet<()>,
}

impl Replica {
    async fn start(server: &ApiServer, name: &str) -> Self {
        let client = client(server, name).await;
        let (sender, mut batches) = mpsc::channel(4);
        let pace = Pace {
            look: Duration::from_millis(100),
            max_pause: Duration::from_millis(100),
        };
        let source = KubernetesSource::start(client.clone(), pace, Vec::new(), sender);
        let hub = Hub::new(Model::new(Settings::default()));
        let mut tasks = JoinSet::new();
        let applied = hub.clone();
        tasks.spawn(async move {
            while let Some(batch) = batches.recv().await {
                applied.apply(batch);
            }
        });
        let writer = Writer::start(client, place(name), TIMING, hub.clone(), source.registry());
        Self {
            hub,
            _source: source,
            _writer: writer,
            _tasks: tasks,
        }
    }
}

#[tokio::test]
async fn one_replica_holds_the_lease_and_another_takes_over_when_it_dies() {
    let server = server().await;
    let (mut first, mut second) = (JoinSet::new(), JoinSet::new());
    let a = lease::stand(client(&server, "a").await, place("a"), TIMING, &mut first);
    until(&server, "a leads", || a.holds()).await;
    let b = lease::stand(client(&server, "b").await, place("b"), TIMING, &mut second);
    let asked = |user: &str| {
        let all = server.asked();
        all.iter()
            .filter(|asked| asked.resource == "leases" && asked.user.ends_with(user))
            .count()
    };
    until(&server, "b has asked", || asked(":b") > 3).await;
    assert!(a.holds() && !b.holds());
    // It dies, as a process does that is killed.
    first.shutdown().await;
    until(&server, "b leads", || {
        assert!(!(a.holds() && b.holds()), "both hold it");
        b.holds()
    })
    .await;
    let lease = server
        .object(
            "leases.coordination.k8s.io",
            "heddle-system",
            "heddle-control",
        )
        .unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "b");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    // Who cannot renew stops by itself, and goes on once it can.
    server.go_away().await;
    until(&server, "b stops", || !b.holds()).await;
    server.come_back().await;
    until(&server, "b leads again", || b.holds()).await;
}

#[tokio::test]
async fn what_is_refused_is_said_once_whoever_says_it() {
    let server = server().await;
    let first = Replica::start(&server, "first").await;
    until(&server, "the first has read all", || first.hub.is_ready()).await;
    let bad = |name: &str| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
               "metadata": {"name": name}, "spec": {"hosts": ["a"], "htp": []}})
    };
    server.put(bad("v")).await.unwrap();
    let events = |server: &ApiServer| server.objects("events.events.k8s.io");
    until(&server, "an event", || !events(&server).is_empty()).await;
    let second = Replica::start(&server, "second").await;
    until(&server, "the second has read all", || second.hub.is_ready()).await;
    drop(first);
    server.put(bad("w")).await.unwrap();
    until(&server, "another event", || events(&server).len() > 1).await;
    // The second tries to say again what the first has said, and is told that it is there.
    let events = events(&server);
    assert_eq!(events.len(), 2, "{events:?}");
    let route = server
        .object("virtualservices.networking.istio.io", "default", "v")
        .unwrap();
    let of_v = events
        .iter()
        .find(|event| event["regarding"]["name"] == "v")
        .unwrap();
    assert_eq!(of_v["regarding"]["uid"], route["metadata"]["uid"]);
    assert_eq!(
        (&of_v["type"], &of_v["reason"]),
        (&json!("Warning"), &json!("Refused"))
    );
    let note = of_v["note"].as_str().unwrap();
    assert!(
        note.contains("`htp`") && note.contains("did you mean `http`?"),
        "{note}"
    );
}
