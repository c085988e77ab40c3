//! `cargo xtask profile`: records what the sidecar does under load, for `shipped` to lay it out by. A
//! sidecar that counts what it executes carries the comparison's loads; only counts are kept, no times,
//! so that a busy machine does not matter.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::install::{self, ensure};
use crate::run::{Result, binaries, step, target};
use crate::shipped::{self, Compiler};

/// Everything that comes often: requests of each protocol, streams, new connections, bytes, spans.
const LOADS: &str = "http1,http2,grpc-unary,grpc-streams,connections,tcp,tracing";
/// What the loads need besides the sidecar.
const PACKAGES: &[&str] = &[
    "heddle-control",
    "heddle-identity-server",
    "heddle-bench",
    "heddle-bench-relay",
];
/// The programs of those that stand beside the sidecar.
const BESIDE: &[&str] = &["heddle-control", "heddle-identity", "heddle-bench-relay"];

/// Builds, runs the loads, and writes the profile and which compiler it is of.
pub(crate) fn profile() -> Result<()> {
    if !install::is_root() {
        return Err(
            "the loads run in network namespaces with iptables, which needs root: \
             run `sudo -E cargo xtask profile`"
                .into(),
        );
    }
    ensure(install::MESH)?;
    ensure(install::BENCH)?;
    crate::bench::install_envoy()?;
    let compiler = Compiler::of_now()?;
    let merge = merger(&compiler)?;
    shipped::build(PACKAGES)?;

    let counts = Counts::new()?;
    let programs = std::path::absolute(target().join("profile"))
        .map_err(|e| format!("{}: {e}", target().display()))?;
    // Where it writes when nobody says so. Always the same, or everything would be compiled anew each time.
    let flags = [format!(
        "-Cprofile-generate={}",
        programs.join("by-itself").display()
    )];
    let sidecar = shipped::compile(&compiler, "Building a sidecar that counts", &flags)?;
    shipped::place(&sidecar, &programs)?;
    for program in BESIDE {
        shipped::place(&binaries("dist").join(program), &programs)?;
    }
    step(
        "Loads",
        Command::new(binaries("dist").join("heddle-bench"))
            .args(["--peer", "heddle", "--case", LOADS, "--once"])
            .args(["--rounds", "1", "--seconds", "2", "--connections", "1,16"])
            .arg("--bin-dir")
            .arg(&programs)
            .env("LLVM_PROFILE_FILE", counts.0.join("%p.profraw")),
    )?;
    step(
        "Writing proxy/profile.profdata",
        Command::new(merge)
            .args(["merge", "--output"])
            .arg(shipped::profile())
            .args(counts.files()?),
    )?;
    let file = shipped::recorded();
    fs::write(&file, format!("{}\n", compiler.name)).map_err(|e| format!("{}: {e}", file.display()))
}

/// The program that adds counts up; its LLVM must be the compiler's.
fn merger(compiler: &Compiler) -> Result<PathBuf> {
    const NAME: &str = "llvm-profdata";
    let places = compiler.tool(NAME);
    let found = || places.iter().find(|place| place.is_file()).cloned();
    if let Some(found) = found() {
        return Ok(found);
    }
    install::install(&[&format!("llvm-{}", compiler.llvm)])?;
    found().ok_or_else(|| {
        format!(
            "{NAME} of LLVM {} is missing: run `rustup component add llvm-tools`",
            compiler.llvm
        )
    })
}

/// A directory that sidecars may write to whoever they run as; gone with this.
struct Counts(PathBuf);

impl Counts {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("heddle-profile-{}", std::process::id()));
        let made = fs::create_dir(&dir)
            // As /tmp itself: everybody writes, nobody touches another's.
            .and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)));
        made.map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self(dir))
    }

    /// What was counted. A process that was killed leaves an empty file.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let said = |e: std::io::Error| format!("{}: {e}", self.0.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(said)? {
            let entry = entry.map_err(said)?;
            let counted = entry.metadata().map_err(said)?.len() > 0;
            if counted && entry.path().extension() == Some("profraw".as_ref()) {
                files.push(entry.path());
            }
        }
        match files.is_empty() {
            false => Ok(files),
            true => Err(format!(
                "no sidecar wrote its counts to {}: each was killed before it had ended by itself; run it again on a \
                 machine that is less busy",
                self.0.display()
            )),
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
