//! What is killed is not missed: the control plane, the identity service, and a sidecar while the
//! control plane is away.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

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

#[test]
fn nothing_fails_but_what_was_in_flight_on_what_was_killed() {
    let mesh = Mesh::bookinfo();
    let reviews = format!("{}:9080", mesh.service_ip("reviews"));
    let load = Load::start(&mesh.netns("productpage-v1"), CLIENTS, false, move || {
        Client::new(&reviews, "reviews:9080", "/reviews/0", &[])
    });
    kill_part(&mesh, "control_plane");
    mesh.settled();
    kill_part(&mesh, "identity");
    let report = load.stop();
    report.assert_whole();

    mesh.ok(&["system", "stop", "control-plane"]);
    let reviews = format!("{}:9080", mesh.service_ip("reviews"));
    let load = Load::start(&mesh.netns("productpage-v1"), CLIENTS, false, move || {
        Client::new(&reviews, "reviews:9080", "/reviews/0", &[])
    });
    let before = mesh.pod("reviews-v1")["proxy_pid"].clone();
    kill(&before);
    wait::until("the sidecar is back, without a control plane", BACK, || {
        let pod = mesh.pod("reviews-v1");
        pod["ready"] == true && pod["proxy_pid"].is_u64() && pod["proxy_pid"] != before
    });
    // The restarted sidecar's own pod calls out, by what was kept. (v2 asks ratings.)
    let answer = mesh.exec(
        "reviews-v1",
        &[
            "curl",
            "-sS",
            "--max-time",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://127.0.0.1:9080/health",
        ],
    );
    assert_eq!(answer, "200");
    let report = load.stop();
    println!(
        "{} requests; failed while a sidecar was killed: {:?}",
        report.ok, report.failed
    );
    // Each client has one request in flight at the most.
    assert!(
        report.failed.len() <= CLIENTS,
        "failed: {:?}",
        report.failed
    );
    assert!(report.ok > 0);

    mesh.ok(&["system", "start", "control-plane"]);
    mesh.settled();
}
