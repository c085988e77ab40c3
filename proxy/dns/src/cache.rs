//! Answers of the pod's resolvers, for as long as they say and no longer; few, and small ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wire::{self, Query, Section, kind};

/// Answers that are kept: of the size below, half a megabyte together.
const ENTRIES: usize = 256;
/// Largest answer that is kept.
const LARGEST: usize = 2048;
/// Longest time that an answer is kept; a sidecar's own, so that a change is seen without restart.
const LONGEST: Duration = Duration::from_secs(300);
/// The same for what is not (RFC 2308 suggests hours; a pod waits for names that appear).
const LONGEST_NEGATIVE: Duration = Duration::from_secs(30);

const NO_ERROR: u8 = 0;
const NX_DOMAIN: u8 = 3;

#[derive(Default)]
pub(crate) struct Cache(HashMap<Vec<u8>, Entry>);

struct Entry {
    answer: Box<[u8]>,
    kept: Instant,
    lives: Duration,
}

impl Cache {
    /// The answer to a query under its id, with what is left of its times.
    pub(crate) fn get(&self, query: &Query<'_>, now: Instant) -> Option<Vec<u8>> {
        let entry = self.0.get(&key(query)?)?;
        let age = now.saturating_duration_since(entry.kept);
        if age >= entry.lives {
            return None;
        }
        let mut answer = entry.answer.to_vec();
        let places: Vec<(usize, u32)> = wire::records(&answer)?
            .flatten()
            .filter(|record| record.kind != kind::OPT)
            .map(|record| (record.ttl_at, record.ttl))
            .collect();
        for (at, ttl) in places {
            let left = u64::from(ttl).saturating_sub(age.as_secs()) as u32;
            answer
                .get_mut(at..at + 4)?
                .copy_from_slice(&left.to_be_bytes());
        }
        let asked = query.question_bytes();
        answer
            .get_mut(wire::HEADER..)?
            .get_mut(..asked.len())?
            .copy_from_slice(asked);
        wire::set_id(&mut answer, [query.bytes()[0], query.bytes()[1]]);
        Some(answer)
    }

    /// Keeps an answer, when it may be.
    pub(crate) fn put(&mut self, query: &Query<'_>, answer: &[u8], now: Instant) {
        let (Some(key), Some(lives)) = (key(query), lifetime(answer)) else {
            return;
        };
        if answer.len() > LARGEST {
            return;
        }
        if self.0.len() >= ENTRIES && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let entry = Entry {
            answer: answer.into(),
            kept: now,
            lives,
        };
        self.0.insert(key, entry);
    }

    /// Drops what is over, else what is over next.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, entry| now < entry.kept + entry.lives);
        if self.0.len() < ENTRIES {
            return;
        }
        let next = self
            .0
            .iter()
            .min_by_key(|(_, entry)| entry.kept + entry.lives);
        if let Some(key) = next.map(|(key, _)| key.clone()) {
            self.0.remove(&key);
        }
    }
}

/// What an answer depends on; `None` for queries that say more than a question.
fn key(query: &Query<'_>) -> Option<Vec<u8>> {
    let edns = match query.edns {
        None => 0,
        Some(edns) if edns.options => return None,
        Some(edns) => 1 + u8::from(edns.dnssec),
    };
    let mut key = query.question_bytes().to_ascii_lowercase();
    key.extend_from_slice(&query.wishes().to_be_bytes());
    key.push(edns);
    Some(key)
}

/// How long an answer may be kept; `None`: not at all.
fn lifetime(answer: &[u8]) -> Option<Duration> {
    if wire::is_truncated(answer) || !matches!(wire::code(answer), NO_ERROR | NX_DOMAIN) {
        return None;
    }
    let mut shortest = u32::MAX;
    let mut answers = 0;
    let mut denial = None;
    for record in wire::records(answer)? {
        let record = record?;
        if record.kind == kind::OPT {
            continue;
        }
        shortest = shortest.min(record.ttl);
        match record.section {
            Section::Answer => answers += 1,
            Section::Authority if record.kind == kind::SOA => {
                // Its last field (RFC 2308 §3).
                let last = answer.get(record.data.end.checked_sub(4)?..record.data.end)?;
                denial = Some(u32::from_be_bytes(last.try_into().ok()?));
            }
            _ => {}
        }
    }
    let positive = wire::code(answer) == NO_ERROR && answers > 0;
    let (seconds, most) = match (positive, denial) {
        (true, _) => (shortest, LONGEST),
        (false, Some(denial)) => (shortest.min(denial), LONGEST_NEGATIVE),
        (false, None) => return None,
    };
    // The high bit means none (RFC 2181 §8).
    let seconds = if seconds > i32::MAX as u32 {
        0
    } else {
        seconds
    };
    (seconds > 0).then(|| most.min(Duration::from_secs(seconds.into())))
}

#[cfg(test)]
mod tests;
