//! How far each kind has been read, and what is in the way: what `/readyz`, the metrics and the Lease
//! tell, and `heddle check --cluster` from there.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Why, where the server says nothing.
pub(super) const ENDLESS: &str = "its list does not come to an end";

/// Of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// Everything has been listed once.
    is_complete: bool,
    /// Why it cannot be followed now.
    failing: Option<String>,
}

#[derive(Debug, Default)]
struct Told {
    /// Of every kind that is followed, by `PLURAL.GROUP`.
    kinds: BTreeMap<String, Reading>,
    /// Why the server does not say what it serves.
    away: Option<String>,
    /// Sidecars are served from what was read.
    is_served: bool,
}

/// How far each kind has been read.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Told>);

impl Progress {
    /// It is followed from now on, maybe in another version.
    pub(crate) fn begins(&self, resource: String) {
        self.lock().kinds.entry(resource).or_default().failing = None;
    }

    pub(super) fn ends(&self, resource: &str) {
        self.lock().kinds.remove(resource);
    }

    pub(crate) fn completes(&self, resource: &str) {
        self.change(resource, |reading| {
            reading.is_complete = true;
            reading.failing = None;
        });
    }

    pub(crate) fn fails(&self, resource: &str, reason: Option<String>) {
        self.change(resource, |reading| reading.failing = reason);
    }

    /// Everything that is installed has been read.
    pub(crate) fn is_served(&self) {
        self.lock().is_served = true;
    }

    /// Why the server does not say what it serves; None: it does.
    pub(super) fn is_away(&self, reason: Option<String>) {
        self.lock().away = reason;
    }

    fn change(&self, resource: &str, change: impl FnOnce(&mut Reading)) {
        if let Some(reading) = self.lock().kinds.get_mut(resource) {
            change(reading);
        }
    }

    /// What cannot be read, or is not followed now: a line for each, what it is and why.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.lock();
        let away = told.away.iter();
        let away = away.map(|reason| format!("what the API server serves: {reason}"));
        let kinds = told.kinds.iter().filter_map(|(resource, reading)| {
            let reason = reading.failing.as_deref()?;
            let so = match (reading.is_complete, told.is_served) {
                (true, _) => "stays as it was",
                (false, false) => "no sidecar is served before it has been listed",
                (false, true) => {
                    "not in force, and a replica that starts now does not become ready"
                }
            };
            Some(format!("{resource}: {so}: {reason}"))
        });
        away.chain(kinds).collect()
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let told = self.lock();
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, of: fn(&Reading) -> bool| {
            // Writing to a String does not fail.
            _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (resource, reading) in &told.kinds {
                let value = u8::from(of(reading));
                _ = writeln!(text, "{name}{{resource=\"{resource}\"}} {value}");
            }
        };
        gauge(
            "heddle_control_kind_followed",
            "Whether a kind of the cluster has been read and is followed.",
            |reading| reading.is_complete && reading.failing.is_none(),
        );
        gauge(
            "heddle_control_kind_unread",
            "Whether a kind that is installed has never been listed, so that a replica is not ready.",
            |reading| !reading.is_complete,
        );
        text
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
