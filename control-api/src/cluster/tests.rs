//! Replicas against a double of the API server: who writes, what, and how seldom.
#![allow(clippy::unwrap_used)]

use heddle_apiserver::{ApiServer, Effect, Fault, Options, gateway, istio};
use serde_json::{Value, json};
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
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

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
    server.install(&gateway()).await;
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

const SYSTEM: &str = "heddle-system";

fn place(holder: &str) -> Place {
    place_in(SYSTEM, holder)
}

fn place_in(namespace: &str, holder: &str) -> Place {
    Place {
        namespace: namespace.into(),
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
        Self::of_mesh(server, SYSTEM, name).await
    }

    async fn of_mesh(server: &ApiServer, namespace: &str, name: &str) -> Self {
        let client = client(server, name).await;
        let (sender, mut batches) = mpsc::channel(4);
        let pace = Pace {
            look: Duration::from_millis(100),
            max_pause: Duration::from_millis(100),
            ..Pace::default()
        };
        let source = KubernetesSource::start(client.clone(), pace, Vec::new(), sender);
        let settings = Settings {
            system_namespace: namespace.into(),
            ..Settings::default()
        };
        let hub = Hub::new(Model::new(settings));
        let mut tasks = JoinSet::new();
        let applied = hub.clone();
        tasks.spawn(async move {
            while let Some(batch) = batches.recv().await {
                applied.apply(batch);
            }
        });
        let place = place_in(namespace, name);
        let writer = Writer::start(client, place, TIMING, hub.clone(), &source);
        Self {
            hub,
            _source: source,
            _writer: writer,
            _tasks: tasks,
        }
    }
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}})
}

fn route(name: &str, backend: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
           "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
                    "rules": [{"backendRefs": [{"name": backend, "port": 80}]}]}})
}

/// What our condition of a route says, if it is said of this version of it.
fn condition(server: &ApiServer, name: &str, what: &str) -> Option<Value> {
    let route = server.object(ROUTES, "default", name)?;
    let parents = route["status"]["parents"].as_array()?.clone();
    let ours = parents
        .into_iter()
        .find(|parent| parent["controllerName"] == "heddle.io/mesh/heddle-system")?;
    let conditions = ours["conditions"].as_array()?.clone();
    let condition = conditions
        .into_iter()
        .find(|condition| condition["type"] == what)?;
    (condition["observedGeneration"] == route["metadata"]["generation"]).then_some(condition)
}

fn writes(server: &ApiServer, name: &str) -> Vec<String> {
    let asked = server.asked().into_iter();
    let writes = asked.filter(|asked| asked.subresource == "status" && asked.name == name);
    writes.map(|asked| asked.user).collect()
}

#[tokio::test]
async fn one_replica_holds_the_lease_and_another_takes_over_when_it_dies() {
    let server = server().await;
    let (mut first, mut second) = (JoinSet::new(), JoinSet::new());
    let a = lease::stand(
        client(&server, "a").await,
        place("a"),
        TIMING,
        Arc::default(),
        &mut first,
    );
    until(&server, "a leads", || a.holds()).await;
    let b = lease::stand(
        client(&server, "b").await,
        place("b"),
        TIMING,
        Arc::default(),
        &mut second,
    );
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

/// A thousand statuses take a minute to write; who comes after must not wait for ten.
#[test]
fn a_look_that_wrote_much_does_not_hold_back_the_next() {
    let took = |millis| pause(Duration::from_millis(millis));
    assert_eq!(took(1), PAUSE);
    assert_eq!(took(100), Duration::from_secs(1));
    assert_eq!(took(60_000), LONG);
}

#[tokio::test]
async fn what_the_holder_cannot_read_stands_beside_its_lease() {
    let server = server().await;
    server.fail(Fault::refuse("list", "nodes", 403, "Forbidden", 20));
    let _replica = Replica::start(&server, "a").await;
    let said = || {
        let name = "leases.coordination.k8s.io";
        let lease = server.object(name, "heddle-system", "heddle-control")?;
        Some(lease["metadata"]["annotations"][lease::TROUBLES].clone())
    };
    let mut told = Value::Null;
    until(&server, "it is said", || {
        told = said().unwrap_or_default();
        told.is_string()
    })
    .await;
    assert!(
        told.as_str()
            .unwrap()
            .starts_with("nodes: no sidecar is served before it has been listed: not allowed"),
        "{told}"
    );
    until(&server, "it is said no more", || {
        said().is_some_and(|said| said.is_null())
    })
    .await;
}

#[tokio::test]
async fn a_route_is_told_once_what_became_of_it_and_others_keep_theirs() {
    let server = server().await;
    server.put(service("a")).await.unwrap();
    let mut written = route("r", "b");
    let other = json!({"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway", "conditions": []});
    written["status"]["parents"] = json!([other]);
    server.put(written).await.unwrap();
    // The first attempts meet somebody else's writing.
    server.fail(Fault::refuse(
        "patch",
        "httproutes/status.gateway.networking.k8s.io",
        409,
        "Conflict",
        2,
    ));
    let _replica = Replica::start(&server, "a").await;
    let refs = |server: &ApiServer| condition(server, "r", "ResolvedRefs");
    until(&server, "a status", || refs(&server).is_some()).await;
    let told = refs(&server).unwrap();
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("False"), &json!("BackendNotFound"))
    );
    assert!(
        told["message"].as_str().unwrap().contains('b') && told["lastTransitionTime"].is_string()
    );
    assert_eq!(
        server.object(ROUTES, "default", "r").unwrap()["status"]["parents"][0],
        other
    );

    server.put(service("b")).await.unwrap();
    until(&server, "it is resolved", || {
        refs(&server).is_some_and(|told| told["status"] == "True")
    })
    .await;
    let count = writes(&server, "r").len();
    // A new version that says nothing new, and another route, which shows that time has passed.
    let mut labelled = server.object(ROUTES, "default", "r").unwrap();
    labelled["metadata"]["labels"]["x"] = "y".into();
    server.put(labelled).await.unwrap();
    for name in ["s", "t"] {
        server.put(route(name, "b")).await.unwrap();
        until(&server, "the next status", || {
            condition(&server, name, "Accepted").is_some()
        })
        .await;
    }
    assert_eq!(writes(&server, "r").len(), count);
    // A route that cannot be read is told so too.
    let mut bad = route("t", "b");
    bad["spec"]["rules"][0]["filters"] = json!([{"type": "Nonsense"}]);
    server.put(bad).await.unwrap();
    until(&server, "it is refused", || {
        condition(&server, "t", "Accepted").is_some_and(|told| told["status"] == "False")
    })
    .await;
}

#[tokio::test]
async fn of_two_replicas_one_writes_and_the_other_goes_on_when_it_dies() {
    let server = server().await;
    for name in ["a", "b"] {
        server.put(service(name)).await.unwrap();
    }
    let first = Replica::start(&server, "first").await;
    server.put(route("r", "b")).await.unwrap();
    until(&server, "a status", || {
        condition(&server, "r", "Accepted").is_some()
    })
    .await;
    let second = Replica::start(&server, "second").await;
    until(&server, "the second has read all", || second.hub.is_ready()).await;
    server.put(route("s", "b")).await.unwrap();
    until(&server, "a status", || {
        condition(&server, "s", "Accepted").is_some()
    })
    .await;
    let all = [writes(&server, "r"), writes(&server, "s")].concat();
    assert!(all.iter().all(|user| user.ends_with(":first")), "{all:?}");

    drop(first);
    server.put(route("t", "b")).await.unwrap();
    until(&server, "a status", || {
        condition(&server, "t", "Accepted").is_some()
    })
    .await;
    assert!(
        writes(&server, "t")
            .iter()
            .all(|user| user.ends_with(":second"))
    );
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

#[tokio::test]
async fn what_the_next_document_mends_is_not_said() {
    let server = server().await;
    let replica = Replica::start(&server, "a").await;
    until(&server, "it has read all", || replica.hub.is_ready()).await;
    server.put(service("a")).await.unwrap();
    let written = |name: &str, field: &str| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
               "spec": {"hosts": ["a"], field: [{"route": [{"destination": {"host": "a"}}]}]}})
    };
    for name in ["v", "w"] {
        server.put(written(name, "htp")).await.unwrap();
    }
    let is_refused = |name: &str| {
        let refusals = replica.hub.refusals();
        refusals
            .iter()
            .any(|one| one.name == name && !one.is_warning())
    };
    until(&server, "both are refused", || {
        is_refused("v") && is_refused("w")
    })
    .await;
    server.put(written("v", "http")).await.unwrap();
    until(&server, "one is mended", || !is_refused("v")).await;
    let events = || server.objects("events.events.k8s.io");
    until(&server, "an event of the other", || !events().is_empty()).await;
    tokio::time::sleep(events::STANDS).await;
    let events = events();
    assert!(
        events.len() == 1 && events[0]["regarding"]["name"] == "w",
        "{events:?}"
    );
}

#[tokio::test]
async fn a_namespace_that_takes_no_events_does_not_silence_the_others() {
    let server = server().await;
    server.namespace("a-closed").await;
    let bad = |namespace: &str| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
               "metadata": {"name": "v", "namespace": namespace}, "spec": {"hosts": ["a"], "htp": []}})
    };
    for namespace in ["a-closed", "default"] {
        server.put(bad(namespace)).await.unwrap();
    }
    // One that is on its way out takes nothing new, for as long as somebody's finalizer stands.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                           "metadata": {"name": "a-closed", "finalizers": ["example.com/slow"]}});
    server.put(namespace).await.unwrap();
    server.delete("namespaces", "", "a-closed").await;
    let _replica = Replica::start(&server, "a").await;
    until(&server, "an event in the other namespace", || {
        !server.objects("events.events.k8s.io").is_empty()
    })
    .await;
    let closed = server.asked().into_iter();
    let mut closed =
        closed.filter(|asked| asked.resource == "events" && asked.namespace == "a-closed");
    assert!(closed.next().is_some(), "it was not even tried");
}

#[tokio::test]
async fn two_meshes_of_one_cluster_each_say_theirs_and_come_to_rest() {
    let server = server().await;
    server.namespace("other-system").await;
    for name in ["a", "b"] {
        server.put(service(name)).await.unwrap();
    }
    let _meshes = [
        Replica::of_mesh(&server, SYSTEM, "one").await,
        Replica::of_mesh(&server, "other-system", "two").await,
    ];
    let told = |name: &str| {
        let route = server.object(ROUTES, "default", name).unwrap();
        let parents = route["status"]["parents"].as_array().cloned();
        let parents = parents.unwrap_or_default().into_iter();
        let mut names: Vec<_> = parents
            .map(|parent| parent["controllerName"].to_string())
            .collect();
        names.sort();
        names
    };
    let both = [
        "\"heddle.io/mesh/heddle-system\"",
        "\"heddle.io/mesh/other-system\"",
    ];
    for name in ["r", "s"] {
        server.put(route(name, "b")).await.unwrap();
        until(&server, "both have told", || told(name) == both).await;
    }
    let asked = server.asked();
    let asked = asked.iter().filter(|asked| asked.subresource == "status");
    let managers: std::collections::BTreeSet<_> =
        asked.map(|asked| asked.parameter("fieldManager")).collect();
    let both_managers = [
        "heddle-control-heddle-system",
        "heddle-control-other-system",
    ];
    assert!(managers.into_iter().eq(both_managers));
    // Another route shows that time has passed.
    let count = writes(&server, "r").len();
    server.put(route("t", "b")).await.unwrap();
    until(&server, "both have told", || told("t") == both).await;
    assert_eq!(writes(&server, "r").len(), count);
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    let server = server().await;
    server.put(service("a")).await.unwrap();
    let status = "httproutes/status.gateway.networking.k8s.io";
    server.fail(Fault::refuse("patch", status, 429, "TooManyRequests", 2));
    let _replica = Replica::start(&server, "a").await;
    for name in ["r", "s"] {
        server.put(route(name, "a")).await.unwrap();
    }
    let tries = || [writes(&server, "r"), writes(&server, "s")].concat().len();
    until(&server, "a first attempt", || tries() > 0).await;
    let first = tokio::time::Instant::now();
    // News do not make it less patient.
    server.put(service("b")).await.unwrap();
    until(&server, "both statuses", || {
        ["r", "s"]
            .iter()
            .all(|name| condition(&server, name, "Accepted").is_some())
    })
    .await;
    // Refused twice, a second apart, then one for each.
    assert!(
        first.elapsed() >= Duration::from_millis(1800),
        "{:?}",
        first.elapsed()
    );
    assert_eq!(tries(), 4);
}

#[tokio::test]
async fn a_route_that_changes_or_goes_while_it_is_told_is_told_of_what_it_is() {
    let server = server().await;
    for name in ["a", "b"] {
        server.put(service(name)).await.unwrap();
    }
    let late = |times| Fault {
        effect: Effect::Delay(Duration::from_millis(700)),
        ..Fault::refuse(
            "patch",
            "httproutes/status.gateway.networking.k8s.io",
            0,
            "",
            times,
        )
    };
    let replica = Replica::start(&server, "a").await;
    until(&server, "it has read all", || replica.hub.is_ready()).await;
    // On its way, when the route becomes another.
    server.fail(late(1));
    server.put(route("r", "nobody")).await.unwrap();
    until(&server, "it is on its way", || {
        !writes(&server, "r").is_empty()
    })
    .await;
    server.put(route("r", "b")).await.unwrap();
    let resolved = || condition(&server, "r", "ResolvedRefs");
    until(&server, "its status", || resolved().is_some()).await;
    assert_eq!(resolved().unwrap()["status"], "True");
    // When it goes, and another of its name comes.
    server.fail(late(1));
    let count = writes(&server, "r").len();
    server.put(route("r", "nobody")).await.unwrap();
    until(&server, "it is on its way", || {
        writes(&server, "r").len() > count
    })
    .await;
    assert!(server.delete(ROUTES, "default", "r").await);
    server.put(route("r", "b")).await.unwrap();
    until(&server, "its status", || resolved().is_some()).await;
    assert_eq!(resolved().unwrap()["status"], "True");
    // When it goes for good: nobody is asked for it again and again.
    server.fail(late(1));
    let count = writes(&server, "r").len();
    server.put(route("r", "nobody")).await.unwrap();
    until(&server, "it is on its way", || {
        writes(&server, "r").len() > count
    })
    .await;
    assert!(server.delete(ROUTES, "default", "r").await);
    server.put(route("t", "b")).await.unwrap();
    until(&server, "the next status", || {
        condition(&server, "t", "Accepted").is_some()
    })
    .await;
    let count = writes(&server, "r").len();
    server.put(route("u", "b")).await.unwrap();
    until(&server, "the next status", || {
        condition(&server, "u", "Accepted").is_some()
    })
    .await;
    assert_eq!(writes(&server, "r").len(), count);
}
