//! Programs that come from PyPI, installed below target/ for this repository alone.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::install;
use crate::run::{Result, quietly};

/// What was installed is written here when all of it was.
const DONE: &str = "installed.txt";

/// Makes sure that the environment in `dir` has exactly these requirements of pip, and no others of an
/// earlier time. `python` is the interpreter that it will run.
pub(crate) fn ensure(dir: &Path, python: &str, requirements: &[&str]) -> Result<()> {
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(dir.join(DONE)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!(
        "==> Installing {} (PyPI) in {}",
        requirements.join(", "),
        dir.display()
    );
    // Debian has the module that makes a usable environment in a package of its own.
    let usable = Command::new(python)
        .args(["-c", "import ensurepip"])
        .stderr(Stdio::null())
        .status();
    if !usable.is_ok_and(|status| status.success()) {
        install::install(&["python3-venv"])?;
    }
    quietly(
        Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(dir),
    )?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    quietly(
        Command::new(dir.join("bin/python3"))
            .args(pip)
            .args(requirements),
    )?;
    let done = dir.join(DONE);
    std::fs::write(&done, wanted).map_err(|e| format!("cannot write {}: {e}", done.display()))
}
