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
            let is_plain = || path.is_file() || is_passing(path);
            known.contains(path.as_path()) || (is_plain() && !is_within_hidden(root, path))
        };
        if root.exists()
            && paths
                .iter()
                .filter(|path| path.starts_with(root))
                .all(simple)
        {
            let ours = paths.iter().filter(|path| path.starts_with(root));
            let manifests = ours.filter(|path| known.contains(path.as_path()) || is_manifest(path));
            return Some(
                manifests
                    .map(|path| (Arc::from(path.as_path()), stat(path, true)))
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

/// What editors and writers put beside a file for a moment: hidden, and no link (`..data` of a mounted
/// ConfigMap is what its files lead through) nor directory. Others that are gone may have been
/// directories.
fn is_passing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_hidden = name.starts_with(b".") && !name.starts_with(b"..");
    is_hidden && !path.is_dir()
}

/// Such directories are not walked; what changes in them may still be what a link leads to.
fn is_within_hidden(root: &Path, path: &Path) -> bool {
    let below = path
        .parent()
        .and_then(|parent| parent.strip_prefix(root).ok());
    below.is_some_and(|below| {
        below
            .components()
            .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_may_matter_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let path = |name: &str| root.join(name);
        fs::create_dir(path(".git")).unwrap();
        for name in ["a.yaml", "b.yaml", "a.yaml~", ".b.yaml.swp", ".git/c.yaml"] {
            fs::write(path(name), "").unwrap();
        }
        let known = BTreeSet::from([Arc::from(path("a.yaml"))]);
        let looked_at = |names: &[&str]| -> Vec<String> {
            let wake = Wake::Paths(names.iter().map(|name| path(name)).collect());
            let seen = look(root, &wake, &known).unwrap();
            let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
            let mut names: Vec<_> = seen.iter().map(|(path, _)| name(path)).collect();
            names.sort();
            names
        };
        let beside = ["a.yaml", "a.yaml~", ".b.yaml.swp", ".gone.new"];
        assert_eq!(looked_at(&beside), ["a.yaml"]);
        assert_eq!(looked_at(&["b.yaml"]), ["b.yaml"]);
        assert!(looked_at(&[".gone"]).is_empty());
        // A directory that may have gone, what a link may lead to, what a ConfigMap is swapped by.
        for name in ["gone", ".git/c.yaml", ".git", "..data"] {
            assert_eq!(looked_at(&[name]), ["a.yaml", "b.yaml"], "{name}");
        }
    }
}
