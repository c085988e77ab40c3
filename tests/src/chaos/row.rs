//! One row of the table, and whether it is good.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::act::Done;
use super::scenario::{Cost, Side};
use super::{Counted, Scenario};
use crate::traffic::{Failure, Kind, Tally};

/// Failures that are shown of many.
const SHOWN: usize = 3;

/// What came of one scenario.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub scenario: Scenario,
    /// How long it took.
    pub took: Duration,
    /// Each kind of load, before and during.
    pub loads: Vec<(Kind, Tally, Tally)>,
    /// Requests by the flag and status that the client's sidecar has counted.
    pub counted: Counted,
    /// For the reader.
    pub notes: Vec<String>,
    /// Why it is not good; empty: it is.
    pub problems: Vec<String>,
}

impl Row {
    /// Judges what happened.
    pub fn new(
        scenario: Scenario,
        took: Duration,
        loads: impl Fn(Kind) -> (Tally, Tally),
        counted: Counted,
        done: Done,
    ) -> Self {
        let loads = Kind::ALL.map(|kind| {
            let (before, during) = loads(kind);
            (kind, before, during)
        });
        let mut row = Self {
            scenario,
            took,
            loads: loads.into(),
            counted,
            notes: done.notes,
            problems: done.problems,
        };
        row.judge(&done.at_server);
        row
    }

    /// Whether nothing happened but what had to.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn judge(&mut self, at_server: &BTreeMap<String, u64>) {
        let mut problems = std::mem::take(&mut self.problems);
        let cost = self.scenario.cost();
        let mut due = 0;
        for (kind, before, during) in &self.loads {
            if !before.failed.is_empty() || !before.broken.is_empty() {
                problems.push(format!("{kind}: it failed before there was a fault"));
            }
            let (expected, others): (Vec<&Failure>, Vec<&Failure>) = during
                .failed
                .iter()
                .partition(|failure| is_due(cost, failure));
            due += expected.len();
            problems.extend(summary(kind, "failed", &others));
            problems.extend(summary(
                kind,
                "streams broke",
                &during.broken.iter().collect::<Vec<_>>(),
            ));
            if during.moved > 0 && !self.scenario.pods_go() {
                problems.push(format!(
                    "{kind}: {} streams were ended, and no pod went away",
                    during.moved
                ));
            }
        }
        problems.extend(self.uncounted(cost, due, at_server));
        self.problems = problems;
    }

    /// What clients saw and what the sidecars counted must be the same.
    fn uncounted(&self, cost: Cost, due: usize, at_server: &BTreeMap<String, u64>) -> Vec<String> {
        let mut problems = Vec::new();
        let mut flags = self.counted.flags.clone();
        flags.remove("-");
        if let Cost::Requests {
            status,
            flag,
            noted_by,
            at_most,
        } = cost
        {
            if due == 0 {
                problems.push("the fault did not show: nobody met it".into());
            }
            if due > at_most {
                problems.push(format!(
                    "{due} requests met the fault; the endpoint should be left out after {at_most}"
                ));
            }
            let at_client = match noted_by {
                Side::Client => flags.remove(flag),
                Side::Server => self.counted.codes.get(&status.to_string()).copied(),
            };
            let at_server = match noted_by {
                Side::Client => at_client,
                Side::Server => at_server.get(flag).copied(),
            };
            let due = due as u64;
            if at_client != Some(due) || at_server != Some(due) {
                problems.push(format!(
                    "clients saw {due} × {status} {flag}; the client's sidecar counted {at_client:?}, \
                     where it is noted {at_server:?}"
                ));
            }
        }
        if !flags.is_empty() {
            problems.push(format!(
                "the client's sidecar has flagged requests: {flags:?}"
            ));
        }
        problems
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let milliseconds = |time: Option<Duration>| time.map(|t| t.as_secs_f64() * 1000.0);
        let tally = |tally: &Tally| {
            let failures =
                |failures: &[Failure]| failures.iter().map(ToString::to_string).collect::<Vec<_>>();
            json!({
                "answered": tally.answered,
                "failed": failures(&tally.failed),
                "streams_opened": tally.opened,
                "streams_moved": tally.moved,
                "streams_broken": failures(&tally.broken),
                "p50_ms": milliseconds(tally.percentile(0.5)),
                "p99_ms": milliseconds(tally.percentile(0.99)),
            })
        };
        let loads = self.loads.iter().map(|(kind, before, during)| {
            json!({"kind": kind.to_string(), "before": tally(before), "during": tally(during)})
        });
        json!({
            "scenario": self.scenario.name(),
            "seconds": self.took.as_secs_f64(),
            "good": self.is_good(),
            "loads": loads.collect::<Vec<_>>(),
            "counted_by_flag": self.counted.flags,
            "notes": self.notes,
            "problems": self.problems,
        })
    }
}

/// Whether this is what the fault must show.
fn is_due(cost: Cost, failure: &Failure) -> bool {
    match cost {
        Cost::Nothing => false,
        Cost::Requests { status, flag, .. } => {
            failure.flag.as_deref() == Some(flag) && failure.what.starts_with(&status.to_string())
        }
    }
}

fn summary(kind: &Kind, what: &str, failures: &[&Failure]) -> Option<String> {
    let mut different: Vec<String> = failures.iter().map(ToString::to_string).collect();
    different.sort();
    different.dedup();
    let more = different.len().saturating_sub(SHOWN);
    different.truncate(SHOWN);
    let shown = different.join("; ");
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} others"),
    };
    (!failures.is_empty()).then(|| format!("{kind}: {} {what}: {shown}{more}", failures.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(scenario: Scenario, during: Tally, counted: &[(&str, u64)]) -> Row {
        let flags = counted.iter().map(|(flag, n)| ((*flag).to_owned(), *n));
        let counted = Counted {
            flags: flags.collect(),
            codes: BTreeMap::default(),
        };
        let loads = |kind| match kind {
            Kind::Http => (Tally::default(), during.clone()),
            _ => (Tally::default(), Tally::default()),
        };
        Row::new(
            scenario,
            Duration::from_secs(1),
            loads,
            counted,
            Done::default(),
        )
    }

    fn failed(flag: &str, what: &str, times: usize) -> Tally {
        let failure = Failure {
            flag: Some(flag.to_owned()).filter(|flag| !flag.is_empty()),
            what: what.to_owned(),
        };
        Tally {
            failed: vec![failure; times],
            ..Tally::default()
        }
    }

    #[test]
    fn a_quiet_row_is_good_and_any_failure_is_not() {
        let quiet = row(Scenario::Scale, Tally::default(), &[("-", 100)]);
        assert!(quiet.is_good(), "{:?}", quiet.problems);
        for during in [
            failed("", "closed", 1),
            failed("UT", "504 too late", 1),
            Tally {
                broken: vec![Failure::new("reset")],
                ..Tally::default()
            },
        ] {
            assert!(!row(Scenario::Scale, during, &[]).is_good());
        }
    }

    #[test]
    fn streams_move_only_where_pods_go() {
        let moved = || Tally {
            moved: 1,
            ..Tally::default()
        };
        assert!(row(Scenario::Scale, moved(), &[]).is_good());
        assert!(!row(Scenario::RouteEdits, moved(), &[]).is_good());
    }

    #[test]
    fn what_the_fault_must_show_must_be_counted_as_often() {
        let late = |times| failed("UT", "504 too late", times);
        assert!(row(Scenario::EndpointStalls, late(3), &[("UT", 3)]).is_good());
        assert!(!row(Scenario::EndpointStalls, late(3), &[("UT", 2)]).is_good());
        assert!(!row(Scenario::EndpointStalls, late(3), &[("UT", 3), ("UC", 1)]).is_good());
        assert!(!row(Scenario::EndpointStalls, late(0), &[]).is_good());
        assert!(!row(Scenario::EndpointStalls, late(30), &[("UT", 30)]).is_good());
        let other = failed("UC", "503 closed", 3);
        assert!(!row(Scenario::EndpointStalls, other, &[("UC", 3)]).is_good());
        assert!(!row(Scenario::EndpointStallsRetried, late(1), &[("UT", 1)]).is_good());
    }

    #[test]
    fn a_flag_that_no_client_saw_is_a_problem() {
        let quiet = row(Scenario::Scale, Tally::default(), &[("UC", 1)]);
        assert!(!quiet.is_good());
    }
}
