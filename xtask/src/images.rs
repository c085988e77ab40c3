//! The images: for each a root file system of one binary, the loader and libraries that it is linked
//! to, and (the sidecar's) the iptables of this machine; then `buildah` by deploy/images.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, output, quietly, root, step, target};
use crate::shipped;

/// Image names, which are also those of the Containerfiles and, with `heddle-`, of the binaries.
const IMAGES: [&str; 4] = ["proxy", "identity", "control", "injector"];
/// Their crates.
const CRATES: [&str; 4] = [
    "heddle-proxy",
    "heddle-identity-server",
    "heddle-control",
    "heddle-injector-server",
];
/// Both back ends: which one a node uses shows only there.
const IPTABLES: [&str; 2] = ["xtables-nft-multi", "xtables-legacy-multi"];
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory with the binaries; without it they are built as they are shipped
    #[arg(long, value_name = "DIR")]
    bins: Option<PathBuf>,
    /// What comes before the images' names
    #[arg(long, default_value = "heddle", value_name = "PREFIX")]
    registry: String,
    /// Tag
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"), value_name = "TAG")]
    tag: String,
    /// Only these images; may be repeated
    #[arg(long, value_name = "IMAGE", value_parser = IMAGES)]
    only: Vec<String>,
    /// Where the root file systems are put together
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

pub(crate) fn images(args: &Args) -> Result<()> {
    let bins = match &args.bins {
        Some(bins) => bins.clone(),
        None => {
            shipped::build(&CRATES)?;
            target().join("dist")
        }
    };
    let work = args
        .work_dir
        .clone()
        .unwrap_or_else(|| target().join("images"));
    for image in IMAGES {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == image) {
            continue;
        }
        let context = work.join(image);
        assemble(image, &bins, &context.join("rootfs"))?;
        let name = format!("{}/{image}:{}", args.registry, args.tag);
        let file = root().join(format!("deploy/images/{image}.Containerfile"));
        step(
            &format!("Image {name}"),
            Command::new("buildah")
                .args(["bud", "--quiet", "--isolation", "chroot", "--tag", &name])
                .arg("--file")
                .args([&file, &context]),
        )?;
    }
    Ok(())
}

fn assemble(image: &str, bins: &Path, rootfs: &Path) -> Result<()> {
    if rootfs.exists() {
        fs::remove_dir_all(rootfs).map_err(|error| cannot("remove", rootfs, &error))?;
    }
    let name = format!("heddle-{image}");
    let binary = rootfs.join("usr/bin").join(&name);
    let mut linked = BTreeSet::new();
    copy(&bins.join(&name), &binary)?;
    // Symbols are half of an unoptimised binary; strip comes with the compiler.
    quietly(Command::new("strip").arg(&binary))?;
    libraries(&bins.join(&name), &mut linked)?;
    if image == "proxy" {
        iptables(rootfs, &mut linked)?;
        // For TLS to servers outside the mesh.
        if Path::new(ROOTS).exists() {
            copy(Path::new(ROOTS), &within(rootfs, Path::new(ROOTS)))?;
        }
    }
    for library in linked {
        copy(&library, &within(rootfs, &library))?;
    }
    let user = if image == "proxy" { 1337 } else { 65532 };
    for (path, text) in [
        ("etc/passwd", format!("heddle:x:{user}:{user}::/:/\n")),
        ("etc/group", format!("heddle:x:{user}:\n")),
        ("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
    ] {
        write(&rootfs.join(path), &text)?;
    }
    for directory in ["run", "tmp", "proc", "sys", "dev"] {
        make(&rootfs.join(directory))?;
    }
    Ok(())
}

/// Both back ends under the names that they go by, and their modules.
fn iptables(rootfs: &Path, linked: &mut BTreeSet<PathBuf>) -> Result<()> {
    for program in IPTABLES {
        let source = Path::new("/usr/sbin").join(program);
        libraries(&source, linked)?;
        copy(&source, &within(rootfs, &source))?;
        let back_end = program
            .trim_start_matches("xtables-")
            .trim_end_matches("-multi");
        for family in ["iptables", "ip6tables"] {
            for action in ["", "-save", "-restore"] {
                let link = rootfs.join(format!("usr/sbin/{family}-{back_end}{action}"));
                symlink(program, &link).map_err(|error| cannot("link", &link, &error))?;
            }
        }
    }
    let modules = modules()?;
    for entry in fs::read_dir(&modules).map_err(|error| cannot("read", &modules, &error))? {
        let module = entry
            .map_err(|error| cannot("read", &modules, &error))?
            .path();
        if module
            .extension()
            .is_some_and(|extension| extension == "so")
        {
            copy(&module, &within(rootfs, &module))?;
        }
    }
    Ok(())
}

/// Where iptables looks for its modules: beside the library that loads them.
fn modules() -> Result<PathBuf> {
    let mut linked = BTreeSet::new();
    libraries(&Path::new("/usr/sbin").join(IPTABLES[0]), &mut linked)?;
    linked
        .iter()
        .filter_map(|library| library.parent())
        .map(|folder| Path::new("/usr").join(folder.strip_prefix("/").unwrap_or(folder)))
        .flat_map(|folder| {
            let plain = folder
                .strip_prefix("/usr/usr")
                .map(|rest| Path::new("/usr").join(rest));
            [
                folder.join("xtables"),
                plain.unwrap_or(folder).join("xtables"),
            ]
        })
        .find(|folder| folder.is_dir())
        .ok_or_else(|| {
            "iptables' modules (xtables/*.so) are nowhere beside its libraries".to_owned()
        })
}

/// The loader and the libraries that `program` is linked to.
fn libraries(program: &Path, linked: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !program.exists() {
        return Err(format!("{} is not there", program.display()));
    }
    let listed = output(Command::new("ldd").arg(program))?;
    let paths = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    linked.extend(paths);
    Ok(())
}

fn within(rootfs: &Path, path: &Path) -> PathBuf {
    rootfs.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make(to.parent().unwrap_or(to))?;
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot("copy", from, &error)),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    make(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| cannot("make", directory, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}
