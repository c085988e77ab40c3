//! The life of pods and of what they trust: roots rotate, everything around a sidecar is away when it
//! restarts, sets keep their names, jobs end, hooks are waited for.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use heddle_tests::load::{Client, Load};
use heddle_tests::mesh::{Mesh, string};
use heddle_tests::wait;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers HTTP with the pod's own name, and echoes lines on another port.
const NAMED: &str = r#"
import http.server, os, socketserver, threading
class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["HOSTNAME"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *ignored): pass
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
threading.Thread(target=Server(("", 7000), Echo).serve_forever, daemon=True).start()
Server(("", 8080), Http).serve_forever()
"#;

/// A workload of `kind` whose pods run [`NAMED`], and what else its spec and its container say.
fn named(kind: &str, name: &str, spec: &str, container: &str) -> String {
    let script: String = NAMED
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec:\n      containers:\n      - name: app\n        {container}\n        ports: [{{containerPort: 8080}}]\n        \
         readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n        \
         env: [{{name: HOSTNAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]\n        \
         command:\n        - python3\n        - -c\n        - |\n{script}---\n"
    )
}

fn service(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}{more}, ports: \
         [{{name: http, port: 8080}}, {{name: tcp, port: 7000}}]}}\n---\n"
    )
}

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, \
                      namespace: heddle-system}\nspec: {mtls: {mode: STRICT}}\n---\n";

fn mesh(parts: &[String], flags: &[&str]) -> Mesh {
    Mesh::start(&[("app.yaml".to_owned(), parts.concat())], flags)
}

fn client() -> String {
    named(
        "Deployment",
        "client",
        "replicas: 1",
        "imagePullPolicy: Never",
    )
}

fn get(mesh: &Mesh, url: &str) -> String {
    let curl = ["curl", "-sS", "--fail", "-m", "10", url];
    mesh.exec("client", &curl)
}

fn pods(mesh: &Mesh, prefix: &str) -> Vec<Value> {
    let pods = mesh.status()["pods"].as_array().unwrap().clone();
    let named = |pod: &Value| string(&pod["name"]).starts_with(prefix);
    pods.into_iter().filter(named).collect()
}

#[test]
fn a_root_rotates_under_load_and_certificates_of_a_day_are_replaced_with_it() {
    let web = named("Deployment", "web", "replicas: 2", "imagePullPolicy: Never");
    let parts = [STRICT.to_owned(), service("web", ""), web, client()];
    let mesh = mesh(&parts, &["--root-spread", "6s"]);
    let web = format!("{}:8080", mesh.service_ip("web"));
    let load = Load::start(&mesh.netns("client"), 2, false, move || {
        Client::new(&web, "web:8080", "/", &[])
    });
    load.more(100);
    let state = string(&mesh.status()["state_dir"]);
    let bundle = || std::fs::read_to_string(format!("{state}/root-cert.pem")).unwrap();
    let roots = || bundle().matches("BEGIN CERTIFICATE").count();
    let old = bundle();
    let issued = |pod: &str| mesh.sidecar_log(pod).matches("certificate issued").count();

    let said = mesh.ok(&["system", "rotate-root"]);
    assert!(said.contains("signs after 6 s"), "{said}");
    let refused = mesh.heddle(&["system", "rotate-root"]);
    assert!(!refused.status.success(), "one at a time");
    wait::until("both roots are published", PATIENCE, || roots() == 2);
    wait::until(
        "every sidecar has a certificate of the new root",
        PATIENCE,
        || ["web", "client"].iter().all(|pod| issued(pod) >= 2),
    );
    // A pod that begins now has both roots and a certificate of the new one.
    mesh.ok(&["rollout", "restart", "deploy/web"]);
    mesh.ok(&["rollout", "status", "deploy/web"]);
    load.more(100);
    assert!(mesh.ok(&["system", "drop-root"]).contains("dropped 1"));
    wait::until("the old root is gone", PATIENCE, || roots() == 1);
    assert!(!bundle().contains(old.trim()));
    wait::until("the sidecars have let go of it", PATIENCE, || {
        let log = std::fs::read_to_string(format!("{state}/logs/heddle-control.log"));
        let log = log.unwrap_or_default();
        let mut changes = log
            .lines()
            .filter(|l| l.contains("the trust bundle has changed"));
        changes.next_back().is_some_and(|l| l.contains("roots=1"))
    });
    mesh.settled();
    mesh.ok(&["rollout", "restart", "deploy/web"]);
    mesh.ok(&["rollout", "status", "deploy/web"]);
    load.more(100);
    load.stop().assert_whole();
    assert_eq!(issued("client"), 2, "and none in vain");
}

#[test]
fn sidecars_that_restart_while_everything_is_away_serve_as_before() {
    let web = named("Deployment", "web", "replicas: 1", "imagePullPolicy: Never");
    let parts = [STRICT.to_owned(), service("web", ""), web, client()];
    let mesh = mesh(&parts, &[]);
    let echo = "import socket\ns = socket.create_connection(('web', 7000), 10)\ns.sendall(b'word\\n')\nprint(s.recv(9).decode().strip())";
    let talk = || {
        let name = get(&mesh, "http://web:8080/");
        assert!(name.starts_with("web-"), "{name}");
        assert_eq!(mesh.exec("client", &["python3", "-c", echo]).trim(), "word");
    };
    talk();
    // What has been accepted is on the pods' volumes a moment later.
    std::thread::sleep(Duration::from_secs(1));
    mesh.ok(&["system", "stop", "control-plane"]);
    mesh.ok(&["system", "stop", "identity"]);
    for pod in ["client", "web"] {
        let before = mesh.pod(pod)["proxy_pid"].clone();
        let pid = i32::try_from(before.as_i64().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        wait::until("the sidecar is back", PATIENCE, || {
            let pod = mesh.pod(pod);
            pod["ready"] == true && pod["proxy_pid"].is_u64() && pod["proxy_pid"] != before
        });
        talk();
    }
    mesh.ok(&["system", "start", "identity"]);
    mesh.ok(&["system", "start", "control-plane"]);
    mesh.settled();
    talk();
}

#[test]
fn the_pods_of_a_set_keep_their_names_through_restarts_and_scaling() {
    let db = named(
        "StatefulSet",
        "db",
        "serviceName: db\n  replicas: 2",
        "imagePullPolicy: Never",
    );
    let parts = [
        STRICT.to_owned(),
        service("db", ", clusterIP: None"),
        db,
        client(),
    ];
    let mesh = mesh(&parts, &[]);
    let each = |count: usize| {
        for n in 0..count {
            let name = format!("db-{n}");
            let url = format!("http://{name}.db:8080/");
            let answered = wait::answer(&url, PATIENCE, || {
                let curl = [
                    "exec", "client", "--", "curl", "-sS", "--fail", "-m", "5", &url,
                ];
                let output = mesh.heddle(&curl);
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                output.status.success().then_some(said).ok_or(why)
            });
            assert_eq!(answered, name);
        }
    };
    each(2);
    let uids = || {
        pods(&mesh, "db-")
            .iter()
            .map(|p| string(&p["started"]) + &string(&p["name"]))
            .collect::<Vec<_>>()
    };
    let before = uids();
    mesh.ok(&["rollout", "restart", "statefulset/db"]);
    mesh.ok(&["rollout", "status", "sts/db"]);
    assert!(before.iter().all(|uid| !uids().contains(uid)));
    each(2);
    for replicas in ["3", "1"] {
        mesh.ok(&["scale", "sts/db", "--replicas", replicas]);
        mesh.ok(&["rollout", "status", "sts/db"]);
        each(replicas.parse().unwrap());
        assert_eq!(pods(&mesh, "db-").len(), replicas.parse::<usize>().unwrap());
    }
}

/// A Job that calls the service and is done; `more` are annotations.
fn job(name: &str, more: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  template:\n    metadata: \
         {{annotations: {{{more}}}}}\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: app\n        \
         command: [sh, -c, '{command}']\n---\n"
    )
}

#[test]
fn jobs_end_and_hooks_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    // The app's own hook calls the mesh while the pod is ending, and takes its time.
    let hook = |name: &str| {
        let call = format!(
            "sleep 1; curl -sS --fail -m 5 http://web:8080/ > {}",
            dir.path().join(name).display()
        );
        format!("lifecycle: {{preStop: {{exec: {{command: [sh, -c, '{call}']}}}}}}")
    };
    let older = "sidecar.istio.io/nativeSidecar: \"false\"";
    let web = named("Deployment", "web", "replicas: 1", "imagePullPolicy: Never");
    let going = named("Deployment", "going", "replicas: 1", &hook("going"));
    let leaving = named("Deployment", "leaving", "replicas: 1", &hook("leaving")).replace(
        "labels: {app: leaving}}",
        &format!("labels: {{app: leaving}}, annotations: {{{older}}}}}"),
    );
    let call = "curl -sS --fail --retry 20 --retry-all-errors -m 5 http://web:8080/";
    let quit = format!("{call} && curl -sS -X POST http://127.0.0.1:15020/quitquitquit");
    let parts = [
        STRICT.to_owned(),
        service("web", ""),
        web,
        client(),
        going,
        leaving,
    ];
    let mesh = mesh(&parts, &[]);
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();

    mesh.write(
        "jobs.yaml",
        &(job("newer", "", call) + &job("older", older, &quit)),
    );
    wait::until("both jobs have succeeded", PATIENCE, || {
        ["newer-", "older-"].iter().all(|name| {
            let pods = pods(&mesh, name);
            pods.len() == 1 && pods[0]["phase"] == "Succeeded"
        })
    });

    for name in ["going", "leaving"] {
        let deployment = format!("deploy/{name}");
        mesh.ok(&["scale", &deployment, "--replicas", "0"]);
        mesh.ok(&["rollout", "status", &deployment, "--timeout", "20s"]);
        let said = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(said.starts_with("web-"), "{name}: {said}");
    }
}
