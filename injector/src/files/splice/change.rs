//! What happens to a map's entries and to a list's items on the way from one value to another, in the
//! order of the text; how it is written is not known here.

use std::ops::Range;

use serde_json::{Map, Value};

use super::GaveUp;
use crate::files::tree::{Entry, Node};

pub(super) type Pair<'a> = (&'a str, &'a Value);

/// What happens to a map's entries.
pub(super) struct MapChange<'a> {
    pub(super) kept: Vec<(&'a Entry, &'a Value, &'a Value)>,
    /// Another key takes the place of this one.
    pub(super) swapped: Vec<(&'a Entry, Pair<'a>)>,
    pub(super) removed: Vec<Removed<'a>>,
    /// New keys after this entry.
    pub(super) added: Vec<(&'a Entry, Vec<Pair<'a>>)>,
}

pub(super) struct Removed<'a> {
    pub(super) entry: &'a Entry,
    pub(super) before: Option<&'a Entry>,
    pub(super) next: Option<&'a Entry>,
    /// No entry stays after it.
    pub(super) trailing: bool,
}

impl<'a> MapChange<'a> {
    pub(super) fn between(
        entries: &'a [Entry],
        from: &'a Map<String, Value>,
        to: &'a Map<String, Value>,
    ) -> Result<Self, GaveUp> {
        // A merge key or a repeated one: the text is not the value's shape.
        if entries.len() != from.len() {
            return Err(GaveUp);
        }
        let mut change = Self {
            kept: Vec::new(),
            swapped: Vec::new(),
            removed: Vec::new(),
            added: Vec::new(),
        };
        let mut added = additions(from, to);
        let first = entries.iter().find(|entry| to.contains_key(&entry.key));
        let (mut before, mut stays) = (None, 0);
        for (index, entry) in entries.iter().enumerate() {
            let old = from.get(&entry.key).ok_or(GaveUp)?;
            if let Some(new) = to.get(&entry.key) {
                change.kept.push((entry, old, new));
                (before, stays) = (Some(entry.key.as_str()), index);
                continue;
            }
            let here = added
                .iter_mut()
                .find(|(after, pairs)| *after == before && !pairs.is_empty());
            match here {
                Some((_, pairs)) => {
                    change.swapped.push((entry, pairs.remove(0)));
                    stays = index;
                }
                None => change.removed.push(Removed {
                    entry,
                    before: index.checked_sub(1).map(|before| &entries[before]),
                    next: entries.get(index + 1),
                    trailing: false,
                }),
            }
        }
        let last = entries.get(stays).map(|entry| entry.key_range.start);
        for removed in &mut change.removed {
            removed.trailing = Some(removed.entry.key_range.start) > last;
        }
        for (after, pairs) in added.into_iter().filter(|(_, pairs)| !pairs.is_empty()) {
            let entry = match after {
                Some(key) => entries.iter().find(|entry| entry.key == key),
                None => first,
            };
            change.added.push((entry.ok_or(GaveUp)?, pairs));
        }
        Ok(change)
    }
}

/// New keys, by the last old key before them.
fn additions<'a>(
    from: &'a Map<String, Value>,
    to: &'a Map<String, Value>,
) -> Vec<(Option<&'a str>, Vec<Pair<'a>>)> {
    let mut added: Vec<(Option<&str>, Vec<Pair<'_>>)> = vec![(None, Vec::new())];
    for (key, value) in to {
        if from.contains_key(key) {
            added.push((Some(key), Vec::new()));
        } else if let Some((_, pairs)) = added.last_mut() {
            pairs.push((key, value));
        }
    }
    added
}

/// What happens to a list's items.
pub(super) struct ListChange<'a> {
    pub(super) items: &'a [Node],
    pub(super) old: &'a [Value],
    pub(super) new: &'a [Value],
    /// Never empty.
    pub(super) kept: Vec<(usize, usize)>,
}

pub(super) enum Step {
    Same { old: usize, new: usize },
    Remove { old: usize },
    AddBefore { old: usize, new: Range<usize> },
    AddAfter { old: usize, new: Range<usize> },
}

impl ListChange<'_> {
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let (mut old, mut new) = (0, 0);
        let mut last = None;
        let end = (self.old.len(), self.new.len());
        for (next_old, next_new) in self.kept.iter().copied().chain([end]) {
            steps.extend((old..next_old).map(|old| Step::Remove { old }));
            if new < next_new {
                let new = new..next_new;
                match last {
                    Some(old) if next_old == self.old.len() => {
                        steps.push(Step::AddAfter { old, new });
                    }
                    _ => steps.push(Step::AddBefore { old: next_old, new }),
                }
            }
            if next_old < self.old.len() {
                steps.push(Step::Same {
                    old: next_old,
                    new: next_new,
                });
            }
            last = Some(next_old);
            (old, new) = (next_old + 1, next_new + 1);
        }
        steps
    }
}
