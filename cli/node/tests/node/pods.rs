use std::time::{Duration, Instant};

use heddle_node::{Phase, status::ContainerState};
use serde_json::json;

use crate::support::{TestNode, exec, until};

const SERVER: &str = "
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'hello')
http.server.HTTPServer(('', 8080), Handler).serve_forever()
";

#[tokio::test]
async fn a_pod_runs_as_its_user_with_its_own_view_and_name() {
    let mut node = TestNode::create();
    node.objects.send_modify(|objects| {
        let objects = std::sync::Arc::make_mut(objects);
        objects.config_maps.insert(
            ("shop".into(), "conf".into()),
            [("a.txt".to_owned(), b"one".to_vec())].into(),
        );
    });
    let begun = Instant::now();
    let pod = node.start(
        "web",
        json!({
            "serviceAccountName": "web-sa",
            "securityContext": {"fsGroup": 4000},
            "containers": [{
                "name": "app",
                "command": ["python3", "-c", SERVER],
                "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}},
                "volumeMounts": [
                    {"name": "conf", "mountPath": "/etc/deep/er"},
                    {"name": "token", "mountPath": "/var/run/secrets/heddle/token"},
                    {"name": "scratch", "mountPath": "/var/run/heddle/state"},
                    {"name": "disk", "mountPath": "/data/disk"},
                    {"name": "info", "mountPath": "/no/such/place", "readOnly": true},
                ],
            }],
            "volumes": [
                {"name": "conf", "configMap": {"name": "conf"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken":
                    {"audience": "heddle", "expirationSeconds": 43200, "path": "token"}}]}},
                {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "disk", "emptyDir": {}},
                {"name": "info", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ],
        }),
    );
    let status = until(&pod, "ready", |status| status.ready).await;
    println!("ready after {:?}", begun.elapsed());
    let (_, seen) = exec(
        &pod,
        "id -u; id -g; id -G; hostname; echo $WHO; cat /etc/deep/er/a.txt; echo; \
         cat /no/such/place/labels; echo; ls /run; wc -c < /var/run/secrets/heddle/token/token; \
         stat -f -c %T /run/heddle/state; touch /data/disk/x && echo disk; \
         ls -d /run/netns 2>&1 | tail -c 26; ls /sys/class/net | tr '\\n' ' '; \
         ls /run/heddle-bin | grep -c heddle; grep -c search /etc/resolv.conf; ls /proc/self/fd",
    )
    .await;
    println!("{seen}");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[..7],
        [
            "1000",
            "1000",
            "1000 4000",
            "web",
            "web",
            "one",
            "app=\"web\""
        ]
    );
    assert!(
        seen.contains("tmpfs") && seen.contains("disk") && seen.contains("eth0 lo"),
        "{seen}"
    );
    assert!(
        seen.contains("No such file or directory"),
        "the machine's /run is hidden: {seen}"
    );
    assert!(!std::path::Path::new("/etc/deep").exists() && !std::path::Path::new("/data").exists());
    assert_eq!(exec(&pod, "exit 7").await.0, 7);
    assert_eq!(exec(&pod, "touch /no/such/place/x 2>/dev/null").await.0, 1);
    assert_eq!(
        exec(&pod, "curl -s http://localhost:8080/").await,
        (0, "hello".into())
    );
    // A changed object reaches the mounted file.
    node.objects.send_modify(|objects| {
        let objects = std::sync::Arc::make_mut(objects);
        objects.config_maps.insert(
            ("shop".into(), "conf".into()),
            [("a.txt".to_owned(), b"two".to_vec())].into(),
        );
    });
    let wait =
        "for i in $(seq 100); do grep -q two /etc/deep/er/a.txt && exit; sleep 0.05; done; exit 1";
    assert_eq!(exec(&pod, wait).await.0, 0);
    pod.stop(Some(Duration::from_secs(5))).await;
    assert!(
        !std::path::Path::new("/run/netns")
            .join(&status.netns)
            .exists()
    );
    assert!(!node.mesh.layout.pod_dir("shop", "web").exists());
}

#[tokio::test]
async fn containers_start_in_order_and_stop_in_reverse() {
    let mut node = TestNode::create();
    let note = |text: &str, rest: &str| {
        format!(
            "echo {text} >> /notes/all; trap 'echo {text}-ends >> /notes/all; exit 0' TERM; {rest}"
        )
    };
    let mounts = json!([{"name": "notes", "mountPath": "/notes"}]);
    let forever = "touch /notes/$NAME; while :; do sleep 0.05; done";
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let container = |name: &str, script: String, more: serde_json::Value| {
        let mut container = json!({
            "name": name, "command": ["sh", "-c", script], "volumeMounts": mounts,
            "env": [{"name": "NAME", "value": name}],
        });
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        container
    };
    let sidecar = json!({"restartPolicy": "Always", "startupProbe":
        {"exec": {"command": ["test", "-e", "/notes/late"]}, "periodSeconds": 1}});
    let pod = node.start(
        "ordered",
        json!({
            "initContainers": [
                container("first", "echo first >> /notes/all".into(), json!({})),
                container("proxy", note("proxy", "sleep 0.3; touch /notes/late; while :; do sleep 0.05; done"), sidecar),
                container("second", "echo second >> /notes/all".into(), json!({})),
            ],
            "containers": [
                container("one", note("one", forever), json!({"lifecycle": {
                    "postStart": {"exec": {"command": ["sh", "-c", "sleep 0.2; echo one-post >> /notes/all"]}},
                    "preStop": {"exec": {"command": ["sh", "-c", "echo one-pre >> /notes/all"]}}}})),
                container("two", note("two", forever), json!({})),
            ],
            "volumes": [{"name": "notes", "hostPath": {"path": dir.path()}}],
        }),
    );
    until(&pod, "ready", |status| status.ready).await;
    let both = "for i in $(seq 200); do test -e /notes/one -a -e /notes/two && exit; sleep 0.05; done; exit 1";
    assert_eq!(exec(&pod, both).await.0, 0);
    pod.stop(Some(Duration::from_secs(5))).await;
    let notes = std::fs::read_to_string(dir.path().join("all")).unwrap();
    let lines: Vec<&str> = notes.lines().collect();
    assert_eq!(
        lines[..6],
        ["first", "proxy", "second", "one", "one-post", "two"]
    );
    assert_eq!(lines.last(), Some(&"proxy-ends"), "{lines:?}");
    let at = |text| lines.iter().position(|line| *line == text).unwrap();
    assert!(at("one-pre") < at("one-ends"));
    assert_eq!(lines.len(), 10, "{lines:?}");
}

#[tokio::test]
async fn a_pod_that_cannot_be_ready_says_why() {
    let mut node = TestNode::create();
    let sleep = json!(["sleep", "1000"]);
    let deaf = node.start(
        "deaf",
        json!({"containers": [{"name": "app", "command": sleep,
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/ready"}}}]}),
    );
    let image = node.start(
        "image",
        json!({"containers": [{"name": "app", "image": "nginx"}]}),
    );
    let lost = node.start(
        "lost",
        json!({"containers": [{"name": "app", "command": ["no-such-program"]}]}),
    );
    let config = node.start(
        "config",
        json!({"containers": [{"name": "app", "command": sleep}],
            "volumes": [{"name": "v", "configMap": {"name": "missing"}}]}),
    );
    let failing = node.start(
        "failing",
        json!({"restartPolicy": "Never", "initContainers": [
            {"name": "setup", "command": ["sh", "-c", "echo broken >&2; exit 3"]}],
            "containers": [{"name": "app", "command": sleep}]}),
    );
    let says = |text: &'static str| {
        move |status: &heddle_node::PodStatus| {
            !status.ready
                && status
                    .reason
                    .as_ref()
                    .is_some_and(|reason| reason.contains(text))
        }
    };
    until(
        &deaf,
        "refused",
        says("container app: readiness probe failed: GET http://10"),
    )
    .await;
    until(
        &image,
        "without image",
        says("its image is not pulled: give it a `command`"),
    )
    .await;
    until(
        &lost,
        "not found",
        says("command `no-such-program`: not found"),
    )
    .await;
    until(
        &config,
        "without ConfigMap",
        says("volume v: ConfigMap missing: is not there"),
    )
    .await;
    let status = until(&failing, "failed", |status| status.phase == Phase::Failed).await;
    assert!(status.reason.unwrap().contains("exit code 3"));
    assert_eq!(status.containers[0].state, ContainerState::Terminated);
    assert_eq!(node.log("failing", "setup"), "broken\n");
    // What was missing arrives.
    node.objects.send_modify(|objects| {
        let objects = std::sync::Arc::make_mut(objects);
        objects
            .config_maps
            .insert(("shop".into(), "missing".into()), Default::default());
    });
    until(&config, "ready", |status| status.ready).await;
    for pod in [deaf, image, lost, config, failing] {
        pod.stop(Some(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn a_killed_container_is_started_again_at_once() {
    let mut node = TestNode::create();
    let pod = node.start(
        "again",
        json!({"containers": [
            {"name": "app", "command": ["sleep", "1000"]},
            {"name": "heddle-proxy", "command": ["sleep", "1000"]}]}),
    );
    let before = until(&pod, "ready", |status| status.ready).await;
    let pid = before.proxy_pid.unwrap();
    let killed = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let after = until(&pod, "restarted", |s| s.proxy_pid.is_some_and(|p| p != pid)).await;
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(after.containers[1].restarts, 1);
    assert_eq!(
        after.containers[1].last_exit.as_ref().unwrap().signal,
        Some(9)
    );
    assert_eq!(after.containers[0].restarts, 0);
    pod.stop(Some(Duration::ZERO)).await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_takes_its_sidecar_along() {
    let mut node = TestNode::create();
    let pod = node.start(
        "job",
        json!({
            "restartPolicy": "OnFailure",
            "initContainers": [{"name": "proxy", "restartPolicy": "Always", "command": ["sleep", "1000"]}],
            "containers": [{"name": "work", "command": ["sh", "-c",
                "test -e /state/once && { echo done; exit 0; }; touch /state/once; exit 9"],
                "volumeMounts": [{"name": "state", "mountPath": "/state"}]}],
            "volumes": [{"name": "state", "emptyDir": {}}],
        }),
    );
    let status = until(&pod, "succeeded", |s| {
        s.phase == Phase::Succeeded && s.containers.iter().all(|c| c.pid.is_none())
    })
    .await;
    assert_eq!((status.containers[1].restarts, status.ready), (1, false));
    assert_eq!(node.log("job", "work"), "done\n");
    pod.stop(None).await;
}

#[tokio::test]
async fn rights_are_given_up() {
    let mut node = TestNode::create();
    let show = json!([
        "sh",
        "-c",
        "grep -E 'Uid|Gid|Groups|Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status; touch /usr/x 2>&1; touch /vol/$(id -u) && echo wrote; sleep 1000"
    ]);
    let root = json!({"runAsUser": 0, "runAsGroup": 0, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}});
    let proxy = json!({"runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    let volume = json!([{"name": "vol", "mountPath": "/vol"}]);
    let pod = node.start(
        "rights",
        json!({"containers": [
            {"name": "root", "command": show, "securityContext": root, "volumeMounts": volume},
            {"name": "proxy", "command": show, "securityContext": proxy, "volumeMounts": volume}],
            "volumes": [{"name": "vol", "emptyDir": {"medium": "Memory"}}]}),
    );
    until(&pod, "ready", |status| status.ready).await;
    let (mut root, mut proxy) = (String::new(), String::new());
    for _ in 0..200 {
        (root, proxy) = (node.log("rights", "root"), node.log("rights", "proxy"));
        if root.contains("wrote") && proxy.contains("wrote") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let value = |log: &str, key: &str| {
        let line = log
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for caps in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(value(&root, caps), ["0000000000003000"], "{root}");
        assert_eq!(value(&proxy, caps), ["0000000000000000"], "{proxy}");
    }
    assert_eq!(value(&proxy, "Uid:"), ["1337"; 4]);
    assert_eq!(value(&proxy, "Groups:"), [""; 0]);
    assert_eq!(value(&proxy, "NoNewPrivs:"), ["1"]);
    assert!(root.contains("Read-only file system"), "{root}");
    assert!(
        root.contains("wrote") && proxy.contains("wrote"),
        "{root}{proxy}"
    );
    assert!(!std::path::Path::new("/usr/x").exists() && !std::path::Path::new("/vol").exists());
    pod.stop(Some(Duration::ZERO)).await;
}

#[tokio::test]
async fn destroy_takes_away_a_mesh_whose_daemon_was_killed() {
    let mut node = TestNode::create();
    let stubborn = json!([
        "sh",
        "-c",
        "trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & while :; do sleep 0.1; done"
    ]);
    let pod = node.start(
        "left",
        json!({"containers": [{"name": "a", "command": stubborn,
            "volumeMounts": [{"name": "m", "mountPath": "/m"}]}],
            "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}]}),
    );
    let status = until(&pod, "ready", |status| status.ready).await;
    let pid = status.containers[0].pid.unwrap();
    // Nothing is stopped: as after `kill -9` of the daemon.
    let mesh = node.mesh.layout.mesh.clone();
    let destroyed = tokio::task::spawn_blocking(move || heddle_node::destroy(&mesh))
        .await
        .unwrap();
    destroyed.unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let name = node.mesh.layout.mesh.as_str();
    assert!(
        !mounts.contains(&format!("/run/heddle/{name}/")),
        "{mounts}"
    );
    assert!(!node.mesh.layout.state_dir().exists());
    let alive = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(alive.is_empty() || alive.contains(") Z "), "{alive}");
    let left = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert!(
        !left
            .into_iter()
            .any(|e| e.file_name().to_string_lossy().contains(name))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_start_at_once() {
    let mut node = TestNode::create();
    let begun = Instant::now();
    let pods: Vec<_> = (0..20)
        .map(|n| {
            let spec = json!({"containers": [{"name": "a", "command": ["sleep", "1000"]}]});
            node.start(&format!("p{n}"), spec)
        })
        .collect();
    for pod in &pods {
        until(pod, "ready", |status| status.ready).await;
    }
    println!("20 pods ready after {:?}", begun.elapsed());
    let begun = Instant::now();
    let single = node.start(
        "single",
        json!({"containers": [{"name": "a", "command": ["sleep", "1000"]}]}),
    );
    until(&single, "ready", |status| status.ready).await;
    println!("1 pod ready after {:?}", begun.elapsed());
    let begun = Instant::now();
    let stopping = pods
        .into_iter()
        .map(|pod| tokio::spawn(pod.stop(Some(Duration::from_secs(5)))));
    for stopped in stopping.collect::<Vec<_>>() {
        stopped.await.unwrap();
    }
    println!("20 pods gone after {:?}", begun.elapsed());
    single.stop(None).await;
}

#[tokio::test]
async fn what_a_container_leaves_behind_ends_with_it() {
    let mut node = TestNode::create();
    let leaves =
        "setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $! > /state/pid";
    let pod = node.start(
        "leaves",
        json!({"restartPolicy": "Never", "containers": [{
            "name": "a", "command": ["sh", "-c", leaves],
            "volumeMounts": [{"name": "state", "mountPath": "/state"}]}],
            "volumes": [{"name": "state", "emptyDir": {}}]}),
    );
    until(&pod, "done", |status| status.phase == Phase::Succeeded).await;
    let file = node
        .mesh
        .layout
        .pod_dir("shop", "leaves")
        .join("volumes/state/pid");
    let left = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    pod.stop(None).await;
    assert_eq!(node.log("leaves", "a"), "", "the log goes with the pod");
    assert!(
        !node
            .mesh
            .layout
            .container_log("shop", "leaves", "a")
            .exists()
    );
}
