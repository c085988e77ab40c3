//! What came of every request, message and stream, and when, so that the time before a fault can be
//! compared with the time of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Requests over HTTP/1.1.
    Http,
    /// Messages on gRPC streams.
    Grpc,
    /// Messages on WebSockets.
    WebSocket,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http, Self::Grpc, Self::WebSocket];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP/1.1",
            Self::Grpc => "gRPC stream",
            Self::WebSocket => "WebSocket",
        })
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The sidecar's word for it, if it was a sidecar's answer.
    pub flag: Option<String>,
    /// What the client saw.
    pub what: String,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            flag: None,
            what: what.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.flag {
            Some(flag) => write!(f, "{flag}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

#[derive(Debug)]
enum Event {
    Answered(Duration),
    Failed(Failure),
    Opened,
    Moved,
    Broken(Failure),
}

/// Everything that has happened.
#[derive(Debug, Default)]
pub struct Record(Mutex<BTreeMap<Kind, Vec<(Instant, Event)>>>);

/// What happened to one kind of load within a time.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests or messages that were answered.
    pub answered: usize,
    /// Those that were not, or not with what they should.
    pub failed: Vec<Failure>,
    /// Streams that were opened.
    pub opened: usize,
    /// Streams that the server ended politely.
    pub moved: usize,
    /// Streams that could not be opened, or broke.
    pub broken: Vec<Failure>,
    /// Times of the answered ones, in order.
    pub(crate) times: Vec<Duration>,
}

impl Record {
    fn events(&self) -> MutexGuard<'_, BTreeMap<Kind, Vec<(Instant, Event)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, kind: Kind, event: Event) {
        let mut events = self.events();
        events
            .entry(kind)
            .or_default()
            .push((Instant::now(), event));
    }

    pub(super) fn answer(&self, kind: Kind, took: Duration) {
        self.note(kind, Event::Answered(took));
    }

    pub(super) fn failed(&self, kind: Kind, failure: Failure) {
        self.note(kind, Event::Failed(failure));
    }

    pub(super) fn opened(&self, kind: Kind) {
        self.note(kind, Event::Opened);
    }

    pub(super) fn moved(&self, kind: Kind) {
        self.note(kind, Event::Moved);
    }

    pub(super) fn broken(&self, kind: Kind, what: impl Into<String>) {
        self.note(kind, Event::Broken(Failure::new(what)));
    }

    /// How many have been answered so far.
    pub fn answered(&self, kind: Kind) -> usize {
        let events = self.events();
        let events = events.get(&kind).into_iter().flatten();
        events
            .filter(|(_, event)| matches!(event, Event::Answered(_)))
            .count()
    }

    /// What happened from one moment until another.
    pub fn between(&self, kind: Kind, from: Instant, until: Instant) -> Tally {
        let mut tally = Tally::default();
        let events = self.events();
        let events = events.get(&kind).into_iter().flatten();
        for (_, event) in events.filter(|(at, _)| (from..until).contains(at)) {
            match event {
                Event::Answered(took) => tally.times.push(*took),
                Event::Failed(failure) => tally.failed.push(failure.clone()),
                Event::Opened => tally.opened += 1,
                Event::Moved => tally.moved += 1,
                Event::Broken(failure) => tally.broken.push(failure.clone()),
            }
        }
        tally.answered = tally.times.len();
        tally.times.sort();
        tally
    }
}

impl Tally {
    /// How long the slowest of this share took, if there was any: 0.99 for the 99th percentile.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        let at = (last as f64 * share).ceil() as usize;
        self.times.get(at.min(last)).copied()
    }

    /// The same of another time added.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed.extend(other.failed);
        self.opened += other.opened;
        self.moved += other.moved;
        self.broken.extend(other.broken);
        self.times.extend(other.times);
        self.times.sort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_happened_is_counted_in_its_time() {
        let record = Record::default();
        let start = Instant::now();
        for ms in 1..=100 {
            record.answer(Kind::Http, Duration::from_millis(ms));
        }
        record.failed(Kind::Http, Failure::new("no"));
        record.opened(Kind::Grpc);
        record.broken(Kind::Grpc, "cut");
        let end = Instant::now() + Duration::from_secs(1);
        let http = record.between(Kind::Http, start, end);
        assert_eq!((http.answered, http.failed.len()), (100, 1));
        assert_eq!(http.percentile(0.5), Some(Duration::from_millis(51)));
        assert_eq!(http.percentile(0.99), Some(Duration::from_millis(100)));
        let grpc = record.between(Kind::Grpc, start, end);
        assert_eq!((grpc.opened, grpc.broken.len()), (1, 1));
        assert_eq!(grpc.percentile(0.5), None);
        let later = record.between(Kind::Http, end, end + Duration::from_secs(1));
        assert_eq!(later.answered, 0);
    }
}
