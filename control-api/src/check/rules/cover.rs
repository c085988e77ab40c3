//! Earlier matches, filed so that one that takes all of a later match's requests is found without
//! looking at each: under its rarest condition, by the texts that a narrower one would have there.

use std::collections::{BTreeSet, HashMap};

use super::{
    conditions::{Condition, Conditions, Part},
    pattern::Shape,
};

/// Comparisons for one list of rules; then nothing more is said. No list met in practice needs as many.
const BUDGET: usize = 2_000_000;
/// Comparisons with a regex for one list, each of which is compiled for it.
const REGEX_BUDGET: usize = 2_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    part: Part,
    kind: Kind,
    /// In lower case.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// It is there.
    Any,
    Exact,
    /// Prefixes and paths with what is below.
    Begins,
    Regex,
    /// The condition is a negation.
    Not,
}

/// Matches in order.
#[derive(Default)]
pub(crate) struct Covers {
    matches: Vec<Conditions>,
}

impl Covers {
    /// The next match.
    pub(crate) fn push(&mut self, conditions: Conditions) {
        self.matches.push(conditions);
    }

    /// For each match, the first of those before it that takes all its requests.
    pub(crate) fn covered(&self) -> Vec<Option<usize>> {
        let mut count: HashMap<Key, usize> = HashMap::new();
        for condition in self.matches.iter().flat_map(|matcher| &matcher.0) {
            *count.entry(key(condition)).or_default() += 1;
        }
        let mut index = Index::default();
        let mut budget = Budget {
            all: BUDGET,
            regexes: REGEX_BUDGET,
        };
        let mut covered = Vec::with_capacity(self.matches.len());
        for (place, matcher) in self.matches.iter().enumerate() {
            covered.push(self.first(matcher, &index, &mut budget));
            match matcher.0.iter().map(key).min_by_key(|key| count[key]) {
                Some(key) => index.file(key, place),
                None => index.all.push(place),
            }
        }
        covered
    }

    fn first(&self, matcher: &Conditions, index: &Index, budget: &mut Budget) -> Option<usize> {
        let mut found = index.all.first().copied();
        let mut look = |places: &[usize], has_regex: bool| {
            for place in places {
                if found.is_some_and(|found| found <= *place) || !budget.spend(has_regex) {
                    break;
                }
                if matcher.are_within(&self.matches[*place]) {
                    found = Some(*place);
                }
            }
        };
        for condition in &matcher.0 {
            let part = &condition.part;
            for (kind, text) in index.keys(condition) {
                let key = Key {
                    part: part.clone(),
                    kind,
                    text,
                };
                if let Some(places) = index.filed.get(&key) {
                    look(places, false);
                }
            }
            if matches!(condition.pattern.shape, Shape::Exact(_)) {
                look(index.regexes.get(part).map_or(&[], Vec::as_slice), true);
            }
            look(index.negations.get(part).map_or(&[], Vec::as_slice), true);
        }
        found
    }
}

#[derive(Default)]
struct Index {
    /// Those without a condition.
    all: Vec<usize>,
    filed: HashMap<Key, Vec<usize>>,
    /// Lengths of beginnings, by part.
    lengths: HashMap<Part, BTreeSet<usize>>,
    regexes: HashMap<Part, Vec<usize>>,
    negations: HashMap<Part, Vec<usize>>,
}

impl Index {
    fn file(&mut self, key: Key, place: usize) {
        let part = key.part.clone();
        match key.kind {
            Kind::Begins => _ = self.lengths.entry(part).or_default().insert(key.text.len()),
            Kind::Regex => self.regexes.entry(part).or_default().push(place),
            Kind::Not => return self.negations.entry(part).or_default().push(place),
            Kind::Any | Kind::Exact => {}
        }
        self.filed.entry(key).or_default().push(place);
    }

    /// Under what a condition that this one implies may be filed.
    fn keys(&self, condition: &Condition) -> Vec<(Kind, String)> {
        if condition.negated {
            return Vec::new();
        }
        let mut keys = vec![(Kind::Any, String::new())];
        let text = match &condition.pattern.shape {
            Shape::Any => return keys,
            Shape::Regex(regex) => {
                keys.push((Kind::Regex, regex.clone()));
                return keys;
            }
            Shape::Exact(text) => {
                keys.push((Kind::Exact, text.to_ascii_lowercase()));
                text
            }
            Shape::Prefix(text) | Shape::Segments(text) => text,
        };
        let lower = text.to_ascii_lowercase();
        let lengths = self.lengths.get(&condition.part).into_iter().flatten();
        let beginnings = lengths.filter_map(|length| lower.get(..*length));
        keys.extend(beginnings.map(|start| (Kind::Begins, start.to_owned())));
        keys
    }
}

struct Budget {
    all: usize,
    regexes: usize,
}

impl Budget {
    fn spend(&mut self, has_regex: bool) -> bool {
        let left = if has_regex {
            &mut self.regexes
        } else {
            &mut self.all
        };
        *left = left.saturating_sub(1);
        *left > 0
    }
}

fn key(condition: &Condition) -> Key {
    let (kind, text) = match &condition.pattern.shape {
        _ if condition.negated => (Kind::Not, String::new()),
        Shape::Any => (Kind::Any, String::new()),
        Shape::Exact(text) => (Kind::Exact, text.to_ascii_lowercase()),
        Shape::Prefix(text) | Shape::Segments(text) => (Kind::Begins, text.to_ascii_lowercase()),
        Shape::Regex(regex) => (Kind::Regex, regex.clone()),
    };
    let part = condition.part.clone();
    Key { part, kind, text }
}
