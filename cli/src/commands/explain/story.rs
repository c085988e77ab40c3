//! What is told: steps in order, each with the place in the user's files that decided it; the same for
//! programs as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::commands::output::near;
use crate::terminal::Style;

/// What becomes of one request.
#[derive(Debug, Default, Serialize)]
pub(super) struct Story {
    /// `GET http://reviews:9080/`.
    pub(super) request: String,
    /// `NAMESPACE/POD` of the client.
    pub(super) from: String,
    /// `NAMESPACE/NAME`; `None`: the mesh knows no such service.
    pub(super) service: Option<String>,
    /// The rule that takes it: kind, name, number, file and line.
    pub(super) rule: Option<String>,
    /// What the sidecar answers itself, if it does.
    pub(super) status: Option<u16>,
    /// Where it may go.
    pub(super) destinations: Vec<Destination>,
    /// How it was decided.
    pub(super) steps: Vec<Step>,
}

/// One share of a split.
#[derive(Debug, Serialize)]
pub(super) struct Destination {
    pub(super) service: String,
    pub(super) subset: Option<String>,
    pub(super) port: u16,
    /// Of a hundred requests.
    pub(super) percent: f64,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One pod that may get it.
#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) workload: String,
    pub(super) address: String,
    /// Whom the sidecar expects there; `None`: plain text.
    pub(super) identity: Option<String>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) what: String,
    /// Kind, name, file and line behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) details: Vec<String>,
}

impl Story {
    pub(super) fn step(&mut self, what: impl Into<String>) -> &mut Step {
        self.steps.push(Step {
            what: what.into(),
            origin: None,
            details: Vec::new(),
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// For people.
    pub(super) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let title = style.bold(&self.request);
        let _ = writeln!(out, "{title}  from {}\n", self.from);
        for (number, step) in (1..).zip(&self.steps) {
            let _ = write!(out, "{number:>2}. {}", step.what);
            if let Some(origin) = &step.origin {
                let _ = write!(out, "  {}", style.dim(&shorter(origin)));
            }
            out.push('\n');
            for detail in &step.details {
                let _ = writeln!(out, "    {detail}");
            }
        }
        out
    }
}

impl Step {
    pub(super) fn by(&mut self, origin: &str) -> &mut Self {
        self.origin = (!origin.is_empty()).then(|| origin.to_owned());
        self
    }

    pub(super) fn detail(&mut self, detail: impl Into<String>) -> &mut Self {
        self.details.push(detail.into());
        self
    }
}

/// `KIND/NS/NAME#1 (/long/path/file.yaml:12)` with the path as seen from here.
fn shorter(origin: &str) -> String {
    match origin.split_once(" (") {
        Some((name, place)) => format!("{name}  {}", near(place.trim_end_matches(')'))),
        None => origin.to_owned(),
    }
}
