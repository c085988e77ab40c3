//! How far each kind has been read, and what is in the way: what `/readyz`, the metrics and the Lease
//! tell, and `heddle check --cluster` from there.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Why, where the server says nothing.
const ENDLESS: &str = "its list does not come to an end";

/// Of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// Everything has been listed once.
    is_complete: bool,
    /// The mesh is served without it.
    is_passed_over: bool,
    /// Why it cannot be followed now.
    failing: Option<String>,
}

/// Of every kind that is followed, by `PLURAL.GROUP`.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<String, Reading>>);

impl Progress {
    /// It is followed from now on, maybe in another version.
    pub(super) fn begins(&self, resource: String) {
        self.lock().entry(resource).or_default().failing = None;
    }

    pub(super) fn ends(&self, resource: &str) {
        self.lock().remove(resource);
    }

    pub(super) fn completes(&self, resource: &str) {
        self.change(resource, |reading| {
            reading.is_complete = true;
            reading.is_passed_over = false;
        });
    }

    pub(super) fn is_passed_over(&self, resource: &str) {
        self.change(resource, |reading| reading.is_passed_over = true);
    }

    pub(super) fn fails(&self, resource: &str, reason: Option<String>) {
        self.change(resource, |reading| reading.failing = reason);
    }

    fn change(&self, resource: &str, change: impl FnOnce(&mut Reading)) {
        if let Some(reading) = self.lock().get_mut(resource) {
            change(reading);
        }
    }

    /// Why it cannot be followed now, as far as that is known.
    pub(super) fn reason(&self, resource: &str) -> String {
        let reason = self
            .lock()
            .get(resource)
            .and_then(|reading| reading.failing.clone());
        reason.unwrap_or_else(|| ENDLESS.to_owned())
    }

    /// What cannot be read, or is not followed now: a line for each, what it is and why.
    pub fn troubles(&self) -> Vec<String> {
        let all = self.lock();
        let lines = all.iter().filter_map(|(resource, reading)| {
            let reason = reading.failing.as_deref();
            match (reading.is_complete, reading.is_passed_over, reason) {
                (true, _, Some(reason)) => Some(format!("{resource}: stays as it was: {reason}")),
                (false, true, reason) => Some(format!(
                    "{resource}: served without it: {}",
                    reason.unwrap_or(ENDLESS)
                )),
                (false, false, Some(reason)) => Some(format!("{resource}: {reason}")),
                (_, _, None) => None,
            }
        });
        lines.collect()
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP heddle_control_kind_followed Whether a kind of the cluster has been read and is followed.\n\
             # TYPE heddle_control_kind_followed gauge\n",
        );
        for (resource, reading) in self.lock().iter() {
            let is_well = reading.is_complete && reading.failing.is_none();
            // Writing to a String does not fail.
            _ = writeln!(
                text,
                "heddle_control_kind_followed{{resource=\"{resource}\"}} {}",
                u8::from(is_well)
            );
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
