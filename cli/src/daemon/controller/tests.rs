#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::pods::RunningPod;
use super::*;
use crate::daemon::publish::Mirror;
use crate::node::{AddressPlan, Phase, PodStatus};

const PATIENCE: Duration = Duration::from_secs(20);

/// Every pod is ready at once, unless it carries the label `broken`; none stops before it may.
#[derive(Default)]
struct FakeRunner {
    injection: heddle_injector::InjectConfig,
    log: Arc<Mutex<Vec<String>>>,
    next: u8,
}

struct FakePod {
    name: String,
    status: watch::Sender<PodStatus>,
    log: Arc<Mutex<Vec<String>>>,
}

impl PodRunner for FakeRunner {
    type Pod = FakePod;

    fn start(&mut self, pod: &Value) -> Result<FakePod, String> {
        self.next += 1;
        let text = |path: &str| pod.pointer(path).unwrap().as_str().unwrap().to_owned();
        let status = PodStatus {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            netns: String::new(),
            phase: Phase::Running,
            ready: pod.pointer("/metadata/labels/broken").is_none(),
            reason: None,
            ips: vec![[10, 0, 0, self.next].into()],
            containers: Vec::new(),
            proxy_pid: None,
            started_at: SystemTime::UNIX_EPOCH,
        };
        let version = pod
            .pointer("/metadata/labels/version")
            .and_then(Value::as_str)
            .unwrap_or("-");
        self.log.lock().unwrap().push(format!("start {version}"));
        Ok(FakePod {
            name: version.to_owned(),
            status: watch::channel(status).0,
            log: Arc::clone(&self.log),
        })
    }

    fn release(&mut self, _: &PodStatus) {
        self.log.lock().unwrap().push("release".to_owned());
    }

    fn injection(&self) -> &heddle_injector::InjectConfig {
        &self.injection
    }
}

impl RunningPod for FakePod {
    fn status(&self) -> watch::Receiver<PodStatus> {
        self.status.subscribe()
    }

    async fn stop(self) {
        self.log.lock().unwrap().push(format!("stop {}", self.name));
    }
}

struct World {
    dir: TempDir,
    handle: Handle,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    log: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn start(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("app");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("app.yaml"), manifest).unwrap();
        let bundle = dir.path().join("root.pem");
        std::fs::write(&bundle, "roots").unwrap();
        let plan = AddressPlan::new(0, false);
        let outlets = Outlets {
            cluster: Mirror::create(dir.path(), "cluster").unwrap(),
            applied: Mirror::create(dir.path(), "applied").unwrap(),
            names: watch::channel(Arc::default()).0,
            objects: watch::channel(Arc::default()).0,
            trust_bundle: bundle,
            plan: plan.clone(),
        };
        let runner = FakeRunner::default();
        let log = Arc::clone(&runner.log);
        let ips = ServiceIps::new(plan.service_pool());
        let controller = Controller::new(vec![Source::new(&source).unwrap()], ips, runner, outlets);
        let (stop, stopped) = watch::channel(false);
        let (handle, task) = controller.start(stopped);
        Self {
            dir,
            handle,
            stop,
            task,
            log,
        }
    }

    fn edit(&self, manifest: &str) {
        let staged = self.dir.path().join("staged");
        std::fs::write(&staged, manifest).unwrap();
        std::fs::rename(staged, self.dir.path().join("app/app.yaml")).unwrap();
    }

    async fn until(&self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.handle.view.clone();
        let found = tokio::time::timeout(PATIENCE, view.wait_for(|view| wanted(view))).await;
        found
            .unwrap_or_else(|_| panic!("{what}: {:#?}", self.handle.view()))
            .unwrap()
            .clone()
    }

    async fn pods(&self, versions: &[&str]) -> Arc<View> {
        let wanted: Vec<_> = versions.iter().map(ToString::to_string).collect();
        self.until(&format!("pods {wanted:?}"), |view| {
            let mut found: Vec<_> = view.pods.iter().map(version).collect();
            found.sort();
            view.settled && found == wanted
        })
        .await
    }

    fn files(&self, dir: &str) -> BTreeMap<String, Value> {
        let read =
            |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_default();
        let entries = std::fs::read_dir(self.dir.path().join(dir))
            .unwrap()
            .map(Result::unwrap);
        entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    read(&entry.path()),
                )
            })
            .collect()
    }

    fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn version(pod: &super::super::view::PodView) -> String {
    pod.object["metadata"]["labels"]["version"]
        .as_str()
        .unwrap_or("-")
        .to_owned()
}

fn deployment(replicas: u32, version: &str, labels: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web, version: {version}{labels}}}}}\n    \
         spec: {{containers: [{{name: app, command: [sleep, '9']}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    )
}

fn manifest(text: String) -> Vec<Manifest> {
    vec![Manifest {
        file: "typed.yaml".to_owned(),
        text,
    }]
}

#[tokio::test]
async fn an_edit_scales_and_an_apply_rolls() {
    let world = World::start(&deployment(2, "v1", ""));
    world.pods(&["v1", "v1"]).await;
    world.edit(&deployment(3, "v1", ""));
    world.pods(&["v1", "v1", "v1"]).await;
    world.take_log();

    let report = world
        .handle
        .apply(manifest(deployment(1, "v2", "")))
        .await
        .unwrap();
    let outcomes: Vec<_> = report
        .changes
        .iter()
        .map(|change| format!("{} {}", change.key, change.outcome))
        .collect();
    assert_eq!(
        outcomes,
        ["deployment/web configured", "service/web unchanged"]
    );
    world.pods(&["v2"]).await;
    let log = world.take_log();
    let first_stop = log
        .iter()
        .position(|line| line.starts_with("stop"))
        .unwrap();
    assert!(
        log.iter().position(|line| line == "start v2").unwrap() < first_stop
            || log[first_stop] == "stop v1",
        "{log:?}"
    );
    assert_eq!(
        log.iter().filter(|line| *line == "release").count(),
        3,
        "{log:?}"
    );
    assert_eq!(world.files("applied").len(), 1);

    world.edit(&deployment(2, "v3", ""));
    world.pods(&["v3", "v3"]).await;
    assert!(
        world.files("applied").is_empty(),
        "the file was edited last"
    );
}

#[tokio::test]
async fn a_broken_revision_does_not_replace_a_good_one() {
    let world = World::start(&deployment(1, "v1", ""));
    world.pods(&["v1"]).await;
    world.edit(&deployment(1, "v2", ", broken: 'yes'"));
    world.pods(&["v1", "v2"]).await;
    world.edit("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: [");
    let view = world
        .until("the refusal", |view| !view.refused.is_empty())
        .await;
    assert_eq!(view.pods.len(), 2, "the last good version stays");
}

#[tokio::test]
async fn what_the_control_plane_reads_follows() {
    let world = World::start(&deployment(1, "v1", ""));
    let view = world.pods(&["v1"]).await;
    let files = world.files("cluster");
    assert_eq!(
        files["service_default_web.json"]["spec"]["clusterIP"],
        "10.65.1.0"
    );
    let pod = files
        .iter()
        .find(|(name, _)| name.starts_with("pod_"))
        .unwrap()
        .1;
    assert_eq!(pod["status"]["podIP"], "10.0.0.1");
    assert_eq!(pod["status"]["conditions"][0]["status"], "True");
    assert!(
        pod["metadata"]["annotations"]["heddle.io/status"].is_null(),
        "injection is off by default here"
    );
    assert_eq!(
        view.select(&["ServiceAccount"], Some("default"), None)
            .len(),
        1
    );

    let service = Key::new("Service", "default", "web");
    let report = world
        .handle
        .delete(vec![service.clone(), Key::new("Job", "default", "none")])
        .await
        .unwrap();
    assert_eq!(
        report
            .changes
            .iter()
            .map(|c| c.outcome.as_str())
            .collect::<Vec<_>>(),
        ["deleted", "not found"]
    );
    let tombstone = &world.files("cluster")["service_default_web.json"];
    assert_eq!(
        tombstone["metadata"]["annotations"]["heddle.io/deleted"],
        "true"
    );
    assert!(!world.handle.view().services.contains_key(&service));

    world.stop.send_replace(true);
    tokio::time::timeout(PATIENCE, world.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.log.lock().unwrap().last().unwrap(), "release");
}

#[tokio::test]
async fn mistakes_of_an_apply_are_told_to_who_applied() {
    let world = World::start(&deployment(1, "v1", ""));
    world.pods(&["v1"]).await;
    let wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: far}\nspec: {clusterIP: 192.0.2.1}\n---\nkind: [";
    let report = world
        .handle
        .apply(manifest(wrong.to_owned()))
        .await
        .unwrap();
    let reasons: Vec<_> = report
        .refused
        .iter()
        .map(|problem| format!("{}: {}", problem.place(), problem.reason))
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("typed.yaml:6:"), "{reasons:?}");
    assert!(
        reasons[1].contains("192.0.2.1 is not in this mesh's Service range"),
        "{reasons:?}"
    );
    world.pods(&["v1"]).await;
}
