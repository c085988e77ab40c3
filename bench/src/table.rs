//! The figures as tables: for the terminal, and in Markdown.

use crate::figure::{Aim, Better, Measure, Reference};
use crate::peers::Peer;
use crate::quiet::QUIET;
use crate::report::CaseReport;
use crate::statistics::Spread;

/// The heading, then a row for each measure.
type Rows = Vec<Vec<String>>;

/// Whom a column compares ours with, if both were measured.
const COMPARED: [Peer; 2] = [Peer::Envoy, Peer::Relay];

fn rows(case: &CaseReport) -> Rows {
    let peers = case.peers();
    let compared: Vec<Peer> = COMPARED
        .into_iter()
        .filter(|peer| peers.contains(peer) && peers.contains(&Peer::Heddle))
        .collect();
    let mut heading = vec!["at".to_owned(), "what".to_owned()];
    heading.extend(peers.iter().map(|peer| peer.name().to_owned()));
    heading.extend(compared.iter().map(|peer| format!("of {}", peer.name())));
    heading.push("aim".to_owned());
    let row = |measure: &Measure| {
        let mut row = vec![
            measure.at.clone(),
            format!("{} ({})", measure.what, measure.unit),
        ];
        let spread = |peer: &Peer| cell(case.spread(measure, *peer), measure.digits);
        row.extend(peers.iter().map(spread));
        row.extend(compared.iter().map(|peer| {
            let ratio = case.ratio(measure, &Reference::Peer(*peer));
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
        }));
        let aims = measure.aims.iter().map(|a| verdict(case, measure, a));
        row.push(aims.collect::<Vec<_>>().join("; "));
        row
    };
    std::iter::once(heading)
        .chain(case.measures.iter().map(row))
        .collect()
}

/// `median (least–most)`; what was not measured is a dash.
pub(crate) fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        Some(Spread { median, min, max }) if min == max => format!("{median:.digits$}"),
        Some(Spread { median, min, max }) => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
        None => "–".to_owned(),
    }
}

/// What was aimed at, such as `≤ 0.40 of Envoy`.
pub(crate) fn aimed(measure: &Measure, aim: &Aim) -> String {
    let sign = match measure.better {
        Better::More => "≥",
        Better::Less => "≤",
    };
    match &aim.of {
        Reference::Peer(peer) => format!("{sign} {:.2} of {}", aim.times, peer.name()),
        Reference::At(at) => format!("{sign} {:.2} of {at}", aim.times),
        Reference::One => format!("{sign} {} {}", aim.times, measure.unit),
    }
}

fn verdict(case: &CaseReport, measure: &Measure, aim: &Aim) -> String {
    let aimed = aimed(measure, aim);
    match case.outcome(measure, aim) {
        None => format!("{aimed}: not measured"),
        Some(outcome) if outcome.met => format!("{aimed}: met"),
        Some(outcome) => format!("{aimed}: **missed** ({:.2})", outcome.reached),
    }
}

/// Aligned columns, then what to think of them.
pub(crate) fn terminal(case: &CaseReport) -> String {
    let rows = rows(case);
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = format!("{}\n", case.title);
    let mut last = None;
    for row in &rows {
        // Below the heading, and where the load changes.
        if last.is_some_and(|at| at != &row[0]) {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1));
            text.push('\n');
        }
        last = Some(&row[0]);
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, &width))| match column {
                0 | 1 => format!("{cell:<width$}"),
                _ if column + 1 == columns => cell.clone(),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text += cells.join("  ").replace("**", "").trim_end();
        text.push('\n');
    }
    text += "medians of the rounds (least–most)\n";
    for line in failures(case) {
        text += &format!("!! {line}\n");
    }
    text += &disturbance(case);
    text.push('\n');
    text
}

/// Markdown.
pub(crate) fn markdown(case: &CaseReport) -> String {
    let mut text = String::new();
    for (number, row) in rows(case).iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if number == 0 {
            let numbers = row.len().saturating_sub(3);
            text += &format!("|---|---|{}---|\n", "---:|".repeat(numbers));
        }
    }
    text
}

/// Who has no figures, and why.
pub(crate) fn failures(case: &CaseReport) -> Vec<String> {
    let failures = case.failures.iter();
    failures
        .map(|failure| {
            let setup = match failure.setup.as_str() {
                "" => String::new(),
                setup => format!(" ({setup})"),
            };
            format!(
                "{}{setup} could not be measured in round {}: {}",
                failure.peer.name(),
                failure.round,
                failure.why
            )
        })
        .collect()
}

/// With a capital letter.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// How quiet the machine was.
pub(crate) fn disturbance(case: &CaseReport) -> String {
    let Some(Spread { median, max, .. }) = case.disturbance() else {
        return String::new();
    };
    let (disturbed, all) = (case.disturbed(), case.disturbances.len());
    let says = format!(
        "programs that are not part of the comparison, the kernel's own threads and the hypervisor took \
         {:.1} % of the machine's CPU (median; at most {:.1} %; more than {:.0} % in {disturbed} of {all} \
         measurements)",
        100.0 * median,
        100.0 * max,
        100.0 * QUIET,
    );
    // The median of the rounds bears fewer.
    match 3 * disturbed > all {
        true => format!("NOT A QUIET MACHINE, do not trust these figures: {says}"),
        false => says,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn rows_show_spread_ratio_and_verdict() {
        let rows = rows(&sample());
        assert_eq!(
            rows[0],
            ["at", "what", "Heddle", "Envoy", "of Envoy", "aim"]
        );
        assert_eq!(
            rows[1],
            [
                "16 connections",
                "CPU (µs)",
                "40.0 (39.0–41.0)",
                "110.0 (109.0–111.0)",
                "0.36",
                "≤ 0.40 of Envoy: met; ≤ 1.15 of bare relay: not measured"
            ]
        );
        assert_eq!(rows[2][3..5], ["–", "–"]);
        assert_eq!(rows[2][5], "≤ 1.05 of 16 connections: **missed** (1.10)");
    }

    #[test]
    fn one_round_has_no_spread() {
        assert_eq!(cell(Spread::of([2.0]), 1), "2.0");
        assert_eq!(cell(None, 1), "–");
    }
}
