//! What `heddle install` prints, at work: the three servers as a kubelet would run them (the arguments,
//! files and paths of their Deployments, their own accounts, as nobody), against a double of the API server
//! that enforces the roles printed beside them. They live through all that they do in a cluster; nothing
//! they ask may be denied, and nothing they are granted may be left unused.

#![allow(clippy::unwrap_used)]

#[path = "installed/kubelet.rs"]
mod kubelet;
#[path = "installed/rights.rs"]
mod rights;

use std::time::Duration;

use heddle_apiserver::{ApiServer, Effect, Fault, Options, gateway};
use heddle_deploy::{Settings, manifests};
use serde_json::{Value, json};

use kubelet::{Kubelet, SYSTEM};
use rights::Grant;

const LONG: Duration = Duration::from_secs(90);
const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

/// Until it is so, looking at each change of what the server holds, and now and then.
async fn until(server: &ApiServer, kubelet: &Kubelet, what: &str, mut so: impl FnMut() -> bool) {
    let mut changes = server.changes();
    let waiting = async {
        while !so() {
            kubelet.refresh(server);
            _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    assert!(waited.is_ok(), "{what}\n{}", kubelet.said());
}

fn bundle(server: &ApiServer, resource: &str, name: &str) -> Option<String> {
    let object = server.object(resource, "", name)?;
    let bundle = &object["webhooks"][0]["clientConfig"]["caBundle"];
    bundle.as_str().map(str::to_owned)
}

fn of_route(server: &ApiServer, plural: &str, name: &str) -> bool {
    let resource = format!("{plural}.gateway.networking.k8s.io");
    let route = server.object(&resource, "shop", name);
    route.is_some_and(|route| {
        route["status"]["parents"][0]["controllerName"] == format!("heddle.io/mesh/{SYSTEM}")
    })
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
           "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]}})
}

fn virtual_service(name: &str, http: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
           "metadata": {"name": name, "namespace": "shop"}, "spec": {"hosts": ["web"], "http": http}})
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
           "metadata": {"name": name, "labels": {"heddle.io/inject": "enabled"}}})
}

fn route(kind: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
           "metadata": {"name": kind.to_lowercase(), "namespace": "shop"},
           "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": 80}]}})
}

/// In force: the definitions, and what is allowed.
async fn installed(objects: &[Value]) -> ApiServer {
    let options = Options {
        rbac: true,
        ..Options::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    server.install(&gateway()).await;
    for object in objects {
        server.put(object.clone()).await.unwrap();
    }
    server.forget_asked();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits for the minute within which clients read their files again"]
async fn an_api_server_with_another_authority_and_other_tokens_is_followed() {
    let objects = manifests(&Settings::default());
    let server = installed(&objects).await;
    let mut kubelet = Kubelet::new(&server);
    kubelet.run(&server, &objects, "heddle-control");
    let renewed = || {
        let lease = "leases.coordination.k8s.io";
        let lease = server.object(lease, SYSTEM, "heddle-control")?;
        Some(lease["spec"]["renewTime"].to_string())
    };
    until(&server, &kubelet, "a Lease", || renewed().is_some()).await;
    server.rotate_authority().await.unwrap();
    let before = kubelet.rotate(&server, "heddle-control");
    server.revoke(&before);
    let last = renewed();
    // Not with what it had.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(renewed(), last);
    until(&server, &kubelet, "the Lease is renewed", || {
        renewed() != last
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_parts_live_with_what_they_are_granted_and_are_granted_no_more() {
    let objects = manifests(&Settings::default());
    let server = installed(&objects).await;
    // Stored while nobody checks yet: the webhook fails open.
    server.put(namespace("shop")).await.unwrap();
    server
        .put(virtual_service("early", json!([{"rout": []}])))
        .await
        .unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                         "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}});
    server.put(service).await.unwrap();

    let mut kubelet = Kubelet::new(&server);
    let (mutating, validating) = (
        format!("heddle-injector-{SYSTEM}"),
        format!("heddle-control-{SYSTEM}"),
    );
    // The first write of the bundle meets somebody else's.
    server.fail(Fault::refuse("patch", MUTATING, 409, "Conflict", 1));
    server.fail(Fault::refuse("patch", VALIDATING, 409, "Conflict", 1));
    kubelet.run(&server, &objects, "heddle-identity");
    // Kubelets wait for what pods mount.
    until(&server, &kubelet, "the trust bundle", || {
        server
            .object("configmaps", SYSTEM, "heddle-trust-bundle")
            .is_some()
    })
    .await;
    kubelet.run(&server, &objects, "heddle-control");
    kubelet.run(&server, &objects, "heddle-injector");
    for part in ["heddle-identity", "heddle-control", "heddle-injector"] {
        until(&server, &kubelet, part, || kubelet.is_ready(&objects, part)).await;
    }
    until(&server, &kubelet, "caBundle", || {
        bundle(&server, MUTATING, &mutating).is_some()
            && bundle(&server, VALIDATING, &validating).is_some()
    })
    .await;

    // The API server calls both webhooks, by their certificates.
    let made = server.put(pod("shop", "web")).await.unwrap();
    assert!(made.to_string().contains("heddle-proxy"), "{made:#}");
    let refused = server.put(virtual_service("bad", json!([{"rout": []}])));
    let refused = refused.await.unwrap_err();
    assert!(
        refused["message"].as_str().unwrap().contains("`rout`"),
        "{refused}"
    );
    // Routes are told what became of them, and users of what is refused or skipped.
    for kind in ["HTTPRoute", "GRPCRoute"] {
        server.put(route(kind)).await.unwrap();
    }
    until(&server, &kubelet, "statuses", || {
        of_route(&server, "httproutes", "httproute") && of_route(&server, "grpcroutes", "grpcroute")
    })
    .await;
    // `matchConditions` keep it from the webhook; it is told of all the same.
    let mut on_node = pod("shop", "on-node");
    on_node["spec"]["hostNetwork"] = true.into();
    server.put(on_node).await.unwrap();
    until(&server, &kubelet, "Events", || {
        let events = server.objects("events.events.k8s.io");
        let of = |name: &str| {
            events
                .iter()
                .any(|event| event["regarding"]["name"] == name)
        };
        of("early") && of("on-node")
    })
    .await;

    // A namespace that no watch has brought yet is asked for.
    let late = Fault {
        effect: Effect::Delay(Duration::from_secs(2)),
        ..Fault::refuse("watch", "namespaces", 0, "", 16)
    };
    server.fail(late);
    server.cut_watches();
    server.put(namespace("new")).await.unwrap();
    let made = server.put(pod("new", "web")).await.unwrap();
    assert!(made.to_string().contains("heddle-proxy"), "{made:#}");

    // Its holder is the pod.
    let lease = || server.object("leases.coordination.k8s.io", SYSTEM, "heddle-control");
    assert_eq!(
        lease().unwrap()["spec"]["holderIdentity"],
        "heddle-control-0"
    );

    // The root's Secret is emptied, and then gone: it is put back.
    let root = || server.object("secrets", SYSTEM, "heddle-root");
    let before = root().unwrap()["data"].clone();
    let mut emptied = root().unwrap();
    emptied["data"] = json!({});
    server.put(emptied).await.unwrap();
    let is_back = || root().is_some_and(|root| root["data"] == before);
    until(&server, &kubelet, "the root after it was emptied", is_back).await;
    assert!(server.delete("secrets", SYSTEM, "heddle-root").await);
    until(&server, &kubelet, "the root after it was deleted", is_back).await;

    kubelet.stop();
    assert!(lease().unwrap()["spec"]["holderIdentity"].is_null());
    Grant::judge(&objects, &server.asked(), REASONS);
}

/// What is granted without being used here, and why.
const REASONS: &[(&str, &str)] = &[];
