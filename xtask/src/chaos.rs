//! `cargo xtask chaos` and `cargo xtask soak`: build the mesh and its load, then let them meet.

use std::path::PathBuf;
use std::process::Command;

use crate::install::{self, ensure};
use crate::run::{Result, binaries, cargo, quietly, step};

/// Flags of both.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build nothing: the programs are in this directory
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Passed on: see `-- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The mesh, the application and the load.
const PACKAGES: &[&str] = &[
    "heddle-cli",
    "heddle-control",
    "heddle-identity-server",
    "heddle-injector",
    "heddle-proxy",
    "heddle-tests",
];

/// Runs a task of heddle-chaos.
pub(crate) fn chaos(task: &str, args: &Args) -> Result<()> {
    if !install::is_root() {
        return Err(format!(
            "a mesh on one machine makes network namespaces and programs iptables inside them, which \
             needs root: run `sudo -E cargo xtask {task}`"
        ));
    }
    ensure(install::MESH)?;
    ensure(install::CHAOS)?;
    let programs = match &args.bin_dir {
        Some(dir) => dir.clone(),
        None => {
            let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
            step(
                "Building (release)",
                cargo()
                    .args(["build", "--release", "--locked", "--bins"])
                    .args(packages),
            )?;
            binaries("release")
        }
    };
    quietly(
        Command::new(programs.join("heddle-chaos"))
            .arg(task)
            .args(&args.args),
    )
}
