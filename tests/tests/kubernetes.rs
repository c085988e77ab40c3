//! The installation in a real control plane of Kubernetes, where its programs are given: HEDDLE_ETCD,
//! HEDDLE_KUBE_APISERVER, HEDDLE_KUBE_CONTROLLER_MANAGER, and HEDDLE_KUBECTL unless kubectl is in PATH. Without
//! them it is said loudly, past the capture of output, that nothing was tried. What is done is told in
//! `programs/kubernetes/trial.py`; it runs in namespaces of its own, which end with it.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use heddle_tests::mesh::{binary, text};

const NEEDED: [&str; 3] = [
    "HEDDLE_ETCD",
    "HEDDLE_KUBE_APISERVER",
    "HEDDLE_KUBE_CONTROLLER_MANAGER",
];

#[test]
fn a_real_control_plane_takes_the_installation_injects_and_lets_it_go() {
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|name| std::env::var_os(name).is_none())
        .collect();
    if !missing.is_empty() {
        // Not eprintln!, which a passing test keeps to itself.
        let said = format!(
            "\n*** NOT TESTED: the installation in a real control plane of Kubernetes. To try it, say where\n\
             *** the programs are: {} (docs/kubernetes.md)\n\n",
            missing.join(", ")
        );
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let trial = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/kubernetes/trial.py");
    let output = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "/usr/bin/python3",
        ])
        .args([trial.as_path(), directory.path()])
        .env(
            "HEDDLE_PROGRAMS",
            Path::new(&binary("heddle")).parent().unwrap(),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("the trial is passed"),
        "{said}"
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}
