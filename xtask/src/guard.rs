//! `cargo xtask guard`: how many instructions a request costs the sidecar as it is optimised,
//! compared with the committed figures in `proxy/instructions.toml`.

use std::path::PathBuf;
use std::process::Command;

use crate::install::{self, ensure};
use crate::run::{Result, binaries, cargo, output, step};

/// Flags of the guard.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Commit to the figures of now: write them to proxy/instructions.toml
    #[arg(long)]
    update: bool,
    /// Keep callgrind's profiles in this directory, for callgrind_annotate
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
}

const TEST: &str = "instructions::a_request_costs_what_was_committed";

/// Builds the sidecar and counts.
pub(crate) fn guard(args: &Args) -> Result<()> {
    if !install::is_root() {
        return Err(
            "the sidecar is measured behind real redirects, in network namespaces, which needs root: \
             run `sudo -E cargo xtask guard`"
                .into(),
        );
    }
    ensure(install::MESH)?;
    ensure(install::GUARD)?;
    // Not as it is shipped: linking that takes minutes, and it is the change that counts.
    step(
        "Building the sidecar (release)",
        cargo().args(["build", "--release", "--locked", "--package=heddle-proxy"]),
    )?;
    let mut test = cargo();
    test.args([
        "test",
        "--locked",
        "--package=heddle-proxy",
        "--test=mesh",
        "--",
    ])
    .args(["--ignored", "--exact", "--nocapture", TEST])
    .env(
        "HEDDLE_TEST_PROGRAM",
        binaries("release").join("heddle-proxy"),
    );
    if args.update {
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiler = output(Command::new(compiler).arg("--version"))?;
        test.env("HEDDLE_GUARD_UPDATE", compiler.trim());
    }
    if let Some(dir) = &args.profiles {
        let dir = std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        test.env("HEDDLE_GUARD_PROFILES", dir);
    }
    step("Instructions for a request", &mut test)
}
