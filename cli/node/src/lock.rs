//! The lock that serialises making and taking away meshes on one machine.
//!
//! A file beside the state directories, held with flock(2), so that it is free again whatever
//! becomes of its holder. Whoever takes away the last mesh removes it too; a waiter that then holds
//! a removed file notices and begins again.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{NodeError, layout::STATE_ROOT};

/// Held while the set of meshes changes.
#[derive(Debug)]
pub(crate) struct MeshLock {
    _file: Flock<File>,
}

impl MeshLock {
    /// Waits for the lock. Holders only run a few commands, so nobody holds it for long.
    pub(crate) fn take() -> Result<Self, NodeError> {
        let path = lock_path();
        loop {
            fs::create_dir_all(STATE_ROOT).map_err(NodeError::file("make", STATE_ROOT))?;
            let opened = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path);
            let file = match opened {
                // Removed between the two calls by who took the last mesh away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(NodeError::file("open", &path))?,
            };
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| NodeError::file("lock", &path)(errno.into()))?;
            if is_current(&file, &path) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Removes the state root when no mesh is left.
    pub(crate) fn release_last(self) {
        let meshes = fs::read_dir(STATE_ROOT).map_or(1, |d| d.flatten().count());
        if meshes <= 1 {
            let _ = fs::remove_file(lock_path());
            let _ = fs::remove_dir(STATE_ROOT);
        }
    }
}

fn lock_path() -> PathBuf {
    Path::new(STATE_ROOT).join(".lock")
}

fn is_current(file: &File, path: &Path) -> bool {
    let inode = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => inode(held) == inode(named),
        _ => false,
    }
}
