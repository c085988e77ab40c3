//! Which file's version of an object counts: the last directory's that has it; within a directory
//! the first file's by path, the others being refused. Turns that into changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use super::contribution::Contents;
use crate::{
    name::ObjectKey,
    source::{Change, Object, Refusal, Resource, decode::Problem},
};

#[derive(Default)]
pub(super) struct Claims {
    /// By object: directory, then path.
    by_key: HashMap<ObjectKey, Claimants>,
    current: HashMap<ObjectKey, Arc<Object>>,
    touched: HashSet<ObjectKey>,
    twice: HashMap<ObjectKey, Vec<Refusal>>,
    /// Refusals that have been logged.
    pub(super) told: BTreeSet<Refusal>,
}

impl Claims {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.twice.values().flatten()
    }

    /// A file's contents have changed.
    pub(super) fn replace(
        &mut self,
        root: usize,
        path: &Arc<Path>,
        before: &Contents,
        after: &Contents,
    ) {
        for (key, _) in before {
            if let Some(claims) = self.by_key.get_mut(key) {
                claims.remove(&(root, path.clone()));
            }
            self.touched.insert(key.clone());
        }
        for (key, object) in after {
            self.by_key
                .entry(key.clone())
                .or_default()
                .insert((root, path.clone()), object.clone());
            self.touched.insert(key.clone());
        }
    }

    /// What has changed since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let claims = self.by_key.get(&key);
            let winner = claims
                .and_then(winner)
                .filter(|object| !matches!(object.resource, Resource::Deleted))
                .cloned();
            let is_claimed = claims.is_some_and(|claims| !claims.is_empty());
            self.twice.remove(&key);
            if let Some(claims) = claims.filter(|claims| claims.len() > 1) {
                let refusals = losers(claims);
                if !refusals.is_empty() {
                    self.twice.insert(key.clone(), refusals);
                }
            }
            match winner {
                Some(object) => {
                    let old = self.current.insert(key, object.clone());
                    if old.is_none_or(|old| !Arc::ptr_eq(&old, &object)) {
                        changes.push(Change::Upsert(object));
                    }
                }
                None => {
                    if !is_claimed {
                        self.by_key.remove(&key);
                    }
                    if self.current.remove(&key).is_some() {
                        changes.push(Change::Remove(key));
                    }
                }
            }
        }
        changes
    }
}

type Claimants = BTreeMap<(usize, Arc<Path>), Arc<Object>>;

/// What somebody wrote goes before what stands in for something unreadable.
fn winner(claims: &Claimants) -> Option<&Arc<Object>> {
    let of = |stand_in: bool| {
        let mut candidates = claims
            .iter()
            .filter(move |(_, object)| object.stand_in == stand_in);
        let last = candidates.clone().next_back()?.0.0;
        candidates
            .find(|((root, _), _)| *root == last)
            .map(|(_, object)| object)
    };
    of(false).or_else(|| of(true))
}

/// One refusal for each second of a directory.
fn losers(claims: &Claimants) -> Vec<Refusal> {
    let mut first: Option<(usize, &Arc<Object>)> = None;
    let mut refusals = Vec::new();
    for ((root, _), object) in claims.iter().filter(|(_, object)| !object.stand_in) {
        match first {
            Some((known, winner)) if known == *root => refusals.push(twice(object, winner)),
            _ => first = Some((*root, object)),
        }
    }
    refusals
}

/// `second` is there already.
pub(super) fn twice(second: &Object, first: &Object) -> Refusal {
    let place = format!("{}:{}", first.origin.file_text(), first.origin.at.line);
    let problem = Problem {
        at: second.origin.at,
        reason: format!(
            "{} is there already, at {place}; this one is refused",
            second.key
        ),
        suggestion: "rename or remove one of them".into(),
    };
    Refusal::of(&second.key, &second.origin, problem)
}
