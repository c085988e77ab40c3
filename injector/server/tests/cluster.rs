//! The process in a cluster: an API server (a double that speaks the real protocol over HTTPS) calls
//! it for every new pod, once it has put its own caBundle right; namespaces, Events, and an API that
//! goes away.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_apiserver::{ApiServer, Fault, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const NAME: &str = "heddle-injector.heddle-system.svc";
const LONG: Duration = Duration::from_secs(60);

/// Kills the process when a test fails on the way.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Mesh {
    server: ApiServer,
    files: tempfile::TempDir,
    child: Owned,
    log: BufReader<ChildStderr>,
}

fn certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle-injector"));
    command.args(arguments).stderr(Stdio::piped());
    command.env_remove("KUBECONFIG");
    command
}

/// Where it says that it listens.
fn address(log: &mut BufReader<ChildStderr>) -> SocketAddr {
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
        let said: Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = said["fields"]["address"].as_str() {
            return address.parse().unwrap();
        }
    }
}

async fn start() -> Mesh {
    start_among(Vec::new()).await
}

/// Role, webhook configuration, and the process with no more rights than that role, in a cluster that has
/// `objects` already.
async fn start_among(objects: Vec<Value>) -> Mesh {
    let server = ApiServer::start(Options {
        rbac: true,
        ..Options::default()
    })
    .await
    .unwrap();
    server.namespace("heddle-system").await;
    for object in objects {
        server.put(object).await.unwrap();
    }
    server.put_yaml(include_str!("cluster.yaml")).await;
    let files = tempfile::tempdir().unwrap();
    certificate(files.path());
    let token = server.account_token("heddle-system", "heddle-injector");
    std::fs::write(
        files.path().join("kubeconfig"),
        server.kubeconfig(&token, None),
    )
    .unwrap();
    let file = |name: &str| files.path().join(name).display().to_string();
    let mut child = Owned(
        command(&[
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--kubernetes",
        ])
        .args([
            "--tls-cert",
            &file("tls.crt"),
            "--tls-key",
            &file("tls.key"),
        ])
        .args(["--ca-bundle-file", &file("tls.crt")])
        .env("KUBECONFIG", file("kubeconfig"))
        .spawn()
        .unwrap(),
    );
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    server.route_service("heddle-system/heddle-injector:443", address(&mut log));
    Mesh {
        server,
        files,
        child,
        log,
    }
}

impl Mesh {
    /// Waits for `is`, looking whenever something in the API server changes.
    async fn until(&self, what: &str, is: impl Fn(&ApiServer) -> bool) {
        let mut changes = self.server.changes();
        let waited = tokio::time::timeout(LONG, async {
            while !is(&self.server) {
                changes.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "{what}");
    }

    fn bundles(&self, resource: &str, name: &str) -> Vec<Option<String>> {
        let object = self.server.object(resource, "", name).unwrap();
        let webhooks = object["webhooks"].as_array().unwrap();
        webhooks
            .iter()
            .map(|webhook| {
                webhook["clientConfig"]["caBundle"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }

    async fn bundle_is_written(&self) {
        let mutating = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
        self.until("caBundle", |_| {
            self.bundles(mutating, "heddle-injector")[0].is_some()
        })
        .await;
    }
}

fn pod(namespace: &str, name: &str, more: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]},
    });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn is_injected(pod: &Value) -> bool {
    pod["spec"]["initContainers"]
        .as_array()
        .is_some_and(|containers| containers.iter().any(|c| c["name"] == "heddle-proxy"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_injected_by_an_api_server_that_learned_its_certificate_from_the_injector() {
    let mut mesh = start().await;
    mesh.bundle_is_written().await;
    let validating = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let mutating = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    mesh.until("the validating one", |_| {
        mesh.bundles(validating, "heddle-control")[0].is_some()
    })
    .await;
    // Others' entries are theirs.
    assert_eq!(mesh.bundles(mutating, "heddle-injector")[1], None);

    // A namespace is known as soon as it exists.
    mesh.server
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}))
        .await
        .unwrap();
    let made = mesh
        .server
        .put(pod("shop", "web", json!({})))
        .await
        .unwrap();
    assert!(is_injected(&made), "{made:#}");
    let made = mesh
        .server
        .put(pod("default", "quiet", json!({})))
        .await
        .unwrap();
    assert!(!is_injected(&made));

    // A skip is told at the pod, which has no Event but this one: nobody asked for `quiet`.
    mesh.server
        .put(pod("shop", "node", json!({"hostNetwork": true})))
        .await
        .unwrap();
    let events = "events.events.k8s.io";
    mesh.until("an Event", |server| !server.objects(events).is_empty())
        .await;
    let event = &mesh.server.objects(events)[0];
    assert_eq!(event["regarding"]["name"], "node", "{event:#}");
    assert_eq!(event["reason"], "InjectionSkipped");
    let node = mesh.server.object("pods", "shop", "node").unwrap();
    assert_eq!(event["regarding"]["uid"], node["metadata"]["uid"]);
    assert!(
        event["note"].as_str().unwrap().contains("hostNetwork"),
        "{event:#}"
    );

    // Whoever changes the bundle, it is put right, and nothing is written that is right already.
    let good = mesh.bundles(mutating, "heddle-injector");
    let mut spoilt = mesh.server.object(mutating, "", "heddle-injector").unwrap();
    spoilt["webhooks"][0]["clientConfig"]["caBundle"] =
        json!(good[0].as_ref().unwrap().replace('L', "M"));
    mesh.server.put(spoilt).await.unwrap();
    mesh.until("put right", |_| {
        mesh.bundles(mutating, "heddle-injector") == good
    })
    .await;
    let patches = |mesh: &Mesh| {
        let asked = mesh.server.asked();
        asked
            .iter()
            .filter(|asked| asked.verb == "patch" && asked.resource.starts_with("mutating"))
            .count()
    };
    assert_eq!(patches(&mesh), 2);

    // The API goes away and comes back: the injector answers on, and follows again.
    mesh.server.go_away().await;
    mesh.server.come_back().await;
    mesh.server
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later", "labels": {"heddle.io/inject": "enabled"}}}))
        .await
        .unwrap();
    let made = mesh
        .server
        .put(pod("later", "web", json!({})))
        .await
        .unwrap();
    assert!(is_injected(&made), "{made:#}");
    mesh.server.forget_asked();
    mesh.server.expire_watches();
    let listed = async {
        let is_list = |asked: &heddle_apiserver::Asked| {
            asked.verb == "list" && asked.resource == "namespaces"
        };
        while !mesh.server.asked().iter().any(is_list) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let listed = tokio::time::timeout(LONG, listed).await;
    assert!(listed.is_ok(), "the namespaces anew");

    let pid = Pid::from_raw(mesh.child.0.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    mesh.log.read_to_string(&mut rest).unwrap();
    assert!(mesh.child.0.wait().unwrap().success(), "{rest}");
    // What an API server forgets when it restarts is no failure.
    assert!(!rest.contains("too old resource version"), "{rest}");
    drop(mesh.files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_changes_is_written_and_a_broken_one_is_not() {
    let mesh = start().await;
    mesh.bundle_is_written().await;
    let mutating = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    let first = mesh.bundles(mutating, "heddle-injector");
    std::fs::write(mesh.files.path().join("tls.crt"), "nonsense").unwrap();
    // A spoilt configuration makes it look now.
    let mut spoilt = mesh.server.object(mutating, "", "heddle-injector").unwrap();
    spoilt["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
    mesh.server.put(spoilt).await.unwrap();
    certificate(mesh.files.path());
    mesh.until("the new one", |_| {
        let now = mesh.bundles(mutating, "heddle-injector");
        now[0].is_some() && now != first
    })
    .await;
}

/// What Events say: whom they are about, the reason and the note.
fn told(server: &ApiServer) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = server.objects("events.events.k8s.io");
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                text(&event["regarding"]["name"]),
                text(&event["reason"]),
                text(&event["note"]),
            )
        })
        .collect();
    told.sort();
    told
}

/// The webhook is asked about none of these: they are there before it, or its selectors keep them from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_the_webhook_was_never_asked_about_are_told_of() {
    let owned = |name: &str| {
        let mut pod = pod("shop", name, json!({}));
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5f7", "uid": "0f-5f7", "controller": true,
        }]);
        pod
    };
    let mut off = pod("shop", "off", json!({}));
    off["metadata"]["labels"] = json!({"heddle.io/inject": "false"});
    let mut wrong = pod("shop", "wrong", json!({}));
    wrong["metadata"]["annotations"] = json!({"heddle.io/workers": "many"});
    let mut over = pod("shop", "over", json!({}));
    over["status"] = json!({"phase": "Succeeded"});
    let mut injected = pod("shop", "injected", json!({}));
    injected["metadata"]["annotations"] = json!({"heddle.io/status": "{}"});
    let mut off_in_silence = pod("default", "off", json!({}));
    off_in_silence["metadata"]["labels"] = json!({"heddle.io/inject": "false"});
    let mesh = start_among(vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"heddle.io/inject": "enabled"}}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
        owned("web-5f7-a"),
        owned("web-5f7-b"),
        off,
        wrong,
        over,
        injected,
        off_in_silence,
        pod("shop", "windows", json!({"os": {"name": "windows"}})),
        pod("default", "node", json!({"hostNetwork": true})),
    ])
    .await;
    mesh.until("four Events", |server| told(server).len() >= 4)
        .await;
    let told = told(&mesh.server);
    let said: Vec<_> = told
        .iter()
        .map(|(name, reason, _)| (name.as_str(), reason.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("off", "InjectionSkipped"),
            ("web-5f7", "InjectionMissed"),
            ("windows", "InjectionSkipped"),
            ("wrong", "InjectionMissed"),
        ],
        "{told:#?}"
    );
    assert!(told[0].2.contains("label heddle.io/inject: \"false\""));
    assert!(told[1].2.contains("make it anew"), "{told:#?}");
    assert!(told[3].2.contains("\"many\""), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_listed_is_asked_for_ever_less_often() {
    let mesh = start().await;
    let kinds = ["pods", "namespaces"];
    for kind in kinds {
        mesh.server
            .fail(Fault::refuse("list", kind, 403, "Forbidden", usize::MAX));
    }
    let lists = |kind: &str| {
        let asked = mesh.server.asked().into_iter();
        asked
            .filter(|asked| asked.verb == "list" && asked.resource == kind)
            .count()
    };
    mesh.server.forget_asked();
    mesh.server.expire_watches();
    let refused = async {
        while kinds.iter().any(|kind| lists(kind) == 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, refused).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Pauses grow: twelve of them take minutes.
    let lists = kinds.map(lists);
    assert!(lists.iter().all(|count| *count < 12), "{lists:?}");
}

#[test]
fn bad_flags_and_files_are_refused_by_name() {
    let fails = |arguments: &[&str]| {
        let output = command(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml").display().to_string();
    std::fs::write(&config, "imagee: x\n").unwrap();
    let says = fails(&["--config", &config]);
    assert!(says.contains(&config) && says.contains("imagee"), "{says}");
    assert!(
        fails(&["--config", "/nowhere/config.yaml"]).contains("cannot read /nowhere/config.yaml")
    );
    assert!(fails(&["--tls-cert", "x"]).contains("--tls-key"));
    assert!(fails(&["--identity-address", "nowhere"]).contains("host:port"));
    assert!(fails(&["--kubernetes", "--namespaces", "x"]).contains("--namespaces"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_may_be_told_by_a_file_instead() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    certificate(files.path());
    let file = |name: &str| files.path().join(name).display().to_string();
    let manifests = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: told\n  labels:\n    heddle.io/inject: enabled\n";
    std::fs::write(file("namespaces.yaml"), manifests).unwrap();
    let mut child = Owned(
        command(&["--listen", "127.0.0.1:0", "--log-format", "json"])
            .args([
                "--tls-cert",
                &file("tls.crt"),
                "--tls-key",
                &file("tls.key"),
            ])
            .args(["--namespaces", &file("namespaces.yaml")])
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    server.route_service("heddle-system/heddle-injector:443", address(&mut log));
    let ca = STANDARD.encode(std::fs::read(file("tls.crt")).unwrap());
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "heddle-injector"},
        "webhooks": [{
            "name": "inject.heddle.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "rules": [{"apiGroups": [""], "apiVersions": ["v1"],
                                               "operations": ["CREATE"], "resources": ["pods"]}],
            "clientConfig": {"caBundle": ca, "service": {
                "name": "heddle-injector", "namespace": "heddle-system", "path": "/inject", "port": 443}},
        }],
    });
    server.put(webhook).await.unwrap();
    // What the API server's own namespaces say is not asked for.
    server.namespace("told").await;
    server
        .put(json!({"apiVersion": "v1", "kind": "Namespace",
                    "metadata": {"name": "other", "labels": {"heddle.io/inject": "enabled"}}}))
        .await
        .unwrap();
    for (namespace, injected) in [("told", true), ("other", false)] {
        let made = server.put(pod(namespace, "web", json!({}))).await.unwrap();
        assert_eq!(is_injected(&made), injected, "{made:#}");
    }
    std::fs::write(file("namespaces.yaml"), "kind: [\n").unwrap();
    let output = command(&["--namespaces", &file("namespaces.yaml")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("namespaces.yaml"),
        "{said}"
    );
}
