//! A mesh for one test, gone when dropped.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use heddle_node::{
    AddressPool, ExecTarget, Layout, MeshName, Node, NodeOptions, Objects, PodHandle, PodStatus,
};
use serde_json::Value;
use tokio::sync::watch;

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn unique_name() -> MeshName {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{number}", std::process::id()).parse().unwrap()
}

pub(crate) struct TestMesh {
    pub(crate) layout: Layout,
}

impl TestMesh {
    pub(crate) fn create() -> Self {
        Self::named(&unique_name())
    }

    pub(crate) fn named(name: &MeshName) -> Self {
        Self {
            layout: heddle_node::create(name).unwrap(),
        }
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        heddle_node::destroy(&self.layout.mesh).unwrap();
    }
}

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` on a thread in a named network namespace.
pub(crate) fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{netns}")).unwrap();
    thread::scope(|scope| {
        let entered = || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(entered).join().unwrap()
    })
}

/// Connects from where it is called.
pub(crate) fn connects(to: SocketAddr) -> bool {
    TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok()
}

pub(crate) fn listener(netns: &str, ip: IpAddr) -> TcpListener {
    inside(netns, || TcpListener::bind((ip, 0)).unwrap())
}

/// The program that becomes containers.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_heddle-container-init").into()
}

/// A node with pods; dropped, it leaves nothing.
pub(crate) struct TestNode {
    pub(crate) node: Arc<Node>,
    pub(crate) objects: watch::Sender<Arc<Objects>>,
    pool: AddressPool,
    // Last: what the pods left is removed when they are gone.
    pub(crate) mesh: TestMesh,
}

impl TestNode {
    pub(crate) fn create() -> Self {
        let mesh = TestMesh::create();
        let (objects, watched) = watch::channel(Arc::new(Objects::default()));
        let options = NodeOptions {
            program: program(),
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            objects: watched,
        };
        let node = Node::open(mesh.layout.clone(), options).unwrap();
        let pool = mesh.layout.plan.pod_pool();
        Self {
            node,
            objects,
            pool,
            mesh,
        }
    }

    /// A pod of namespace `shop`.
    pub(crate) fn start(&mut self, name: &str, spec: Value) -> PodHandle {
        let pod = serde_json::json!({
            "metadata": {"name": name, "namespace": "shop", "uid": "u-1", "labels": {"app": name}},
            "spec": spec,
        });
        PodHandle::start(
            &self.node,
            serde_json::from_value(pod).unwrap(),
            self.pool.take().unwrap(),
        )
    }

    pub(crate) fn log(&self, pod: &str, container: &str) -> String {
        let path = self.mesh.layout.container_log("shop", pod, container);
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

/// Waits, with a bound, until the status is as wanted; the status when it is not is the failure.
pub(crate) async fn until(
    pod: &PodHandle,
    what: &str,
    wanted: impl Fn(&PodStatus) -> bool,
) -> PodStatus {
    let mut status = pod.status();
    let reached = tokio::time::timeout(Duration::from_secs(20), status.wait_for(|s| wanted(s)));
    match reached.await {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("not {what}: {:#?}", pod.status().borrow().clone()),
    }
}

/// Runs a shell script beside the first app container; exit code and output.
pub(crate) async fn exec(pod: &PodHandle, script: &str) -> (i32, String) {
    let status = pod.status().borrow().clone();
    let target = ExecTarget {
        netns: status.netns.clone(),
        pid: status.container(None).and_then(|container| container.pid),
        argv: ["sh", "-c", script].map(String::from).into(),
    };
    let run = move || target.command(&program()).unwrap().output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text.trim().to_owned())
}
