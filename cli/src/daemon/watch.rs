//! Watches the paths a mesh was started with. Editors write, rename, truncate and recreate; all that
//! is told here is "look again", a moment after the last event of a burst.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::manifests::is_manifest;

/// Quiet time after which a burst of events is over: editors need a few milliseconds per file.
const QUIET: Duration = Duration::from_millis(20);
/// A path that never falls quiet is read this often nevertheless.
const LONGEST: Duration = Duration::from_millis(200);

/// The watch on a set of paths.
#[derive(Debug)]
pub(crate) struct PathWatch {
    _watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    /// When the burst that nobody was told of yet is to be told of at the latest.
    burst: Option<Instant>,
}

impl PathWatch {
    /// Watches directories recursively, and files through their directory: an editor that replaces a
    /// file by renaming would leave a watch on the file itself behind.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self, notify::Error> {
        // One waiting event is as good as many.
        let (sender, events) = mpsc::channel(1);
        let files: Vec<PathBuf> = paths
            .iter()
            .filter(|path| !path.is_dir())
            .map(|path| absolute(path))
            .collect();
        let handler = move |event: notify::Result<notify::Event>| {
            let matters = match &event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                // A directory that comes or goes has no extension.
                Ok(event) => event.paths.iter().any(|path| {
                    is_manifest(path) || path.extension().is_none() || files.contains(path)
                }),
                // Events were lost: look again.
                Err(_) => true,
            };
            if matters {
                let _ = sender.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(handler)?;
        for path in paths {
            match path.is_dir() {
                true => watcher.watch(path, RecursiveMode::Recursive)?,
                false => {
                    let path = absolute(path);
                    watcher.watch(
                        path.parent().unwrap_or(Path::new("/")),
                        RecursiveMode::NonRecursive,
                    )?;
                }
            }
        }
        Ok(Self {
            _watcher: watcher,
            events,
            burst: None,
        })
    }

    /// Returns when something has changed and it is quiet again. Can be dropped and called again: what
    /// was seen is not forgotten.
    pub(crate) async fn changed(&mut self) {
        let end = match self.burst {
            Some(end) => end,
            None => {
                if self.events.recv().await.is_none() {
                    // The watcher lives as long as we do; without it nothing ever changes.
                    std::future::pending::<()>().await;
                }
                *self.burst.insert(Instant::now() + LONGEST)
            }
        };
        while let Ok(Some(())) =
            timeout_at(end.min(Instant::now() + QUIET), self.events.recv()).await
        {}
        self.burst = None;
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn edits_in_place_and_by_renaming_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.yaml");
        std::fs::write(&file, "a: 1").unwrap();
        for path in [file.clone(), dir.path().to_owned()] {
            let mut watch = PathWatch::new(&[path]).unwrap();
            std::fs::write(&file, "a: 2").unwrap();
            tokio::time::timeout(PATIENCE, watch.changed())
                .await
                .unwrap();
            std::fs::write(dir.path().join("one.yaml.swp"), "a: 3").unwrap();
            std::fs::rename(dir.path().join("one.yaml.swp"), &file).unwrap();
            tokio::time::timeout(PATIENCE, watch.changed())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn an_edit_is_seen_by_the_next_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = PathWatch::new(&[dir.path().to_owned()]).unwrap();
        std::fs::write(dir.path().join("one.yaml"), "a: 1").unwrap();
        // Given up while it waits for the end of the burst.
        while watch.burst.is_none() {
            let _ = tokio::time::timeout(QUIET / 10, watch.changed()).await;
        }
        tokio::time::timeout(PATIENCE, watch.changed())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.yaml");
        std::fs::write(&file, "a: 1").unwrap();
        let mut watch = PathWatch::new(&[dir.path().to_owned()]).unwrap();
        let _ = std::fs::read(&file).unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(100), watch.changed())
                .await
                .is_err()
        );
    }
}
