//! Every figure of a comparison, and the medians that are made of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::cases::Case;
use crate::check::Work;
use crate::error::{Error, Result};
use crate::figure::{Aim, Figure, Measure, Reference};
use crate::machine::Description;
use crate::peers::Peer;
use crate::quiet::{Disturbance, QUIET};
use crate::stage::Stage;
use crate::statistics::Spread;

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Description,
    pub(crate) cases: Vec<CaseReport>,
}

/// One case.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CaseReport {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) about: String,
    /// What fills it.
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// In the order in which they are recorded.
    pub(crate) measures: Vec<Measure>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) works: Vec<Work>,
    pub(crate) disturbances: Vec<Disturbance>,
    pub(crate) failures: Vec<Failure>,
}

/// Why a peer has no figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    pub(crate) setup: String,
    pub(crate) why: String,
}

/// An aim and what was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) reached: f64,
    pub(crate) met: bool,
}

impl Report {
    pub(crate) fn new(machine: Description) -> Self {
        Self {
            machine,
            cases: Vec::new(),
        }
    }

    /// One of several files: a case in a later file takes the place of the same in an earlier one.
    pub(crate) fn merge(mut self, later: Self) -> Self {
        self.machine = later.machine;
        for case in later.cases {
            match self.cases.iter_mut().find(|c| c.name == case.name) {
                Some(earlier) => *earlier = case,
                None => self.cases.push(case),
            }
        }
        self
    }

    pub(crate) fn read_json(file: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(file).map_err(Error::file("read", file))?;
        serde_json::from_str(&json).map_err(|error| Error::file("read", file)(error.into()))
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::file("write", file)(error.into()))?;
        std::fs::write(file, json + "\n").map_err(Error::file("write", file))
    }

    /// Whether every case was measured with every peer.
    pub(crate) fn complete(&self) -> bool {
        self.cases.iter().all(|case| case.failures.is_empty())
    }
}

impl CaseReport {
    pub(crate) fn new(case: &dyn Case, args: &Args) -> Self {
        Self {
            name: case.name().to_owned(),
            title: case.title().to_owned(),
            about: case.about(),
            command: args.command(case.name()),
            rounds: args.rounds,
            seconds: args.seconds,
            measures: Vec::new(),
            figures: Vec::new(),
            works: Vec::new(),
            disturbances: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes over what a stage has recorded.
    pub(crate) fn take(&mut self, stage: Stage<'_>) {
        self.add(stage.figures);
        self.disturbances.extend(stage.disturbances);
    }

    /// A measure that is new comes after the one that was recorded before it: who has fewer figures
    /// comes first, and must not put the others' at the end.
    fn add(&mut self, figures: Vec<(Measure, Figure)>) {
        let mut next = 0;
        for (measure, figure) in figures {
            let known = self.measures.iter().position(|m| m.covers(&figure));
            let at = known.unwrap_or_else(|| {
                self.measures.insert(next, measure);
                next
            });
            next = at + 1;
            self.figures.push(figure);
        }
    }

    pub(crate) fn failed(&self, peer: Peer, setup: &str) -> bool {
        let mut failures = self.failures.iter();
        failures.any(|failure| failure.peer == peer && failure.setup == setup)
    }

    /// Who has figures, in the order of tables.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let has = |peer: &Peer| self.figures.iter().any(|figure| figure.peer == *peer);
        Peer::ALL.iter().copied().filter(has).collect()
    }

    /// A peer's figures of a measure, over all rounds.
    pub(crate) fn spread(&self, measure: &Measure, peer: Peer) -> Option<Spread> {
        let figures = self.figures.iter();
        let chosen = figures.filter(|figure| figure.peer == peer && measure.covers(figure));
        Spread::of(chosen.map(|figure| figure.value))
    }

    /// Our median in terms of another's.
    pub(crate) fn ratio(&self, measure: &Measure, of: &Reference) -> Option<f64> {
        let ours = self.spread(measure, Peer::Heddle)?.median;
        let theirs = match of {
            Reference::Peer(peer) => self.spread(measure, *peer)?.median,
            Reference::At(at) => {
                let mut measures = self.measures.iter();
                let other = measures.find(|m| m.what == measure.what && m.at == *at)?;
                self.spread(other, Peer::Heddle)?.median
            }
            Reference::One => 1.0,
        };
        (theirs > 0.0).then_some(ours / theirs)
    }

    /// What was reached of an aim; none when something was not measured.
    pub(crate) fn outcome(&self, measure: &Measure, aim: &Aim) -> Option<Outcome> {
        let reached = self.ratio(measure, &aim.of)?;
        let met = measure.better.met(reached, aim.times);
        Some(Outcome { reached, met })
    }

    /// Share of the machine that others and the hypervisor took: median and spread.
    pub(crate) fn disturbance(&self) -> Option<Spread> {
        Spread::of(self.disturbances.iter().map(Disturbance::share))
    }

    /// How many measurements were made while others took much of the machine.
    pub(crate) fn disturbed(&self) -> usize {
        let all = self.disturbances.iter();
        all.filter(|seen| seen.share() > QUIET).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::figure::Better;

    /// Three rounds of two peers.
    pub(crate) fn sample() -> CaseReport {
        let measure = Measure::less("CPU", "µs").at("16 connections");
        let mut report = CaseReport {
            name: "http1".into(),
            title: "HTTP/1.1".into(),
            about: "Requests.".into(),
            command: "cargo xtask bench --case http1".into(),
            rounds: 3,
            seconds: 1,
            measures: vec![
                measure.clone().aim(0.4, Peer::Envoy).aim(1.15, Peer::Relay),
                measure.at("64 connections").aim_at(1.05, "16 connections"),
            ],
            figures: Vec::new(),
            works: Vec::new(),
            disturbances: Vec::new(),
            failures: Vec::new(),
        };
        for round in 1..=3 {
            for (peer, at, value) in [
                (Peer::Heddle, "16 connections", 40.0),
                (Peer::Heddle, "64 connections", 44.0),
                (Peer::Envoy, "16 connections", 110.0),
            ] {
                report.figures.push(Figure {
                    case: "http1".into(),
                    peer,
                    round,
                    what: "CPU".into(),
                    at: at.into(),
                    unit: "µs".into(),
                    value: value + f64::from(round) - 2.0,
                });
            }
        }
        report
    }

    #[test]
    fn measures_stand_in_the_order_of_those_who_have_them_all() {
        let mut report = sample();
        report.measures.clear();
        let one = |what: &str| {
            let figure = Figure {
                case: "http1".into(),
                peer: Peer::Heddle,
                round: 1,
                what: what.into(),
                at: String::new(),
                unit: "µs".into(),
                value: 1.0,
            };
            (Measure::less(what, "µs"), figure)
        };
        report.add(["p50", "p99"].map(one).into());
        report.add(["idle", "p50", "p99", "CPU", "after"].map(one).into());
        let names: Vec<&str> = report.measures.iter().map(|m| &*m.what).collect();
        assert_eq!(names, ["idle", "p50", "p99", "CPU", "after"]);
    }

    #[test]
    fn aims_are_held_against_medians() {
        let report = sample();
        let [first, second] = &report.measures[..] else {
            panic!("two measures")
        };
        let outcome = report.outcome(first, &first.aims[0]).unwrap();
        assert!(outcome.met && (outcome.reached - 40.0 / 110.0).abs() < 1e-9);
        // The relay was not measured.
        assert_eq!(report.outcome(first, &first.aims[1]), None);
        let growth = report.outcome(second, &second.aims[0]).unwrap();
        assert!(!growth.met && (growth.reached - 1.1).abs() < 1e-9);
        assert_eq!(report.peers(), [Peer::Heddle, Peer::Envoy]);
        assert_eq!(first.better, Better::Less);
    }
}
