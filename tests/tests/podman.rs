//! `heddle inject --podman DIR -f pod.yaml | podman kube play -`, as docs/injection.md has it, with images
//! that are built here: the init container's redirect, the sidecar, the application; and between two such
//! pods mutual TLS.
//! A machine on which Podman cannot run a pod is told of loudly, past the capture of output.

#![allow(clippy::unwrap_used)]

#[path = "podman/machine.rs"]
mod machine;
#[path = "podman/parts.rs"]
mod parts;

use std::io::Write;
use std::time::Duration;

use heddle_tests::mesh::text;
use heddle_tests::wait::answer;
use serde_json::{Value, json};

use machine::{CLIENT_IP, Machine, SERVER_IP};
use parts::Parts;

const LONG: Duration = Duration::from_secs(90);
const SERVICE_IP: &str = "10.96.0.10";

/// What a kubelet's API server would have of a pod.
fn pod(name: &str, account: &str, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"serviceAccountName": account, "restartPolicy": "Never", "containers": containers},
    })
}

/// nginx, which says who it was told that the caller is.
fn server() -> Value {
    let conf = "daemon off; pid /tmp/pid; error_log stderr; events {} http { access_log off; \
        client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; \
        server { listen 8080; location / { return 200 \"caller=$http_x_forwarded_client_cert\\n\"; } } }";
    let nginx = json!({
        "name": "nginx", "image": "localhost/apps:test", "imagePullPolicy": "Never",
        "command": ["nginx", "-c", "/conf/nginx.conf"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "volumeMounts": [{"name": "conf", "mountPath": "/conf"}],
    });
    let mut pod = pod("server", "server", json!([nginx]));
    pod["spec"]["volumes"] = json!([{"name": "conf", "configMap": {"name": "nginx"}}]);
    json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nginx"}, "data": {"nginx.conf": conf}},
        pod,
    ])
}

fn client() -> Value {
    let sleeper = json!({
        "name": "curl", "image": "localhost/apps:test", "imagePullPolicy": "Never",
        "command": ["sleep", "3600"],
    });
    json!([pod("client", "client", json!([sleeper]))])
}

/// The mesh as the control plane reads it: both pods, the service, and STRICT.
fn world() -> Vec<Value> {
    let running = |name: &str, ip: &str| {
        let mut pod = pod(
            name,
            name,
            json!([{"name": "app", "image": "app", "ports": [{"containerPort": 8080}]}]),
        );
        pod["metadata"]["annotations"] = json!({"heddle.io/status": "{}"});
        pod["status"] = json!({
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        pod
    };
    let account = |name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
        account("client"),
        account("server"),
        running("client", CLIENT_IP),
        running("server", SERVER_IP),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": {
            "clusterIP": SERVICE_IP, "clusterIPs": [SERVICE_IP], "selector": {"app": "server"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default"}, "spec": {"mtls": {"mode": "STRICT"}}}),
    ]
}

#[test]
fn podman_runs_injected_pods_as_they_are_and_they_speak_mutual_tls() {
    let mut machine = Machine::new();
    if let Err(reason) = machine.probe() {
        // Not eprintln!, which a passing test keeps to itself.
        let said = format!(
            "\n*** NOT TESTED: injected pods under Podman. Podman cannot run a pod on this machine:\n*** {}\n\n",
            reason.trim().replace('\n', "\n*** ")
        );
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    machine.build_images();
    let parts = Parts::start(&machine, &world());

    for (objects, name, ip) in [
        (server(), "server", SERVER_IP),
        (client(), "client", CLIENT_IP),
    ] {
        parts.project_token(&machine, name);
        machine.inject_and_play(name, ip, &objects);
    }

    // The redirect is the init container's own: real rules in the pod's network namespace.
    let rules = machine.in_pod("client-curl", &["iptables-save", "-t", "nat"]);
    assert!(text(&rules).contains("15001"), "{}", text(&rules));

    // From one pod's application to the other's, by the service's address.
    let url = format!("http://{SERVICE_IP}/");
    let curl = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "5",
        &url,
    ];
    let said = answer("an answer through both sidecars", LONG, || {
        let output = machine.podman(&[&["exec", "client-curl"], curl.as_slice()].concat());
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(format!("{}{}", text(&output), machine.logs())),
        }
    });
    assert!(
        said.contains("URI=spiffe://cluster.local/ns/default/sa/client"),
        "{said}"
    );

    // Who has no certificate is not let in.
    let plain = machine.on_node(&[
        "curl",
        "--silent",
        "--max-time",
        "5",
        &format!("http://{SERVER_IP}:8080/"),
    ]);
    assert!(!plain.status.success(), "{}", text(&plain));
    assert!(
        !String::from_utf8_lossy(&plain.stdout).contains("caller="),
        "{}",
        text(&plain)
    );

    // Whoever stops the pod lets the sidecar end by itself.
    let stopped = machine.podman(&["stop", "--time", "20", "client-heddle-proxy"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    let code = machine.podman(&[
        "inspect",
        "--format",
        "{{.State.ExitCode}}",
        "client-heddle-proxy",
    ]);
    assert_eq!(
        String::from_utf8_lossy(&code.stdout).trim(),
        "0",
        "{}",
        machine.logs()
    );
}
