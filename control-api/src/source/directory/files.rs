//! What each file holds: its documents, and the objects that it contributes. A file or a document that vanishes is believed to be gone only
//! after a moment, since editors truncate, move away and write in pieces on their way to a new version.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    contribution::{Contents, Contribution},
    load::{RACY, hash, is_racy, leads_to, load},
    scan::{Look, Stamp},
};
use crate::{
    check::Code,
    name::ObjectKey,
    resources::labels::Interner,
    source::{
        Object, Refusal,
        decode::Problem,
        document,
        node::Position,
        read::{Item, read},
    },
};

/// How long something may be gone before that is believed: editors take a few milliseconds.
const GRACE: Duration = Duration::from_millis(120);

/// What an update found.
pub(super) enum Seen {
    Same,
    Changed { before: Contents, after: Contents },
}

#[derive(Default)]
struct FileState {
    stamp: Stamp,
    racy: bool,
    hash: u64,
    documents: HashMap<(u64, u32), Vec<Arc<Item>>>,
    contents: Contents,
    /// Those of the contents that the file does not say so any more.
    kept: Vec<Arc<Object>>,
    refusals: Vec<Refusal>,
    outside: Option<PathBuf>,
}

#[derive(Default)]
pub(super) struct Files {
    states: HashMap<(usize, Arc<Path>), FileState>,
    known: BTreeMap<usize, BTreeSet<Arc<Path>>>,
    doubtful: HashMap<(usize, Arc<Path>), Instant>,
    none: BTreeSet<Arc<Path>>,
    /// What files held when they were good, from before this process began.
    last_good: HashMap<Arc<Path>, Contents>,
}

impl Files {
    /// What was in force when the process before this one ended, to be believed of files that are
    /// still there and do not say otherwise.
    pub(super) fn with_last_good(objects: Vec<Arc<Object>>) -> Self {
        let mut last_good: HashMap<Arc<Path>, Contents> = HashMap::new();
        for object in objects {
            if let Some(file) = &object.origin.file {
                let held = last_good.entry(file.clone()).or_default();
                held.push((object.key.clone(), object));
            }
        }
        Self {
            last_good,
            ..Self::default()
        }
    }

    /// Of a file that is seen for the first time.
    fn last_good_of(&self, key: &(usize, Arc<Path>)) -> Contents {
        match self.states.contains_key(key) {
            true => Contents::new(),
            false => self.last_good.get(&key.1).cloned().unwrap_or_default(),
        }
    }

    /// Everything has been looked at: what is not there is gone.
    pub(super) fn forget_last_good(&mut self) {
        self.last_good.clear();
    }

    /// Objects that stand though their files do not say so any more.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Arc<Object>> {
        let unseen = self.last_good.values().flatten().map(|(_, object)| object);
        self.states
            .values()
            .flat_map(|state| &state.kept)
            .chain(unseen)
    }

    pub(super) fn known(&self, root: usize) -> &BTreeSet<Arc<Path>> {
        self.known.get(&root).unwrap_or(&self.none)
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.states.values().flat_map(|state| &state.refusals)
    }

    /// When a doubtful file should be looked at again.
    pub(super) fn look_again_at(&self) -> Option<Instant> {
        let racy = self
            .states
            .values()
            .any(|state| state.racy)
            .then(|| Instant::now() + RACY);
        self.doubtful
            .values()
            .min()
            .copied()
            .into_iter()
            .chain(racy)
            .min()
    }

    /// Directories outside of every root that links lead to.
    pub(super) fn outside(&self) -> impl Iterator<Item = &Path> {
        self.states
            .values()
            .filter_map(|state| state.outside.as_deref())
    }

    pub(super) fn update(
        &mut self,
        root: usize,
        path: &Arc<Path>,
        look: Look,
        interner: &mut Interner,
    ) -> Seen {
        let key = (root, path.clone());
        match look {
            Look::Gone => self.gone(&key),
            Look::There { stamp, named } => {
                let state = self.states.get(&key);
                let same = state.is_some_and(|state| state.stamp == stamp && !state.racy && !named);
                if same && !self.doubtful.contains_key(&key) {
                    return Seen::Same;
                }
                match load(path, &stamp) {
                    Ok(text) => self.loaded(key, stamp, &text, interner),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.gone(&key),
                    Err(error) => self.unreadable(key, stamp, &error.to_string()),
                }
            }
        }
    }

    fn gone(&mut self, key: &(usize, Arc<Path>)) -> Seen {
        if !self.states.contains_key(key) || !self.is_believed(key) {
            return Seen::Same;
        }
        self.known.entry(key.0).or_default().remove(&key.1);
        let before = self
            .states
            .remove(key)
            .map(|state| state.contents)
            .unwrap_or_default();
        Seen::Changed {
            before,
            after: Contents::new(),
        }
    }

    /// Whether the doubt about a file has lasted; begins it otherwise.
    fn is_believed(&mut self, key: &(usize, Arc<Path>)) -> bool {
        let until = *self
            .doubtful
            .entry(key.clone())
            .or_insert_with(|| Instant::now() + GRACE);
        let believed = Instant::now() >= until;
        if believed {
            self.doubtful.remove(key);
        }
        believed
    }

    fn unreadable(&mut self, key: (usize, Arc<Path>), stamp: Stamp, reason: &str) -> Seen {
        let reason = format!("the file cannot be read: {reason}");
        let problem = Problem::new(Code::Unreadable, Position::default(), reason);
        let refusal = Refusal::about(("", "", ""), key.1.display().to_string(), problem);
        self.known.entry(key.0).or_default().insert(key.1.clone());
        let last_good = self.last_good_of(&key);
        let state = self.states.entry(key).or_default();
        let before = state.contents.clone();
        state.contents.extend(last_good);
        state.stamp = stamp;
        state.refusals = vec![refusal];
        state.hash = 0;
        let written = state.contents.iter().map(|(_, object)| object);
        state.kept = written.filter(|object| !object.stand_in).cloned().collect();
        Seen::Changed {
            before,
            after: state.contents.clone(),
        }
    }

    fn loaded(
        &mut self,
        key: (usize, Arc<Path>),
        stamp: Stamp,
        text: &str,
        interner: &mut Interner,
    ) -> Seen {
        let hash_of_file = hash(text);
        let racy = is_racy(&key.1);
        if let Some(state) = self
            .states
            .get_mut(&key)
            .filter(|state| state.hash == hash_of_file)
        {
            (state.stamp, state.racy) = (stamp, racy);
            self.doubtful.remove(&key);
            return Seen::Same;
        }
        self.known.entry(key.0).or_default().insert(key.1.clone());
        let path = key.1.clone();
        let is_new = !self.states.contains_key(&key);
        let last_good = self.last_good_of(&key);
        let state = self.states.entry(key.clone()).or_default();
        let mut before = std::mem::take(&mut state.contents);
        before.extend(last_good);
        let mut documents = HashMap::new();
        let mut items = Vec::new();
        for document in document::split(text) {
            let id = (hash(document.text), document.line_offset);
            let known = state.documents.remove(&id);
            let read = known.unwrap_or_else(|| {
                read(&document, Some(&path), interner)
                    .into_iter()
                    .map(Arc::new)
                    .collect()
            });
            items.extend(read.iter().cloned());
            documents.insert(id, read);
        }
        let Contribution {
            contents: mut after,
            kept,
            refusals,
        } = Contribution::of(&items, &before);
        let there: HashSet<&ObjectKey> = after.iter().map(|(key, _)| key).collect();
        let missing = before.iter().filter(|(key, _)| !there.contains(key));
        let missing: Contents = missing.cloned().collect();
        // Of what was there before this process began nothing is awaited: it went while we were away.
        let doubtful = !missing.is_empty() && !is_new && !self.is_believed(&key);
        if doubtful {
            after.extend(missing);
        } else {
            self.doubtful.remove(&key);
        }
        let state = FileState {
            stamp,
            racy,
            // A doubtful file is read again.
            hash: if doubtful { 0 } else { hash_of_file },
            documents,
            contents: after.clone(),
            kept,
            refusals,
            outside: leads_to(&path),
        };
        self.states.insert(key, state);
        Seen::Changed { before, after }
    }
}
