//! Which matches a request can meet, without looking at the others.
//!
//! Each match is filed under the one of its conditions that the fewest others share; where many
//! still share it they are filed again by what else they ask for. A request is looked up by the
//! parts that it has. Invariant: a match that is not visited cannot hold, and the lowest one that
//! holds wins, so the answer is that of walking every match.

mod search;

use std::cmp::Reverse;
use std::collections::HashMap;

use http::HeaderName;

use self::search::Search;
use super::condition::{Condition, Part};
use super::matcher::{HttpMatch, Request};
use super::trie::{Filed, Trie};

/// Up to so many matches are compared one by one: as long as looking them up would take.
const FEW: usize = 8;
/// How often a match is filed again, one condition at a time.
const DEPTH: usize = 4;

/// What finding a rule took; it must not grow with the number of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Matches that were compared with the request.
    pub compared: usize,
    /// Parts of the request that were looked up.
    pub lookups: usize,
}

/// A match while an index is made: its place in the order, and what it asks for that it is not
/// filed under yet.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: u32,
    pub(super) conditions: Vec<Condition>,
}

/// Matches, in order.
#[derive(Clone, Debug)]
pub(super) enum List {
    One(u32),
    Walked(Box<[u32]>),
    Indexed(Box<Index>),
}

/// Matches by what they ask for.
#[derive(Clone, Debug)]
pub(super) struct Index {
    first: u32,
    single: Box<[(Part, Trie<List>)]>,
    headers: HashMap<HeaderName, Trie<List>>,
    query: HashMap<Box<str>, Trie<List>>,
    /// Those that ask for nothing that can be looked up.
    rest: Box<[u32]>,
}

impl Default for List {
    fn default() -> Self {
        Self::Walked(Box::default())
    }
}

impl List {
    /// Files matches, which are in order.
    pub(super) fn new(items: Vec<Item>) -> Self {
        Self::at_depth(items, 0)
    }

    fn at_depth(items: Vec<Item>, depth: usize) -> Self {
        match items.as_slice() {
            [one] => Self::One(one.place),
            few if few.len() <= FEW
                || depth == DEPTH
                || few.iter().all(|item| item.conditions.is_empty()) =>
            {
                Self::Walked(few.iter().map(|item| item.place).collect())
            }
            _ => Self::Indexed(Box::new(Index::new(items, depth + 1))),
        }
    }

    /// The lowest match that holds, and what finding it took. `matcher` gives a match by its place.
    pub(super) fn find<'a>(
        &'a self,
        request: &'a Request<'a>,
        matcher: impl Fn(u32) -> &'a HttpMatch,
    ) -> (Option<u32>, Work) {
        Search::new(request, matcher).run(self)
    }
}

impl Index {
    fn new(items: Vec<Item>, depth: usize) -> Self {
        let first = items.first().map_or(u32::MAX, |item| item.place);
        let mut parts: HashMap<Part, Vec<(Condition, Item)>> = HashMap::new();
        let mut rest = Vec::new();
        let chosen = choose(&items);
        for (mut item, choice) in items.into_iter().zip(chosen) {
            match choice {
                Some(choice) => {
                    let condition = item.conditions.swap_remove(choice);
                    let part = parts.entry(condition.part.clone()).or_default();
                    part.push((condition, item));
                }
                None => rest.push(item.place),
            }
        }
        let mut index = Self {
            first,
            single: Box::default(),
            headers: HashMap::new(),
            query: HashMap::new(),
            rest: rest.into(),
        };
        let mut single = Vec::new();
        for (part, filed) in parts {
            let trie = file(filed, depth);
            match part {
                Part::Header(name) => drop(index.headers.insert(name, trie)),
                Part::Query(name) => drop(index.query.insert(name, trie)),
                part => single.push((part, trie)),
            }
        }
        index.single = single.into();
        index
    }
}

/// For each item, the condition that the fewest share: rather a whole value than a beginning, and
/// rather on a part that many ask for, so that few parts need looking up.
fn choose(items: &[Item]) -> Vec<Option<usize>> {
    let mut shared: HashMap<&Condition, usize> = HashMap::new();
    let mut asked: HashMap<&Part, usize> = HashMap::new();
    for condition in items.iter().flat_map(|item| &item.conditions) {
        *shared.entry(condition).or_default() += 1;
        *asked.entry(&condition.part).or_default() += 1;
    }
    let cost = |condition: &Condition| {
        let asked = asked.get(&condition.part).copied();
        (
            shared.get(condition).copied(),
            !condition.whole,
            Reverse(asked),
        )
    };
    let choice = |item: &Item| {
        let numbered = item.conditions.iter().enumerate();
        Some(numbered.min_by_key(|(_, condition)| cost(condition))?.0)
    };
    items.iter().map(choice).collect()
}

/// Files matches, which are in order, by their conditions on one part.
fn file(mut filed: Vec<(Condition, Item)>, depth: usize) -> Trie<List> {
    filed.sort_by(|(a, _), (b, _)| (&a.text, a.whole).cmp(&(&b.text, b.whole)));
    let mut groups: Vec<Filed<Vec<Item>>> = Vec::new();
    for (condition, item) in filed {
        match groups.last_mut() {
            Some(last) if last.text == condition.text && last.whole == condition.whole => {
                last.value.push(item);
            }
            _ => groups.push(Filed {
                text: condition.text,
                whole: condition.whole,
                value: vec![item],
            }),
        }
    }
    let lists = groups.into_iter().map(|group| Filed {
        text: group.text,
        whole: group.whole,
        value: List::at_depth(group.value, depth),
    });
    Trie::new(lists.collect())
}
