//! Nothing is left behind: no namespace, link, route, process or file, after `down`, and after a
//! crash and `down`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

use heddle_tests::mesh::{Mesh, READY, text};
use heddle_tests::wait;
use nix::sys::signal::{SigSet, Signal};

/// Everything on this machine that carries the name of a mesh.
fn traces_of(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |what: &str, listing: String| {
        let hits = listing.lines().filter(|l| l.contains(name));
        found.extend(hits.map(|l| format!("{what}: {l}")));
    };
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    look("namespace", run("ip", &["netns", "list"]));
    for dir in [
        "/run/netns",
        "/run/heddle",
        "/etc/netns",
        "/tmp",
        "/var/lib/heddle",
    ] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        look(dir, names.join("\n"));
    }
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid.parse() != Ok(std::process::id()) {
            look("process", format!("{pid} {line}"));
        }
    }
    found
}

fn links_and_routes() -> Vec<String> {
    let run = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Links of other tests come and go: only the pods' ranges of this mesh are compared.
    let mut lines: Vec<String> = run(&["-o", "route"]).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn pid_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Every process that the mesh runs.
fn pids(mesh: &Mesh) -> Vec<u64> {
    let status = mesh.status();
    let parts = ["control_plane", "identity", "injector"];
    let mut pids: Vec<u64> = parts
        .iter()
        .filter_map(|p| status[p]["pid"].as_u64())
        .collect();
    for pod in status["pods"].as_array().unwrap() {
        pids.extend(pod["proxy_pid"].as_u64());
        pids.extend(
            pod["app_pids"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|p| p.as_u64()),
        );
    }
    pids.extend(status["daemon_pid"].as_u64());
    pids
}

fn pod_route(mesh: &Mesh) -> String {
    let ip = mesh.pod("details-v1")["ip"].as_str().unwrap().to_owned();
    let mut parts = ip.split('.');
    format!("{}.{}.", parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn down_leaves_nothing() {
    let mesh = Mesh::bookinfo();
    let (name, pids, range) = (mesh.name().to_owned(), pids(&mesh), pod_route(&mesh));
    assert!(pids.len() >= 16, "{pids:?}");
    mesh.ok(&["down"]);
    assert_gone(&name, &pids, &range);
    // Twice is as good as once.
    mesh.ok(&["down"]);
}

/// A program that waits for signals by blocking them starts its children so.
#[test]
fn a_mesh_started_with_signals_blocked_ends_all_the_same() {
    let blocked = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    let mesh = std::thread::spawn(move || {
        blocked.thread_block().unwrap();
        Mesh::bookinfo()
    });
    let mesh = mesh.join().unwrap();
    for pid in pids(&mesh) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find(|l| l.starts_with("SigBlk:")).unwrap();
        assert!(mask.ends_with("0000000000000000"), "process {pid}: {mask}");
    }
}

#[test]
fn down_after_a_crash_leaves_nothing() {
    let mesh = Mesh::bookinfo();
    let (name, pids, range) = (mesh.name().to_owned(), pids(&mesh), pod_route(&mesh));
    let daemon = mesh.status()["daemon_pid"].as_u64().unwrap();
    let daemon = nix::unistd::Pid::from_raw(i32::try_from(daemon).unwrap());
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
    let status = mesh.heddle(&["status"]);
    assert!(!status.status.success(), "{}", text(&status));
    mesh.ok(&["down"]);
    assert_gone(&name, &pids, &range);
}

#[test]
fn a_mesh_outlives_its_reader_and_ends_with_its_terminal() {
    let mesh = Mesh::bookinfo();
    mesh.ok(&["down"]);
    // Under `nohup` a mesh is meant to outlive its terminal, and so would it if these tests are.
    let plain = mesh.command(&["up"]);
    let mut up = Command::new("env");
    up.arg("--default-signal=HUP").arg(plain.get_program());
    up.args(plain.get_args()).arg(mesh.dir());
    up.env("HEDDLE_MESH", mesh.name()).stdout(Stdio::null());
    let mut up = up.stderr(Stdio::piped()).spawn().unwrap();
    // As `heddle up 2>&1 | head -1` does: what is written later goes nowhere.
    drop(up.stderr.take());
    wait::until("the mesh to be ready", READY, || {
        let status = mesh.heddle(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["ready"] == true
    });
    let (pids, range) = (pids(&mesh), pod_route(&mesh));
    let daemon = nix::unistd::Pid::from_raw(i32::try_from(up.id()).unwrap());
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGHUP).unwrap();
    assert!(up.wait().unwrap().success());
    assert_gone(mesh.name(), &pids, &range);
}

fn assert_gone(name: &str, pids: &[u64], range: &str) {
    let alive: Vec<_> = pids.iter().filter(|pid| pid_alive(**pid)).collect();
    assert!(alive.is_empty(), "processes are left: {alive:?}");
    let left: Vec<String> = traces_of(name)
        .into_iter()
        // The test's own copy of the manifests is its own to remove.
        .filter(|trace| !trace.contains("cargo") && !trace.contains(".tmp"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let routes = links_and_routes();
    let ours: Vec<_> = routes.iter().filter(|r| r.starts_with(range)).collect();
    assert!(ours.is_empty(), "routes are left: {ours:?}");
    assert!(!Path::new("/run/heddle").join(name).exists());
}
