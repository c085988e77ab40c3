//! Which file's version of an object counts: the last directory's that has it; within a directory
//! the first file's by path, the others being refused. Turns that into changes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use super::contribution::Contents;
use crate::{
    check::Code,
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
                claims.retain(|claim| (claim.root, &claim.path) != (root, path));
            }
            self.touched.insert(key.clone());
        }
        for (key, object) in after {
            let claim = Claim {
                root,
                path: path.clone(),
                object: object.clone(),
            };
            // Nearly always there is one: a vector's first growth would make room for four.
            let claims = self.by_key.entry(key.clone());
            let claims = claims.or_insert_with(|| Vec::with_capacity(1));
            match claims.binary_search_by(|known| known.place().cmp(&claim.place())) {
                Ok(at) => claims[at] = claim,
                Err(at) => claims.insert(at, claim),
            }
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

/// By place.
type Claimants = Vec<Claim>;

struct Claim {
    root: usize,
    path: Arc<Path>,
    object: Arc<Object>,
}

impl Claim {
    fn place(&self) -> (usize, &Path) {
        (self.root, &self.path)
    }
}

/// What somebody wrote goes before what stands in for something unreadable.
fn winner(claims: &Claimants) -> Option<&Arc<Object>> {
    let of = |stand_in: bool| {
        let mut candidates = claims
            .iter()
            .filter(move |claim| claim.object.stand_in == stand_in);
        let last = candidates.clone().next_back()?.root;
        candidates
            .find(|claim| claim.root == last)
            .map(|claim| &claim.object)
    };
    of(false).or_else(|| of(true))
}

/// One refusal for each second of a directory.
fn losers(claims: &Claimants) -> Vec<Refusal> {
    let mut first: Option<(usize, &Arc<Object>)> = None;
    let mut refusals = Vec::new();
    for Claim { root, object, .. } in claims.iter().filter(|claim| !claim.object.stand_in) {
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
    let reason = format!("{} is there already, at {place}", second.key);
    let problem =
        Problem::new(Code::Twice, second.origin.at, reason).suggest("rename or remove one of them");
    Refusal::of(&second.key, &second.origin, problem)
}
