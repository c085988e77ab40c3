//! The table of aims: a row for each thing that was to be reached, over all loads of a case.

use crate::figure::{Aim, Reference};
use crate::report::{CaseReport, Report};
use crate::table;

/// One aim of one case, at all loads that have it.
struct Row {
    what: String,
    aim: String,
    reached: Vec<String>,
    verdict: Verdict,
    command: String,
}

/// The worst of a row's loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Met,
    NotMeasured,
    Missed,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::NotMeasured => "**not measured**",
            Verdict::Missed => "**missed**",
        }
    }
}

/// The table, and how much of it was reached.
pub(crate) fn markdown(report: &Report) -> String {
    let rows: Vec<Row> = report.cases.iter().flat_map(rows).collect();
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let mut text = format!(
        "Of {} aims, {} were met, {} missed{}.\n\n\
         | what | at most (≤) or at least (≥) | reached | | filled by `cargo xtask bench` with |\n\
         |---|---|---|---|---|\n",
        rows.len(),
        count(Verdict::Met),
        count(Verdict::Missed),
        match count(Verdict::NotMeasured) {
            0 => String::new(),
            some => format!(", {some} not measured"),
        }
    );
    for row in &rows {
        text += &format!(
            "| {} | {} | {} | {} | `{}` |\n",
            row.what,
            row.aim,
            row.reached.join("; "),
            row.verdict.name(),
            row.command
        );
    }
    // Said here too, since a peer without figures has no rows.
    for case in &report.cases {
        for failure in &case.failures {
            text += &format!(
                "\n**{}: {} could not be measured** (why: see there).\n",
                case.title,
                failure.peer.name()
            );
        }
    }
    text.trim_end().to_owned()
}

fn rows(case: &CaseReport) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for measure in &case.measures {
        for aim in &measure.aims {
            let outcome = case.outcome(measure, aim);
            let (value, verdict) = match outcome {
                None => ("–".to_owned(), Verdict::NotMeasured),
                Some(outcome) => (
                    reached(outcome.reached, aim, measure.digits),
                    match outcome.met {
                        true => Verdict::Met,
                        false => Verdict::Missed,
                    },
                ),
            };
            let value = match measure.at.as_str() {
                "" => value,
                at => format!("{value} ({at})"),
            };
            let what = format!("{}: {}", case.title, measure.what);
            let aimed = table::aimed(measure, aim);
            match rows.iter_mut().find(|r| r.what == what && r.aim == aimed) {
                Some(row) => {
                    row.reached.push(value);
                    row.verdict = row.verdict.max(verdict);
                }
                None => rows.push(Row {
                    what,
                    aim: aimed,
                    reached: vec![value],
                    verdict,
                    command: format!("--case {}", case.name),
                }),
            }
        }
    }
    rows
}

fn reached(value: f64, aim: &Aim, digits: usize) -> String {
    match aim.of {
        Reference::One => format!("{value:.digits$}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn one_row_for_each_aim_with_the_worst_verdict() {
        let mut case = sample();
        let aim = case.measures[0].aims[0].clone();
        // 44 of nothing at 64 connections: not measured there.
        case.measures[1].aims.push(aim);
        let rows = rows(&case);
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[0].reached,
            ["0.36 (16 connections)", "– (64 connections)"]
        );
        assert_eq!(rows[0].verdict, Verdict::NotMeasured);
        assert_eq!(rows[2].verdict, Verdict::Missed);
        assert!(Verdict::Missed > Verdict::NotMeasured);
    }
}
