//! Labels of pods and selectors over them. Sorted, shared and interned: the pods of one
//! Deployment share one allocation.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// A set of labels, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Option<Arc<[Label]>>);

/// Key and value.
pub type Label = (Arc<str>, Arc<str>);

impl Labels {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let entries = self.entries();
        let found = entries.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        entries.get(found).map(|(_, value)| &**value)
    }

    /// Whether every one of `wanted` is here.
    pub fn has_all(&self, wanted: &Labels) -> bool {
        wanted
            .entries()
            .iter()
            .all(|(key, value)| self.get(key) == Some(value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Key and value, by key.
    pub fn entries(&self) -> &[Label] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(map: &BTreeMap<String, String>) -> Self {
        Interner::default().labels(map)
    }
}

/// Makes equal strings and label sets one allocation. Forgets what nobody holds any more when
/// it has grown to twice what it kept last time.
#[derive(Default)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
    sets: HashSet<Arc<[Label]>>,
    sweep_at: usize,
}

impl Interner {
    /// Below this many entries sweeping is not worth it.
    const SWEEP_MIN: usize = 4096;

    /// One string.
    pub fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        self.sweep();
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }

    /// One set of labels.
    pub fn labels(&mut self, map: &BTreeMap<String, String>) -> Labels {
        if map.is_empty() {
            return Labels::default();
        }
        let entries: Arc<[_]> = map
            .iter()
            .map(|(key, value)| (self.string(key), self.string(value)))
            .collect();
        if let Some(known) = self.sets.get(&entries) {
            return Labels(Some(known.clone()));
        }
        self.sets.insert(entries.clone());
        Labels(Some(entries))
    }

    fn sweep(&mut self) {
        if self.strings.len() + self.sets.len() < self.sweep_at.max(Self::SWEEP_MIN) {
            return;
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.strings.retain(|string| Arc::strong_count(string) > 1);
        self.sweep_at = 2 * (self.strings.len() + self.sets.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn selection_needs_every_label() {
        let pod = Labels::from(&map(&[
            ("app", "reviews"),
            ("version", "v1"),
            ("zone", "a"),
        ]));
        assert!(pod.has_all(&Labels::from(&map(&[("version", "v1")]))));
        assert!(!pod.has_all(&Labels::from(&map(&[("version", "v2")]))));
        assert!(!pod.has_all(&Labels::from(&map(&[("none", "")]))));
        assert!(pod.has_all(&Labels::default()));
    }

    #[test]
    fn equal_sets_share_and_dead_ones_go() {
        let mut interner = Interner::default();
        let one = interner.labels(&map(&[("app", "a")]));
        let two = interner.labels(&map(&[("app", "a")]));
        assert!(std::ptr::eq(one.entries(), two.entries()));
        for i in 0..20_000 {
            interner.string(&format!("s{i}"));
        }
        assert!(
            interner.strings.len() < 10_000,
            "{}",
            interner.strings.len()
        );
        assert_eq!(interner.labels(&map(&[("app", "a")])), one);
    }
}
