//! What is told: steps in order, each with the place in the user's files that decided it; the same for
//! programs as JSON.

use std::fmt::Write as _;

use heddle_proxy_config::decision::{Admission, Decision, Origin, Share};
use serde::Serialize;

use crate::commands::output::near;
use crate::picture::Sources;
use crate::terminal::Style;

/// What becomes of one request.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    /// `GET http://reviews:9080/`.
    pub(super) request: String,
    /// `NAMESPACE/POD` of the client.
    pub(super) from: String,
    pub(super) answered_by: By,
    /// `NAMESPACE/NAME`; `None`: the mesh knows no such service.
    pub(super) service: Option<String>,
    /// The rule that takes it: kind, name, number, file and line.
    pub(super) rule: Option<String>,
    /// What the sidecar answers itself, if it does.
    pub(super) status: Option<u16>,
    /// Whether those that it may reach let it in, as far as they were asked.
    pub(super) let_in: bool,
    /// Where it may go.
    pub(super) destinations: Vec<Share>,
    /// How it was decided, in words.
    pub(super) steps: Vec<Step>,
    /// The same, in parts.
    pub(super) decision: Option<Decision>,
    /// What the servers' sidecars say.
    pub(super) admissions: Vec<Admission>,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// The pod's own sidecar.
    Sidecar,
    /// This program, from files.
    Files,
}

/// One step.
#[derive(Debug, Default, Serialize)]
pub(super) struct Step {
    pub(super) what: String,
    /// Kind, name, file and line behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Origin>,
    /// Where in the object, as in `spec.http[1]`; of routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) details: Vec<String>,
}

impl Story {
    pub(super) fn new(answered_by: By, request: &str, from: String) -> Self {
        Self {
            request: request.to_owned(),
            from,
            answered_by,
            service: None,
            rule: None,
            status: None,
            let_in: true,
            destinations: Vec::new(),
            steps: Vec::new(),
            decision: None,
            admissions: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, what: impl Into<String>) -> &mut Step {
        self.steps.push(Step {
            what: what.into(),
            ..Step::default()
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Says of every rule behind a step where it stands in its object.
    pub(super) fn place(&mut self, is_opaque: bool) {
        for step in &mut self.steps {
            let origin = step.origin.as_ref();
            step.field = origin.and_then(|origin| field(origin, is_opaque));
        }
    }

    /// For people.
    pub(super) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        let mut sources = Sources::default();
        let mut last = None;
        // Writing to a String does not fail.
        let title = style.bold(&self.request);
        let by = match (self.answered_by, &self.decision) {
            (By::Sidecar, Some(decision)) => {
                format!(
                    "as its sidecar decides, configuration {}",
                    decision.config_version
                )
            }
            _ => "as the files say".to_owned(),
        };
        let _ = writeln!(out, "{title}  from {}, {by}\n", self.from);
        for (number, step) in (1..).zip(&self.steps) {
            let _ = write!(out, "{number:>2}. {}", step.what);
            let origin = step.origin.as_ref();
            if let Some(origin) = origin {
                let shown = shown(origin, step.field.as_deref());
                let _ = write!(out, "  {}", style.dim(&shown));
            }
            out.push('\n');
            let line = origin.filter(|_| origin != last);
            last = origin.or(last);
            if let Some((number, line)) = line.and_then(|origin| line_of(origin, &mut sources)) {
                let _ = writeln!(out, "    {}", style.dim(&format!("{number} | {line}")));
            }
            for detail in &step.details {
                let _ = writeln!(out, "    {detail}");
            }
        }
        out
    }
}

impl Step {
    pub(super) fn by(&mut self, origin: Option<&Origin>) -> &mut Self {
        self.origin = origin.filter(|origin| !origin.text.is_empty()).cloned();
        self
    }

    pub(super) fn detail(&mut self, detail: impl Into<String>) -> &mut Self {
        self.details.push(detail.into());
        self
    }
}

/// Name and place: the path as seen from here, or the field of an object that came from no file.
fn shown(origin: &Origin, field: Option<&str>) -> String {
    match (&origin.file, origin.line, field) {
        (Some(file), Some(line), _) => format!("{}  {}:{line}", origin.named(), near(file)),
        (Some(file), None, _) => format!("{}  {}", origin.named(), near(file)),
        (None, _, Some(field)) => {
            let object = origin.named().split('#').next().unwrap_or_default();
            format!("{object}  {field}")
        }
        _ => origin.named().to_owned(),
    }
}

/// Where a route's rule stands in it. Rules for connections and those for requests are counted alike.
fn field(origin: &Origin, is_opaque: bool) -> Option<String> {
    let rule = origin.rule.as_deref()?;
    let (list, number) = match (&*origin.kind, rule.strip_prefix("tls")) {
        ("HTTPRoute" | "GRPCRoute", _) => ("rules", rule),
        ("VirtualService", Some(number)) => ("tls", number),
        ("VirtualService", None) if is_opaque => ("tcp", rule),
        ("VirtualService", None) => ("http", rule),
        _ => return None,
    };
    number.parse::<u32>().ok()?;
    Some(format!("spec.{list}[{number}]"))
}

/// The line of YAML behind a step, where it can be read.
fn line_of(origin: &Origin, sources: &mut Sources) -> Option<(u32, String)> {
    let number = origin.line?;
    let line = sources.line(origin.file.as_deref()?, number)?.trim_end();
    (!line.is_empty()).then(|| (number, line.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_came_from_no_file_is_placed_by_its_field() {
        let told = |text: &str, is_opaque: bool| {
            let origin = Origin::parse(text).unwrap();
            shown(&origin, field(&origin, is_opaque).as_deref())
        };
        for (text, is_opaque, place) in [
            (
                "VirtualService/shop/cart#1",
                false,
                "VirtualService/shop/cart  spec.http[1]",
            ),
            (
                "VirtualService/shop/cart#0",
                true,
                "VirtualService/shop/cart  spec.tcp[0]",
            ),
            (
                "VirtualService/shop/cart#tls2",
                true,
                "VirtualService/shop/cart  spec.tls[2]",
            ),
            (
                "GRPCRoute/shop/cart#3",
                false,
                "GRPCRoute/shop/cart  spec.rules[3]",
            ),
            (
                "PeerAuthentication/shop/all",
                false,
                "PeerAuthentication/shop/all",
            ),
        ] {
            assert_eq!(told(text, is_opaque), place);
        }
        let in_a_file = told("VirtualService/shop/cart#1 (/r.yaml:7)", false);
        assert_eq!(in_a_file, "VirtualService/shop/cart#1  /r.yaml:7");
    }
}
