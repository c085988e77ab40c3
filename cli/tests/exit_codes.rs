//! What a script is told by the exit code of commands that ask a cluster: 2 where none could be asked, so
//! that it is not taken for a bad answer.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

const COMMANDS: [&[&str]; 4] = [
    &["check", "--cluster"],
    &[
        "explain",
        "--cluster",
        "--from",
        "default/web",
        "http://cart/",
    ],
    &[
        "what-if",
        "--cluster",
        "--from-traces",
        "traces.json",
        "-f",
        "routes.yaml",
    ],
    &["install", "--crds", "missing"],
];

fn asked(arguments: &[&str], kubeconfig: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    // Of a pod, if this is one.
    command.env_remove("KUBERNETES_SERVICE_HOST");
    command.output().unwrap()
}

#[test]
fn a_cluster_that_cannot_be_asked_is_no_bad_answer() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("none");
    // Nobody listens at port 1, and whoever might speaks no TLS.
    let silent = dir.path().join("silent");
    std::fs::write(
        &silent,
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n\
         contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: t}}]\n",
    )
    .unwrap();
    for arguments in COMMANDS {
        for kubeconfig in [&nowhere, &silent] {
            let output = asked(arguments, kubeconfig);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(said.starts_with("error: "), "{arguments:?}: {said}");
        }
    }
}
