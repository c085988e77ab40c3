//! What the control plane reads besides the person's own files: server-filled Services and Pods in
//! `cluster/`, objects applied by command in `applied/`. One file per object, replaced by renaming,
//! and only when its content changed; a reader never sees half of one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A directory whose files follow a map.
#[derive(Debug)]
pub(crate) struct Mirror {
    dir: PathBuf,
    /// Where files are written before they are renamed: same file system, not watched.
    staging: PathBuf,
    written: BTreeMap<String, String>,
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct MirrorError {
    path: PathBuf,
    source: io::Error,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> MirrorError {
    let path = path.to_owned();
    move |source| MirrorError { path, source }
}

impl Mirror {
    /// Makes the directory `name` below `state`.
    pub(crate) fn create(state: &Path, name: &str) -> Result<Self, MirrorError> {
        let (dir, staging) = (state.join(name), state.join("staging"));
        for made in [&dir, &staging] {
            std::fs::create_dir_all(made).map_err(failed(made))?;
        }
        Ok(Self {
            dir,
            staging,
            written: BTreeMap::new(),
        })
    }

    /// Makes the files be `wanted` (name to content); true when anything changed.
    pub(crate) fn set(&mut self, wanted: BTreeMap<String, String>) -> Result<bool, MirrorError> {
        let mut changed = false;
        for (name, content) in &wanted {
            if self.written.get(name) != Some(content) {
                let (staged, path) = (self.staging.join(name), self.dir.join(name));
                std::fs::write(&staged, content).map_err(failed(&staged))?;
                std::fs::rename(&staged, &path).map_err(failed(&path))?;
                changed = true;
            }
        }
        for name in self
            .written
            .keys()
            .filter(|name| !wanted.contains_key(*name))
        {
            let path = self.dir.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path)(error));
                }
                _ => changed = true,
            }
        }
        self.written = wanted;
        Ok(changed)
    }
}

/// A file name for an object; kinds, namespaces and names hold no `_`.
pub(crate) fn file_name(key: &crate::manifests::Key, extension: &str) -> String {
    format!(
        "{}_{}_{}.{extension}",
        key.kind.to_ascii_lowercase(),
        key.namespace,
        key.name
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_follow_the_map() {
        let state = tempfile::tempdir().unwrap();
        let mut mirror = Mirror::create(state.path(), "cluster").unwrap();
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert!(mirror.set(map(&[("a", "1"), ("b", "2")])).unwrap());
        assert!(!mirror.set(map(&[("a", "1"), ("b", "2")])).unwrap());
        assert!(mirror.set(map(&[("b", "3")])).unwrap());
        let files: Vec<_> = std::fs::read_dir(&mirror.dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(files, ["b"]);
        assert_eq!(std::fs::read_to_string(mirror.dir.join("b")).unwrap(), "3");
        assert_eq!(
            std::fs::read_dir(state.path().join("staging"))
                .unwrap()
                .count(),
            0
        );
    }
}
