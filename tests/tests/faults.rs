//! What is killed is not missed: the control plane, the identity service, and a sidecar while the
//! control plane is away.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use heddle_tests::load::{Client, Load};
use heddle_tests::mesh::Mesh;
use heddle_tests::wait;
use serde_json::Value;

const CLIENTS: usize = 4;
const BACK: Duration = Duration::from_secs(30);

fn kill(pid: &Value) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid.as_u64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Kills a part of the mesh and waits until another process is in its place and ready.
fn kill_part(mesh: &Mesh, part: &str) {
    let before = mesh.status()[part]["pid"].clone();
    kill(&before);
    wait::until(part, BACK, || {
        let now = &mesh.status()[part];
        now["ready"] == true && now["pid"] != before
    });
}

/// Load from productpage's pod on reviews.
fn load(mesh: &Mesh) -> Load {
    let reviews = format!("{}:9080", mesh.service_ip("reviews"));
    let load = Load::start(&mesh.netns("productpage-v1"), CLIENTS, false, move || {
        Client::new(&reviews, "reviews:9080", "/reviews/0", &[])
    });
    load.more(100);
    load
}

/// Kills the sidecar of a pod and waits until another is in its place and ready.
fn kill_sidecar(mesh: &Mesh, pod: &str) {
    let before = mesh.pod(pod)["proxy_pid"].clone();
    kill(&before);
    wait::until("the sidecar is back", BACK, || {
        let pod = mesh.pod(pod);
        pod["ready"] == true && pod["proxy_pid"].is_u64() && pod["proxy_pid"] != before
    });
}

#[test]
fn nothing_fails_but_what_was_in_flight_on_what_was_killed() {
    let mesh = Mesh::bookinfo();
    let steady = load(&mesh);
    kill_part(&mesh, "control_plane");
    mesh.settled();
    steady.more(100);
    kill_part(&mesh, "identity");
    steady.more(100);
    steady.stop().assert_whole();

    mesh.ok(&["system", "stop", "control-plane"]);
    let steady = load(&mesh);
    kill_sidecar(&mesh, "reviews-v1");
    steady.more(500);
    let report = steady.stop();
    println!(
        "{} requests; failed while a server's sidecar was killed: {:?}",
        report.ok, report.failed
    );
    // Each client has one request in flight at the most.
    assert!(
        report.failed.len() <= CLIENTS,
        "failed: {:?}",
        report.failed
    );

    // The clients' own sidecar: what was in flight is lost, and nobody listens until it is back.
    let steady = load(&mesh);
    kill_sidecar(&mesh, "productpage-v1");
    steady.more(500);
    let report = steady.stop();
    let gap = report
        .failed
        .iter()
        .map(|(at, _)| *at)
        .max()
        .unwrap_or_else(Instant::now)
        - report
            .failed
            .iter()
            .map(|(at, _)| *at)
            .min()
            .unwrap_or_else(Instant::now);
    println!(
        "{} requests; {} failed, all within {gap:?}, while the clients' own sidecar was killed",
        report.ok,
        report.failed.len()
    );
    for (_, why) in &report.failed {
        let connection = ["refused", "reset", "end of file", "fill whole buffer"];
        assert!(
            connection.iter().any(|c| why.contains(c)),
            "failed otherwise: {why}"
        );
    }

    mesh.ok(&["system", "start", "control-plane"]);
    mesh.settled();
}
