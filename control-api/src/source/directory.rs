//! Objects from directories and files, watched. A later directory wins over an earlier one; the
//! same object twice in one directory is refused the second time. An object whose document has become bad
//! keeps its last good version; it goes only when its document does. Only what changed is read
//! again.

mod claims;
pub(super) mod contribution;
mod files;
mod load;
mod scan;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::{info, warn};

use self::{
    claims::Claims,
    files::{Files, Seen},
    watch::{Wake, Watch},
};
use super::{Batch, Object};
use crate::resources::labels::Interner;

/// Everything is looked at again this often, in case the watch missed something.
const RESCAN: Duration = Duration::from_secs(30);
/// The same without a watch (the kernel's limit of watches is reached).
const POLL: Duration = Duration::from_secs(1);

/// Why directories cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is not there, or not for us.
    #[error("cannot read {0}: it must be a directory or a file of manifests")]
    Root(PathBuf, #[source] io::Error),
    /// No thread.
    #[error("cannot start the thread that watches directories")]
    Thread(#[source] io::Error),
}

/// Reads directories once.
///
/// # Errors
/// When one of them cannot be read at all.
pub fn read_once(roots: &[PathBuf]) -> Result<Batch, DirectoryError> {
    let mut reader = Reader::new(roots, Vec::new())?;
    reader.refresh(&Wake::All);
    Ok(reader.batch())
}

/// Reads directories, then again after each of `edits`, and again until nothing is in doubt.
#[cfg(test)]
pub(super) fn read_again(
    roots: &[PathBuf],
    last_good: Vec<Arc<Object>>,
    edits: impl Iterator<Item = ()>,
) -> Result<Vec<Batch>, DirectoryError> {
    let mut reader = Reader::new(roots, last_good)?;
    let mut batches = Vec::new();
    let mut read = || {
        reader.refresh(&Wake::All);
        while let Some(until) = reader.files.look_again_at() {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            reader.refresh(&Wake::All);
        }
        batches.push(reader.batch());
    };
    let mut edited = false;
    for () in edits {
        edited = true;
        read();
    }
    if !edited {
        read();
    }
    Ok(batches)
}

/// The watching thread; it ends when this is dropped.
#[derive(Debug)]
pub struct DirectorySource {
    watch: Arc<Watch>,
    thread: Option<thread::JoinHandle<()>>,
}

impl DirectorySource {
    /// Reads all, sends it as the first batch, and sends what changes after. A slow receiver makes
    /// batches larger, not more. `last_good` is what was kept of documents that were bad when
    /// the process before this one ended ([`super::last_good`]).
    ///
    /// # Errors
    /// When a root cannot be read at all, or no thread can be started.
    pub fn start(
        roots: &[PathBuf],
        last_good: Vec<Arc<Object>>,
        batches: mpsc::Sender<Batch>,
    ) -> Result<Self, DirectoryError> {
        let mut reader = Reader::new(roots, last_good)?;
        let watch = Arc::new(Watch::default());
        let shared = watch.clone();
        let roots = roots.to_vec();
        let run = move || {
            // Watching begins before reading, so that nothing falls between.
            let watcher = watch::Watcher::start(&roots, &shared);
            let every = match &watcher {
                Ok(_) => RESCAN,
                Err(error) => {
                    warn!(%error, "cannot watch; directories are read again every second instead");
                    POLL
                }
            };
            let mut watcher = watcher.ok();
            reader.refresh(&Wake::All);
            info!(objects = reader.claims.len(), "directories are read");
            if batches.blocking_send(reader.batch()).is_err() {
                return;
            }
            loop {
                if let Some(watcher) = &mut watcher {
                    watcher.follow(reader.files.outside());
                }
                let until = reader
                    .files
                    .look_again_at()
                    .unwrap_or_else(|| Instant::now() + every);
                let wake = shared.wait(until.min(Instant::now() + every));
                if matches!(wake, Wake::Stop) || batches.is_closed() {
                    return;
                }
                if reader.refresh(&wake) && batches.blocking_send(reader.batch()).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("directory-source".into())
            .spawn(run);
        Ok(Self {
            watch,
            thread: Some(thread.map_err(DirectoryError::Thread)?),
        })
    }
}

impl Drop for DirectorySource {
    fn drop(&mut self) {
        self.watch.stop();
        // The thread may be inside `blocking_send`; it ends when the receiver does.
        drop(self.thread.take());
    }
}

struct Reader {
    roots: Vec<PathBuf>,
    files: Files,
    claims: Claims,
    interner: Interner,
}

impl Reader {
    fn new(roots: &[PathBuf], last_good: Vec<Arc<Object>>) -> Result<Self, DirectoryError> {
        for root in roots {
            std::fs::metadata(root).map_err(|error| DirectoryError::Root(root.clone(), error))?;
        }
        Ok(Self {
            roots: roots.to_vec(),
            files: Files::with_last_good(last_good),
            claims: Claims::default(),
            interner: Interner::default(),
        })
    }

    /// Looks at what may have changed. True: something has.
    fn refresh(&mut self, wake: &Wake) -> bool {
        let mut changed = false;
        let mut complete = true;
        let elsewhere = |path: &PathBuf| !self.roots.iter().any(|root| path.starts_with(root));
        let wake = match wake {
            // Where a link leads to: which file it is here is not told.
            Wake::Paths(paths) if paths.iter().any(elsewhere) => &Wake::All,
            wake => wake,
        };
        for (index, root) in self.roots.iter().enumerate() {
            let Some(seen) = scan::look(root, wake, self.files.known(index)) else {
                warn!(root = %root.display(), "the directory cannot be read; what it held stays in force");
                complete = false;
                continue;
            };
            for (path, what) in seen {
                match self.files.update(index, &path, what, &mut self.interner) {
                    Seen::Same => {}
                    Seen::Changed { before, after } => {
                        self.claims.replace(index, &path, &before, &after);
                        changed = true;
                    }
                }
            }
        }
        if complete {
            self.files.forget_last_good();
        }
        changed
    }

    fn batch(&mut self) -> Batch {
        let changes = self.claims.take_changes();
        let mut refusals: Vec<_> = self
            .files
            .refusals()
            .chain(self.claims.refusals())
            .cloned()
            .collect();
        refusals.sort();
        refusals.dedup();
        for refusal in refusals
            .iter()
            .filter(|refusal| !self.claims.told.contains(*refusal))
        {
            warn!("refused: {refusal}");
        }
        self.claims.told = refusals.iter().cloned().collect();
        Batch {
            changes,
            refusals: refusals.into(),
            kept: self.files.kept().cloned().collect(),
        }
    }
}

/// Whether a path looks like a manifest: not hidden, and ending right.
fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let ends = path
        .extension()
        .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    !hidden && ends
}

#[cfg(test)]
mod tests;
