//! The installation in a real control plane of Kubernetes, whose programs are given by HEDDLE_ETCD,
//! HEDDLE_KUBE_APISERVER, HEDDLE_KUBE_CONTROLLER_MANAGER, and HEDDLE_KUBECTL unless kubectl is in PATH.
//! They are too big to be built for every run of the tests, so it is run by hand. What is done is told in
//! `programs/kubernetes/trial.py`; it runs in namespaces of its own, which end with it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use heddle_tests::mesh::{binary, text};

const NEEDED: [&str; 3] = [
    "HEDDLE_ETCD",
    "HEDDLE_KUBE_APISERVER",
    "HEDDLE_KUBE_CONTROLLER_MANAGER",
];

#[test]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager (docs/kubernetes.md)"]
fn a_real_control_plane_takes_the_installation_injects_and_lets_it_go() {
    for name in NEEDED {
        let program = std::env::var_os(name);
        let program = program.unwrap_or_else(|| panic!("say in {name} where its program is"));
        assert!(
            Path::new(&program).is_file(),
            "{name}: {program:?} is no file"
        );
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
    println!("{said}");
}
