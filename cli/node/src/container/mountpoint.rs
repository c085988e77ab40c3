//! Finds or makes the place a volume is mounted at, without writing to this machine's file systems.
//!
//! A mount path need not exist here as it would in an image. Below /run, which is the container's own,
//! and inside volumes it is simply made. Anywhere else its nearest existing ancestor is shadowed: a
//! memory file system with the same entries bound into it takes its place, and there it is made.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

use crate::NodeError;

/// As many as the kernel follows.
const LINKS: usize = 40;
const STAGE: &str = "/run/.shadow";

/// A path with its links followed, split where it stops existing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Links followed; exists.
    pub(crate) existing: PathBuf,
    /// What is left below it.
    pub(crate) missing: PathBuf,
}

/// Makes sure that `target` exists and is of the same kind as what will be mounted on it; returns
/// it with its links followed. Paths below one of `writable` may be made in place.
pub(crate) fn prepare(
    target: &Path,
    directory: bool,
    writable: &[PathBuf],
) -> Result<PathBuf, NodeError> {
    let Resolved { existing, missing } = resolve(target)?;
    if missing.as_os_str().is_empty() {
        if existing.is_dir() != directory {
            let (volume, there) = if directory {
                ("directory", "file")
            } else {
                ("file", "directory")
            };
            let reason = format!("the volume is a {volume} and this machine has a {there} there");
            return Err(NodeError::spec(
                format!("mount path {}", target.display()),
                reason,
            ));
        }
        return Ok(existing);
    }
    if !writable.iter().any(|root| existing.starts_with(root)) {
        shadow(&existing)?;
    }
    let point = existing.join(missing);
    let make = || {
        if directory {
            return fs::create_dir_all(&point);
        }
        if let Some(parent) = point.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&point, "")
    };
    make().map_err(NodeError::file("make the mount point", &point))?;
    Ok(point)
}

/// Follows every link, as the kernel would, up to where the path stops existing.
pub(crate) fn resolve(path: &Path) -> Result<Resolved, NodeError> {
    let mut left: VecDeque<OsString> = parts(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part.as_bytes() == b".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(meta) if meta.is_symlink() => {
                links += 1;
                if links > LINKS {
                    let error = io::Error::from_raw_os_error(nix::libc::ELOOP);
                    return Err(NodeError::file("follow the links of", path)(error));
                }
                let link = fs::read_link(&next).map_err(NodeError::file("read the link", &next))?;
                if link.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&link).into_iter().rev() {
                    left.push_front(part);
                }
            }
            Ok(_) => here = next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                left.push_front(part);
                let missing = left.into_iter().filter(|p| p.as_bytes() != b"..").collect();
                return Ok(Resolved {
                    existing: here,
                    missing,
                });
            }
            Err(error) => return Err(NodeError::file("look at", next)(error)),
        }
    }
    Ok(Resolved {
        existing: here,
        missing: PathBuf::new(),
    })
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// Puts a memory file system with the same entries in the place of a directory.
fn shadow(dir: &Path) -> Result<(), NodeError> {
    let stage = Path::new(STAGE);
    fs::create_dir_all(stage).map_err(NodeError::file("make", stage))?;
    let mode = fs::metadata(dir).map_or(0o755, |meta| meta.permissions().mode() & 0o7777);
    let options = format!("mode={mode:o},size=1m");
    mount(
        Some("tmpfs"),
        stage,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|errno| NodeError::file("mount memory on", stage)(errno.into()))?;
    for entry in fs::read_dir(dir)
        .map_err(NodeError::file("list", dir))?
        .flatten()
    {
        let (from, to) = (entry.path(), stage.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let made = if kind.is_symlink() {
            fs::read_link(&from).and_then(|link| std::os::unix::fs::symlink(link, &to))
        } else {
            let made = if kind.is_dir() {
                fs::create_dir(&to)
            } else {
                fs::write(&to, "")
            };
            made.and_then(|()| Ok(bind(&from, &to)?))
        };
        made.map_err(NodeError::file("show in the container", from))?;
    }
    if dir == Path::new("/") {
        become_root(stage)
    } else {
        replace(stage, dir)
    }
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
}

fn replace(stage: &Path, dir: &Path) -> Result<(), NodeError> {
    mount(
        Some(stage),
        dir,
        None::<&str>,
        MsFlags::MS_MOVE,
        None::<&str>,
    )
    .map_err(|errno| NodeError::file("shadow", dir)(errno.into()))
}

fn become_root(stage: &Path) -> Result<(), NodeError> {
    let change = || {
        chdir(stage)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        // The new /run was bound from the old one and holds a copy of the stage itself.
        umount2(STAGE, MntFlags::MNT_DETACH)
    };
    change().map_err(|errno| NodeError::file("shadow", "/")(errno.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn links_are_followed_even_where_they_point_at_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("relative")).unwrap();
        std::os::unix::fs::symlink(root.join("gone"), root.join("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let resolved = |path: &str| resolve(&root.join(path));
        let there = |existing: &str, missing: &str| Resolved {
            existing: root.join(existing),
            missing: missing.into(),
        };
        assert_eq!(resolved("relative/a/b").unwrap(), there("real", "a/b"));
        assert_eq!(resolved("real/../relative").unwrap(), there("real", ""));
        assert_eq!(resolved("dangling/x").unwrap().missing, Path::new("gone/x"));
        let error = resolved("loop").unwrap_err().chain();
        assert!(error.contains("loop"), "{error}");
    }
}
