//! The report for people.

use std::fmt::Write as _;

use super::Report;
use super::moves::{Example, Place};
use crate::commands::output;
use crate::terminal::{Style, Table};

/// Characters of a trace's id that are enough to draw it.
const SHORT_ID: usize = 8;

pub(super) fn table(report: &Report, style: Style) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    if !report.refused.is_empty() {
        let _ = writeln!(
            out,
            "{}",
            style.red("refused, so that the version in force stays:")
        );
        out.push_str(&output::problems(&report.refused, style));
        out.push('\n');
    }
    if !report.left_out.is_empty() {
        let all = report.left_out.join(", ");
        let _ = writeln!(out, "left out, for it is no route: {all}\n");
    }
    if report.unusable > 0 {
        let _ = writeln!(
            out,
            "left out: {} client spans that are no request of a sidecar, or lack its method, path, host or pod\n",
            report.unusable
        );
    }
    if report.requests == 0 {
        let _ = writeln!(
            out,
            "no request of a sidecar was recorded: nothing can be compared. Requests through the mesh \
             leave traces: heddle exec POD -- curl http://SERVICE:PORT/"
        );
        return out;
    }
    let undecided: usize = report.undecided.iter().map(|one| one.count).sum();
    let _ = writeln!(
        out,
        "{} of {} recorded requests would go elsewhere, {} stay, {undecided} cannot be told",
        report.moved, report.requests, report.stay
    );
    if report.unknown_hosts > 0 {
        let _ = writeln!(
            out,
            "of these, {} were sent to hosts that the mesh knows no address of: no route decides, so they stay",
            report.unknown_hosts
        );
    }
    if !report.moves.is_empty() {
        let head = ["COUNT", "SHARE", "FROM", "TO", "BY", "FOR EXAMPLE"];
        let mut table = Table::new(style, &head);
        for one in &report.moves {
            let rule = one.to_rule.clone();
            table.row([
                one.count.to_string(),
                format!("{}%", one.percent),
                place(&one.from),
                place(&one.to),
                rule.unwrap_or_else(|| "no rule".to_owned()),
                one.examples.first().map(example).unwrap_or_default(),
            ]);
        }
        let _ = write!(out, "\n{}", table.render());
    }
    for one in &report.undecided {
        let needs = one.needs.join(", ");
        let _ = match needs.is_empty() {
            true => writeln!(out, "\n{} cannot be told: {}", one.count, one.rule),
            false => writeln!(
                out,
                "\n{} cannot be told: {} asks for what traces do not hold: {needs}",
                one.count, one.rule
            ),
        };
        for one in &one.examples {
            let _ = writeln!(out, "    {}", style.dim(&example(one)));
        }
    }
    out
}

fn place(place: &Place) -> String {
    let mut text = match (&place.subset, place.status, &place.flag) {
        (Some(subset), _, _) => format!("{} subset {subset}", place.service),
        (None, _, _) => place.service.clone(),
    };
    if let Some(status) = place.status {
        let _ = write!(text, ": {status}");
    }
    if let Some(flag) = &place.flag {
        let _ = write!(text, " {flag}");
    }
    text
}

fn example(one: &Example) -> String {
    let id: String = one.trace_id.chars().take(SHORT_ID).collect();
    format!("{} {}{} ({id})", one.method, one.authority, one.path)
}
