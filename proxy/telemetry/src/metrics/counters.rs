//! Counters and gauges of the process (`heddle_*`), written by any thread through handles.

use super::lock;
use super::render::{escape, head};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Label combinations of one name; later ones share one whose values read `other`.
const MAX_COMBINATIONS: usize = 256;

/// A number that only grows. Clone is a reference count.
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that is set. Clone is a reference count.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away; never below zero.
    pub fn sub(&self, n: u64) {
        self.0
            .update(Relaxed, Relaxed, |value| value.saturating_sub(n));
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KindOf {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: KindOf,
    cells: BTreeMap<String, Arc<AtomicU64>>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    families: Mutex<BTreeMap<&'static str, Family>>,
}

impl Counters {
    pub(super) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        Counter(self.cell(name, help, labels, KindOf::Counter))
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        Gauge(self.cell(name, help, labels, KindOf::Gauge))
    }

    fn cell(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        kind: KindOf,
    ) -> Arc<AtomicU64> {
        let mut families = lock(&self.families);
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            cells: BTreeMap::new(),
        });
        debug_assert_eq!(family.kind, kind, "{name} is both a counter and a gauge");
        let mut text = labels_text(labels.iter().copied());
        if family.cells.len() >= MAX_COMBINATIONS && !family.cells.contains_key(&text) {
            text = labels_text(labels.iter().map(|(name, _)| (*name, "other")));
        }
        Arc::clone(family.cells.entry(text).or_default())
    }

    pub(super) fn render(&self, out: &mut String) {
        for (name, family) in lock(&self.families).iter() {
            let kind = match family.kind {
                KindOf::Counter => "counter",
                KindOf::Gauge => "gauge",
            };
            head(out, name, kind, family.help);
            for (labels, cell) in &family.cells {
                let _ = writeln!(out, "{name}{labels} {}", cell.load(Relaxed));
            }
        }
    }
}

fn labels_text<'a>(labels: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(name);
        text.push_str("=\"");
        escape(&mut text, value);
        text.push('"');
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}
