use std::time::{Duration, Instant, SystemTime};

use heddle_node::{Subject, TokenMinter};
use serde_json::json;

use crate::support::{TestNode, exec, until};

/// Answers 200 until there is a file `flag`, and 503 after.
fn server(flag: &str) -> String {
    format!(
        "
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists('{flag}') else 200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(('', 8080), Handler).serve_forever()
"
    )
}

#[tokio::test]
async fn readiness_follows_the_app_and_liveness_restarts_it() {
    let mut node = TestNode::create();
    let probe =
        json!({"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1, "failureThreshold": 1});
    let app = |name: &str, kind: &str| {
        let mut app = json!({
            "name": name, "command": ["python3", "-c", server("/state/bad")],
            "ports": [{"name": "web", "containerPort": 8080}],
            "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        });
        app[kind] = probe.clone();
        app["startupProbe"] = json!({"httpGet": {"port": "web", "path": "/"}});
        json!({"containers": [app], "volumes": [{"name": "state", "emptyDir": {}}]})
    };
    let ready = node.start("ready", app("a", "readinessProbe"));
    let live = node.start("live", app("a", "livenessProbe"));
    until(&ready, "ready", |status| status.ready).await;
    assert_eq!(exec(&ready, "touch /state/bad").await.0, 0);
    let status = until(&ready, "not ready", |status| !status.ready).await;
    assert!(
        status.reason.as_ref().unwrap().contains("HTTP 503"),
        "{status:?}"
    );
    assert_eq!(exec(&ready, "rm /state/bad").await.0, 0);
    until(&ready, "ready again", |status| status.ready).await;
    assert_eq!(ready.status().borrow().containers[0].restarts, 0);
    until(&live, "ready", |status| status.ready).await;
    let serving =
        "for i in $(seq 100); do curl -sf localhost:8080 && exit; sleep 0.05; done; exit 1";
    assert_eq!(exec(&live, serving).await.0, 0);
    assert_eq!(exec(&live, "touch /state/bad").await.0, 0);
    let status = until(&live, "restarted", |status| {
        status.containers[0].restarts > 0
    })
    .await;
    let exit = status.containers[0].last_exit.clone().unwrap();
    assert!(
        exit.reason
            .unwrap()
            .starts_with("liveness probe failed: GET http://")
    );
    for pod in [ready, live] {
        pod.stop(Some(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn every_kind_of_probe_is_answered() {
    let mut node = TestNode::create();
    let tls = "
import http.server, ssl, subprocess
subprocess.run('openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x -keyout /state/k -out /state/c'.split(), check=True, stderr=subprocess.DEVNULL)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('/state/c', '/state/k')
s = http.server.HTTPServer(('', 8443), http.server.SimpleHTTPRequestHandler)
s.socket = c.wrap_socket(s.socket, server_side=True); s.serve_forever()
";
    let probed = |name: &str, probe: serde_json::Value| {
        json!({"name": name, "command": ["python3", "-c", tls], "readinessProbe": probe,
            "volumeMounts": [{"name": "state", "mountPath": "/state"}]})
    };
    let https = node.start(
        "https",
        json!({"containers": [probed("a", json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}}))],
            "volumes": [{"name": "state", "emptyDir": {}}]}),
    );
    let sleep = json!(["sleep", "1000"]);
    let tcp = json!([
        "python3",
        "-c",
        "import socket,time; s=socket.create_server(('',9)); time.sleep(1000)"
    ]);
    let others = node.start(
        "others",
        json!({"containers": [
            {"name": "tcp", "command": tcp, "readinessProbe": {"tcpSocket": {"port": 9}}},
            {"name": "exec", "command": sleep, "readinessProbe": {"exec": {"command": ["test", "-d", "/run/heddle-bin"]}}},
            {"name": "grpc", "command": sleep, "readinessProbe": {"grpc": {"port": 10}}},
            {"name": "says", "command": sleep, "readinessProbe": {"exec": {"command": ["sh", "-c", "echo because; exit 4"]}}}]}),
    );
    until(&https, "ready over TLS", |status| status.ready).await;
    let status = until(&others, "settled", |status| {
        let ready: Vec<bool> = status.containers.iter().map(|c| c.ready).collect();
        ready == [true, true, false, false] && status.containers[3].reason.is_some()
    })
    .await;
    let reason = |index: usize| status.containers[index].reason.clone().unwrap_or_default();
    assert!(
        reason(2).contains("gRPC health of") && reason(2).contains("refused"),
        "{}",
        reason(2)
    );
    assert!(reason(3).contains("exit code 4: because"), "{}", reason(3));
    for pod in [https, others] {
        pod.stop(Some(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn a_startup_probe_that_never_succeeds_restarts_the_container() {
    let mut node = TestNode::create();
    let pod = node.start(
        "slow",
        json!({"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "a", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
            "startupProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}}]}),
    );
    let status = until(&pod, "restarted", |status| {
        status.containers[0].restarts > 0
    })
    .await;
    let exit = status.containers[0].last_exit.clone().unwrap();
    assert!(
        exit.reason
            .unwrap()
            .starts_with("startup probe failed: connecting to ")
    );
    assert_eq!(exit.signal, Some(9), "it ignores SIGTERM");
    let begun = Instant::now();
    pod.stop(None).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_replaced_in_time() {
    let node = TestNode::create();
    let layout = &node.mesh.layout;
    let minter = TokenMinter::open(layout, "https://issuer").unwrap();
    let again = TokenMinter::open(layout, "https://issuer").unwrap();
    drop(again);
    let path = layout.keys_dir().join("control.token");
    let subject = Subject {
        namespace: "heddle-system".into(),
        service_account: "heddle-control".into(),
        pod: None,
    };
    let life = Duration::from_secs(1000);
    let keep = minter.keep_file(&subject, "heddle", life, &path);
    let watch = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let first = std::fs::read_to_string(&path).unwrap();
        tokio::time::sleep(Duration::from_secs(790)).await;
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            first,
            "younger than 80 %"
        );
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_ne!(
            std::fs::read_to_string(&path).unwrap(),
            first,
            "older than 80 %"
        );
    };
    tokio::select! {
        never = keep => match never {},
        () = watch => {}
    }
    let token = minter
        .mint(&subject, "heddle", Duration::from_secs(1))
        .unwrap();
    assert!(
        token.expires_at > SystemTime::now() + Duration::from_secs(500),
        "as by Kubernetes"
    );
}
