//! A mesh for one test, gone when dropped.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use heddle_node::{Layout, MeshName};

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
