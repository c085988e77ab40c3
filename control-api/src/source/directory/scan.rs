//! Which files there are under a root, and what of them may have changed. Follows symbolic links
//! (a mounted ConfigMap is made of them), never twice into the same directory.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{is_manifest, watch::Wake};

/// Directories within directories.
const MAX_DEPTH: usize = 32;
/// Of one root: far above any real tree, and soon reached by a link to `/`.
const MAX_DIRECTORIES: usize = 4096;

/// What a look at a path found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is there; `named`: an event said that it changed.
    There { stamp: Stamp, named: bool },
    /// It is not.
    Gone,
}

/// Tells one state of a file from another, almost always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
    len: u64,
}

impl Stamp {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self {
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            inode: (meta.dev(), meta.ino()),
            len: meta.len(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// None: the root itself cannot be read, so nothing can be told.
pub(super) fn look(
    root: &Path,
    wake: &Wake,
    known: &BTreeSet<Arc<Path>>,
) -> Option<Vec<(Arc<Path>, Look)>> {
    let named = |path: &Path| match wake {
        Wake::Paths(paths) => paths.contains(path),
        _ => false,
    };
    if let Wake::Paths(paths) = wake {
        let simple = |path: &PathBuf| {
            known.contains(path.as_path()) || (is_manifest(path) && path.is_file())
        };
        if root.exists()
            && paths
                .iter()
                .filter(|path| path.starts_with(root))
                .all(simple)
        {
            let ours = paths.iter().filter(|path| path.starts_with(root));
            return Some(
                ours.map(|path| (Arc::from(path.as_path()), stat(path, true)))
                    .collect(),
            );
        }
    }
    let mut found = Vec::new();
    let meta = match fs::metadata(root) {
        Ok(meta) => meta,
        // A root that is one file may go like any file; a directory that is gone tells nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && known.contains(root) => {
            return Some(vec![(Arc::from(root), Look::Gone)]);
        }
        Err(_) => return None,
    };
    if meta.is_dir() {
        let mut visited = HashSet::from([(meta.dev(), meta.ino())]);
        walk(root, 0, &mut visited, &mut found).ok()?;
        if visited.len() >= MAX_DIRECTORIES {
            warn!(root = %root.display(), "only {MAX_DIRECTORIES} directories are read; does a link lead out of it?");
        }
    } else {
        found.push(root.to_owned());
    }
    let there: HashSet<&Path> = found.iter().map(PathBuf::as_path).collect();
    let gone = known.iter().filter(|path| !there.contains(path.as_ref()));
    let gone = gone.map(|path| (path.clone(), Look::Gone));
    let there = found
        .iter()
        .map(|path| (Arc::from(path.as_path()), stat(path, named(path))));
    Some(there.chain(gone).collect())
}

fn stat(path: &Path, named: bool) -> Look {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Look::There {
            stamp: Stamp::of(&meta),
            named,
        },
        _ => Look::Gone,
    }
}

fn walk(
    directory: &Path,
    depth: usize,
    visited: &mut HashSet<(u64, u64)>,
    found: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let Ok(meta) = fs::metadata(&path) else {
            continue;
        };
        if hidden {
            continue;
        }
        if meta.is_dir() {
            let enter = depth < MAX_DEPTH && visited.len() < MAX_DIRECTORIES;
            if enter && visited.insert((meta.dev(), meta.ino())) {
                // A directory that vanishes meanwhile holds nothing any more.
                let _ = walk(&path, depth + 1, visited, found);
            }
        } else if meta.is_file() && is_manifest(&path) {
            found.push(path);
        }
    }
    Ok(())
}
