//! What is shipped: profile `dist`, and the sidecar laid out by what it does under load. That is
//! recorded in `proxy/profile.profdata`, which `cargo xtask profile` makes. It speaks of one compiler's
//! functions: another one, or another machine's, builds without it, and that is said. Functions that have
//! changed since are compiled as if there were none, so that it is made anew before each release.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, binaries, cargo, output, root, step, target};

/// The package and program that has a profile.
const SIDECAR: &str = "heddle-proxy";
/// All that is shipped.
pub(crate) const PACKAGES: &[&str] = &[
    SIDECAR,
    "heddle-identity-server",
    "heddle-control",
    "heddle-injector-server",
    "heddle-cli",
];
/// With the profile: functions that are run lie together, equal ones are one (rustc's own linker knows
/// how), and what is run seldom is made small: without the last two the program is 11 MiB.
const LAYOUT: &[&str] = &[
    "-Clink-arg=-Wl,-z,keep-text-section-prefix",
    "-Clink-arg=-Wl,--icf=all",
    "-Cllvm-args=-hot-callsite-threshold=1000",
    "-Cllvm-args=-pgso-lwss-only=false",
];

/// Builds packages as they are shipped; their programs are in `target/dist`.
pub(crate) fn build(packages: &[&str]) -> Result<()> {
    let (sidecar, others): (Vec<&str>, Vec<&str>) = packages.iter().partition(|p| **p == SIDECAR);
    if !others.is_empty() {
        let others = others.iter().flat_map(|package| ["--package", package]);
        step(
            "Building what is shipped (profile dist)",
            dist().args(others),
        )?;
    }
    if !sidecar.is_empty() {
        let compiler = Compiler::of_now()?;
        let built = match recorded_by()? {
            made if made == compiler.name => with_profile(&compiler)?,
            made => {
                println!(
                    "==> {} was made by {made} and says nothing to {}: the sidecar is built without it and \
                     takes more CPU. `cargo xtask profile` makes it anew.",
                    profile().display(),
                    compiler.name
                );
                compile(&compiler, "Building the sidecar (profile dist)", &[])?
            }
        };
        place(&built, &binaries("dist"))?;
    }
    Ok(())
}

/// What it does under load, as the compiler reads it.
pub(crate) fn profile() -> PathBuf {
    root().join("proxy/profile.profdata")
}

/// Which compiler's sidecar it is of.
pub(crate) fn recorded() -> PathBuf {
    root().join("proxy/profile.compiler")
}

fn recorded_by() -> Result<String> {
    let file = recorded();
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn with_profile(compiler: &Compiler) -> Result<PathBuf> {
    let mut flags = vec![format!("-Cprofile-use={}", named()?.display())];
    flags.extend(LAYOUT.iter().map(ToString::to_string));
    compile(
        compiler,
        "Building the sidecar (profile dist, laid out by proxy/profile.profdata)",
        &flags,
    )
}

/// A copy of the profile that is called by what is in it: cargo compiles anew what has other flags, and does
/// not look into files that they name.
fn named() -> Result<PathBuf> {
    let said = |e: std::io::Error| format!("{}: {e}", profile().display());
    let bytes = fs::read(profile()).map_err(said)?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let copy = target().join(format!("profile/{:016x}.profdata", hasher.finish()));
    fs::create_dir_all(target().join("profile"))
        .and_then(|()| fs::write(&copy, bytes))
        .map_err(said)?;
    std::path::absolute(copy).map_err(said)
}

/// Builds the sidecar with more of the compiler's flags; where its program is.
pub(crate) fn compile(compiler: &Compiler, what: &str, flags: &[String]) -> Result<PathBuf> {
    // Named, the target keeps the flags from build scripts and macros.
    let mut build = dist();
    build.args(["--package", SIDECAR, "--target", &compiler.host]);
    if !flags.is_empty() {
        // Not divided at spaces, as RUSTFLAGS would be.
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    }
    step(what, &mut build)?;
    Ok(target().join(&compiler.host).join("dist").join(SIDECAR))
}

fn dist() -> Command {
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--locked"]);
    build
}

/// Puts a program into a directory, in one step: a running one is not written to.
pub(crate) fn place(program: &Path, dir: &Path) -> Result<()> {
    let name = program.file_name().unwrap_or_default();
    let (new, old) = (dir.join(format!(".{}.new", name.display())), dir.join(name));
    fs::create_dir_all(dir)
        .and_then(|()| fs::copy(program, &new))
        .and_then(|_| fs::rename(&new, &old))
        .map_err(|e| {
            format!(
                "cannot copy {} to {}: {e}",
                program.display(),
                old.display()
            )
        })
}

/// The compiler that cargo uses.
pub(crate) struct Compiler {
    /// With what it builds for, such as `rustc 1.95.0 (59807616e 2026-04-14), x86_64-unknown-linux-gnu`.
    pub(crate) name: String,
    /// What it builds for if nobody says otherwise.
    pub(crate) host: String,
    /// The major version of the LLVM in it.
    pub(crate) llvm: String,
    sysroot: PathBuf,
}

impl Compiler {
    pub(crate) fn of_now() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = output(Command::new(&rustc).arg("-vV"))?;
        let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
                .ok_or_else(|| format!("`rustc -vV` does not say its {name:?}"))
        };
        let llvm = field("LLVM version:")?;
        let host = field("host:")?;
        Ok(Self {
            name: format!("{}, {host}", said.lines().next().unwrap_or_default()),
            host,
            llvm: llvm.split('.').next().unwrap_or_default().to_owned(),
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    /// Where a tool of its LLVM may be: rustup's component llvm-tools, or the distribution's package.
    pub(crate) fn tool(&self, name: &str) -> [PathBuf; 2] {
        [
            self.sysroot
                .join(format!("lib/rustlib/{}/bin/{name}", self.host)),
            PathBuf::from(format!("/usr/lib/llvm-{}/bin/{name}", self.llvm)),
        ]
    }
}
