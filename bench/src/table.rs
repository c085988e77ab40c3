//! The figures as tables: for the terminal, and in Markdown.

use crate::measure::QUIET;
use crate::peers::Peer;
use crate::report::{MEMORY, METRICS, Metric, Report};
use crate::statistics::Spread;

const PEERS: [Peer; 3] = [Peer::Direct, Peer::Heddle, Peer::Envoy];

/// The heading, then a row for each metric and load.
type Rows = Vec<Vec<String>>;

fn rows(report: &Report) -> Rows {
    let heading = [
        "connections",
        "what",
        "no sidecar",
        "heddle",
        "envoy",
        "heddle / envoy",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for &connections in &report.connections {
        for metric in METRICS {
            let spreads = PEERS.map(|peer| report.spread(metric, peer, connections));
            let what = format!("{} ({})", metric.name, metric.unit);
            rows.push(row(connections.to_string(), what, spreads, metric.digits));
        }
    }
    for metric in MEMORY {
        let spreads = PEERS.map(|peer| report.memory(metric, peer));
        rows.push(row(
            "–".to_owned(),
            format!("{} (MiB)", metric.name),
            spreads,
            1,
        ));
    }
    rows
}

fn row(
    connections: String,
    what: String,
    spreads: [Option<Spread>; 3],
    digits: usize,
) -> Vec<String> {
    let [_, heddle, envoy] = spreads;
    let ratio = match (heddle, envoy) {
        (Some(heddle), Some(envoy)) if envoy.median > 0.0 => {
            format!("{:.2}", heddle.median / envoy.median)
        }
        _ => "–".to_owned(),
    };
    let cells = spreads.map(|spread| cell(spread, digits));
    [vec![connections, what], cells.to_vec(), vec![ratio]].concat()
}

/// `median (least–most)`; what costs nothing for lack of a sidecar is a dash.
fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        Some(Spread { median, min, max }) if max > 0.0 => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
        _ => "–".to_owned(),
    }
}

/// Aligned columns, then what to think of them.
pub(crate) fn terminal(report: &Report) -> String {
    let rows = rows(report);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        // Below the heading, and below each load's metrics.
        let loads = report.connections.len() * METRICS.len();
        if (1..=loads + 1).contains(&number) && (number - 1).is_multiple_of(METRICS.len()) {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * 5);
            text.push('\n');
        }
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text += "medians of the rounds (least–most)\n";
    text += &disturbance(report);
    text.push('\n');
    text
}

/// Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for (number, row) in rows(report).iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if number == 0 {
            text += "|---:|---|---:|---:|---:|---:|\n";
        }
    }
    text
}

/// How quiet the machine was.
pub(crate) fn disturbance(report: &Report) -> String {
    let Some(Spread { median, max, .. }) = report.disturbance() else {
        return String::new();
    };
    let (disturbed, all) = (report.disturbed(), report.samples.len());
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

/// A metric's ratio under a load.
pub(crate) fn ratio(report: &Report, metric: &Metric, connections: u32) -> Option<f64> {
    let heddle = report.spread(metric, Peer::Heddle, connections)?;
    let envoy = report.spread(metric, Peer::Envoy, connections)?;
    (envoy.median > 0.0).then(|| heddle.median / envoy.median)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cells_show_the_spread_and_ratios_compare_medians() {
        let spread = |median| Spread::of([median - 1.0, median, median + 1.0]);
        let row = row(
            "16".into(),
            "x".into(),
            [None, spread(40.0), spread(100.0)],
            0,
        );
        assert_eq!(row, ["16", "x", "–", "40 (39–41)", "100 (99–101)", "0.40"]);
        assert_eq!(cell(Spread::of([0.0]), 1), "–");
    }
}
