//! A container's view of the file system: this machine's, with its own /run, volumes and names.
//!
//! Nothing made here is seen outside: the mount namespace is the container's own and private. All
//! sources are taken hold of before /run is hidden, so their paths may lie in it.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{
    BIN_DIR, mountpoint,
    spec::{MountSpec, View},
};
use crate::{NodeError, destroy::unescape};

/// File systems of the kernel, and what the container is meant to write to.
const NEVER_READ_ONLY: [&str; 4] = ["/proc", "/dev", "/sys", "/run"];

/// A source taken hold of, free of any path.
struct Held {
    tree: OwnedFd,
    directory: bool,
    spec: MountSpec,
}

/// Builds the view in this process's own mount namespace.
pub(crate) fn build(view: &View) -> Result<(), NodeError> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(NodeError::system("cannot make the mounts private"))?;
    let mut held = Vec::new();
    for spec in names(view).into_iter().chain(volumes(view)) {
        held.push(hold(spec)?);
    }
    own_run()?;
    own_sys();
    let mut writable = vec![PathBuf::from("/run")];
    let mut points = Vec::new();
    for held in held {
        let point = mountpoint::prepare(&held.spec.target, held.directory, &writable)?;
        attach(&held, &point)?;
        if !held.spec.read_only {
            writable.push(point.clone());
        }
        points.push(point);
    }
    if view.read_only_root {
        read_only_but(&points)
    } else {
        Ok(())
    }
}

/// The files that name the pod; a machine without /etc/hostname needs none in its pods.
fn names(view: &View) -> Vec<MountSpec> {
    let bin = MountSpec {
        source: view.bin_dir.clone(),
        target: BIN_DIR.into(),
        read_only: true,
    };
    let files = ["resolv.conf", "hosts", "hostname"].into_iter();
    files
        .map(|file| (view.etc.join(file), Path::new("/etc").join(file)))
        .filter(|(_, target)| target.exists() || target.ends_with("resolv.conf"))
        .map(|(source, target)| MountSpec {
            source,
            target,
            read_only: false,
        })
        .chain([bin])
        .collect()
}

/// Outer volumes first, so that one may be mounted inside another.
fn volumes(view: &View) -> Vec<MountSpec> {
    let mut volumes = view.mounts.clone();
    volumes.sort_by_key(|mount| mount.target.components().count());
    volumes
}

fn hold(spec: MountSpec) -> Result<Held, NodeError> {
    let directory = fs::metadata(&spec.source)
        .map_err(NodeError::file("find what is to be mounted,", &spec.source))?
        .is_dir();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &spec.source, flags)
        .map_err(|errno| NodeError::file("take hold of", &spec.source)(errno.into()))?;
    Ok(Held {
        tree,
        directory,
        spec,
    })
}

fn attach(held: &Held, point: &Path) -> Result<(), NodeError> {
    let failed = |errno: std::io::Error| NodeError::file("mount a volume on", point)(errno);
    move_mount(
        &held.tree,
        "",
        CWD,
        point,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|errno| failed(errno.into()))?;
    if held.spec.read_only {
        remount_read_only(point).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

/// /var/run is a link to /run, so this is also where a pod's secrets are mounted.
fn own_run() -> Result<(), NodeError> {
    let run = Path::new("/run");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        run,
        Some("tmpfs"),
        flags,
        Some("mode=755,size=16m"),
    )
    .map_err(|errno| NodeError::file("mount memory on", run)(errno.into()))?;
    let lock = run.join("lock");
    fs::create_dir(&lock)
        .and_then(|()| fs::set_permissions(&lock, fs::Permissions::from_mode(0o1777)))
        .map_err(NodeError::file("make", &lock))
}

/// /sys/class/net is that of the namespace in which sysfs was mounted. Without it (a machine that
/// forbids the mount) the container sees the machine's, which harms nothing.
fn own_sys() {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let stage = Path::new("/run/.sys");
    if fs::create_dir(stage).is_err() {
        return;
    }
    if mount(Some("sysfs"), stage, Some("sysfs"), flags, None::<&str>).is_ok() {
        let moved = mount(
            Some(stage),
            "/sys",
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        );
        if moved.is_err() {
            let _ = umount2(stage, MntFlags::MNT_DETACH);
        }
    }
    let _ = fs::remove_dir(stage);
}

fn read_only_but(points: &[PathBuf]) -> Result<(), NodeError> {
    let table = "/proc/self/mountinfo";
    let text = fs::read_to_string(table).map_err(NodeError::file("read", table))?;
    let mut mounts: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| Some(unescape(line.split(' ').nth(4)?).into()))
        .collect();
    mounts.dedup();
    let kept = |path: &Path| {
        points.iter().any(|point| path.starts_with(point))
            || NEVER_READ_ONLY.iter().any(|dir| path.starts_with(dir))
    };
    for path in mounts.iter().filter(|path| !kept(path)) {
        match remount_read_only(path) {
            // Hidden below another mount: nobody can write to it.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(NodeError::file("make read-only", path)(errno.into())),
        }
    }
    Ok(())
}

fn remount_read_only(path: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
}
