//! The watch on directories: events gathered until they pause, never more than a bounded set of
//! paths (beyond it, and when the kernel lost some, everything is looked at again).

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

/// Events that follow each other closer than this belong together: an editor's save is several.
const QUIET: Duration = Duration::from_millis(8);
/// The same while a file is being written that has not been closed yet.
const QUIET_OPEN: Duration = Duration::from_millis(100);
/// Events that never pause are acted upon after this long.
const PATIENCE: Duration = Duration::from_millis(250);
/// Paths remembered; beyond it all are looked at.
const MAX_PATHS: usize = 4096;

/// Why the source wakes up.
#[derive(Debug)]
pub(super) enum Wake {
    /// Something may have changed anywhere.
    All,
    /// Something changed here.
    Paths(HashSet<PathBuf>),
    /// It is over.
    Stop,
}

#[derive(Debug, Default)]
struct Pending {
    paths: HashSet<PathBuf>,
    /// Written to and not closed.
    open: HashSet<PathBuf>,
    all: bool,
    stop: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Where the watcher leaves events and the source waits for them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Watch {
    /// Waits for events to come and pause, or for `until`.
    pub(super) fn wait(&self, until: Instant) -> Wake {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if pending.stop {
                return Wake::Stop;
            }
            let now = Instant::now();
            let due = match (pending.first, pending.last) {
                (Some(first), Some(last)) => {
                    let quiet = if pending.open.is_empty() {
                        QUIET
                    } else {
                        QUIET_OPEN
                    };
                    (last + quiet).min(first + PATIENCE)
                }
                _ => until,
            };
            if now >= due {
                let taken = std::mem::take(&mut *pending);
                return if taken.all || taken.first.is_none() {
                    Wake::All
                } else {
                    Wake::Paths(taken.paths)
                };
            }
            let wait = self.changed.wait_timeout(pending, due - now);
            pending = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn stop(&self) {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop = true;
        self.changed.notify_all();
    }

    fn add(&self, event: notify::Result<Event>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // Our own reading is no change.
            Ok(Event {
                kind: EventKind::Access(kind),
                ..
            }) if kind != AccessKind::Close(AccessMode::Write) => return,
            Ok(event) if !event.need_rescan() => {
                for path in &event.paths {
                    if matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))) {
                        pending.open.insert(path.clone());
                    } else {
                        pending.open.remove(path);
                    }
                }
                pending.paths.extend(event.paths);
                if pending.paths.len() > MAX_PATHS {
                    pending.all = true;
                    pending.paths.clear();
                    pending.open.clear();
                }
            }
            Ok(_) | Err(_) => pending.all = true,
        }
        let now = Instant::now();
        pending.first.get_or_insert(now);
        pending.last = Some(now);
        drop(pending);
        self.changed.notify_all();
    }
}

/// The kernel's side.
pub(super) struct Watcher {
    inner: RecommendedWatcher,
    followed: BTreeSet<PathBuf>,
}

impl Watcher {
    pub(super) fn start(roots: &[PathBuf], watch: &Arc<Watch>) -> notify::Result<Self> {
        let watch = watch.clone();
        let mut inner = notify::recommended_watcher(move |event| watch.add(event))?;
        for root in roots {
            if root.is_dir() {
                inner.watch(root, RecursiveMode::Recursive)?;
            }
            // A file is replaced by renaming over it, a link by swapping it: its directory knows.
            if !root.is_dir() || root.is_symlink() {
                let parent = root
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                inner.watch(
                    parent.unwrap_or(Path::new(".")),
                    RecursiveMode::NonRecursive,
                )?;
            }
        }
        Ok(Self {
            inner,
            followed: BTreeSet::new(),
        })
    }

    /// Watches directories that links lead to, and forgets those that none leads to any more.
    pub(super) fn follow<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        let wanted: BTreeSet<PathBuf> = directories.map(Path::to_owned).collect();
        for gone in self.followed.difference(&wanted) {
            // It may have been removed, and its watch with it.
            let _ = self.inner.unwatch(gone);
        }
        let new: Vec<PathBuf> = wanted.difference(&self.followed).cloned().collect();
        self.followed = wanted;
        for directory in new {
            if self
                .inner
                .watch(&directory, RecursiveMode::NonRecursive)
                .is_err()
            {
                self.followed.remove(&directory);
            }
        }
    }
}
