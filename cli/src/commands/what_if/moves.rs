//! What moves from where to where: shares before and after, told apart by as few moves as there can be.
//! Counts are expectations, so that a split of nine to one moves a tenth of every request.

use std::collections::BTreeMap;

use serde::Serialize;

use super::recorded::Request;
use super::rounded;

/// Requests that are named for each move.
const EXAMPLES: usize = 3;
/// Less than this of one request is no move: shares are sums of fractions.
const NOTHING: f64 = 1e-9;

/// Where a request ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Place {
    /// `NAMESPACE/NAME`; a word in its place where there is none.
    pub(super) service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subset: Option<String>,
    /// Of the sidecar's own answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flag: Option<String>,
}

/// The shares of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    pub(super) rule: Option<String>,
    places: BTreeMap<Place, f64>,
}

/// A request to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Example {
    pub(super) trace_id: String,
    pub(super) from: String,
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    /// What it was answered with then.
    pub(super) status: Option<u16>,
}

/// Requests that go elsewhere.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Move {
    pub(super) from: Place,
    /// The rule that took them.
    pub(super) from_rule: Option<String>,
    pub(super) to: Place,
    /// The rule that would.
    pub(super) to_rule: Option<String>,
    /// In expectation.
    pub(super) count: f64,
    /// Of all that were recorded.
    pub(super) percent: f64,
    pub(super) examples: Vec<Example>,
}

/// Requests of which it cannot be told.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Undecided {
    /// The rule that depends on what was not recorded, or why else.
    pub(super) rule: String,
    /// What it depends on.
    pub(super) needs: Vec<String>,
    pub(super) count: usize,
    pub(super) percent: f64,
    pub(super) examples: Vec<Example>,
}

/// From, its rule, to, its rule.
type Way = (Place, Option<String>, Place, Option<String>);

#[derive(Debug, Default)]
pub(super) struct Moves {
    stay: f64,
    moved: BTreeMap<Way, (f64, Vec<Example>)>,
    open: BTreeMap<(String, Vec<String>), (usize, Vec<Example>)>,
}

impl Place {
    pub(super) fn status(status: u16, flag: &str) -> Self {
        Self {
            service: "the sidecar itself".to_owned(),
            status: Some(status),
            flag: (!flag.is_empty()).then(|| flag.to_owned()),
            subset: None,
        }
    }

    pub(super) fn word(word: &str) -> Self {
        Self {
            service: word.to_owned(),
            ..Self::default()
        }
    }
}

impl Spread {
    pub(super) fn new(rule: Option<String>) -> Self {
        Self {
            rule,
            places: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, place: Place, share: f64) {
        *self.places.entry(place).or_insert(0.0) += share;
    }

    fn of(&self, place: &Place) -> f64 {
        self.places.get(place).copied().unwrap_or(0.0)
    }

    /// Whether the same shares go to the same places.
    pub(super) fn same(&self, other: &Self) -> bool {
        let near = |place: &Place| (self.of(place) - other.of(place)).abs() < NOTHING;
        self.places.keys().chain(other.places.keys()).all(near)
    }
}

impl Moves {
    pub(super) fn add(&mut self, request: &Request, before: &Spread, after: &Spread) {
        let lost = |place: &Place| (before.of(place) - after.of(place)).max(0.0);
        let won = |place: &Place| (after.of(place) - before.of(place)).max(0.0);
        let total: f64 = before.places.keys().map(lost).sum();
        self.stay += 1.0 - total;
        if total < NOTHING {
            return;
        }
        for from in before.places.keys().filter(|place| lost(place) > NOTHING) {
            for to in after.places.keys().filter(|place| won(place) > NOTHING) {
                let way = (
                    from.clone(),
                    before.rule.clone(),
                    to.clone(),
                    after.rule.clone(),
                );
                let (count, examples) = self.moved.entry(way).or_default();
                *count += lost(from) * won(to) / total;
                show(examples, request);
            }
        }
    }

    pub(super) fn open(&mut self, request: &Request, rule: String, needs: Vec<String>) {
        let (count, examples) = self.open.entry((rule, needs)).or_default();
        *count += 1;
        show(examples, request);
    }

    /// How many stay; the moves and what is undecided, most first.
    pub(super) fn done(self, requests: usize) -> (f64, Vec<Move>, Vec<Undecided>) {
        let percent = |count: f64| rounded(100.0 * count / requests.max(1) as f64);
        let moved = self.moved.into_iter().map(|(way, (count, examples))| Move {
            from: way.0,
            from_rule: way.1,
            to: way.2,
            to_rule: way.3,
            count: rounded(count),
            percent: percent(count),
            examples,
        });
        let mut moved: Vec<Move> = moved.collect();
        moved.sort_by(|a, b| b.count.total_cmp(&a.count));
        let open = self.open.into_iter();
        let open = open.map(|((rule, needs), (count, examples))| Undecided {
            rule,
            needs,
            count,
            percent: percent(count as f64),
            examples,
        });
        let mut open: Vec<Undecided> = open.collect();
        open.sort_by_key(|one| std::cmp::Reverse(one.count));
        (self.stay, moved, open)
    }
}

/// Different paths tell more than the same one again.
fn show(examples: &mut Vec<Example>, request: &Request) {
    let known = |one: &Example| (&one.method, &one.path) == (&request.method, &request.path);
    if examples.len() < EXAMPLES && !examples.iter().any(known) {
        examples.push(Example {
            trace_id: request.trace_id.clone(),
            from: format!("{}/{}", request.namespace, request.pod),
            method: request.method.clone(),
            authority: request.authority.clone(),
            path: request.path.clone(),
            status: request.status,
        });
    }
}
