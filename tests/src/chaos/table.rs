//! The rows as a table, in Markdown, so that it can be read in a terminal and in the documents.

use std::fmt::Write;
use std::time::Duration;

use super::Row;
use crate::table::markdown;
use crate::traffic::{Kind, Tally};

const HEADER: [&str; 8] = [
    "what happens",
    "load",
    "answered",
    "failed",
    "streams opened / moved / broken",
    "p50 before → during",
    "p99 before → during",
    "verdict",
];

/// The table, and below it what is to be said of single rows.
pub fn table(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        for (index, (kind, before, during)) in row.loads.iter().enumerate() {
            let first = index == 0;
            let streams = match kind {
                Kind::Http => "–".to_owned(),
                _ => format!(
                    "{} / {} / {}",
                    during.opened,
                    during.moved,
                    during.broken.len()
                ),
            };
            lines.push([
                if first { row.scenario.title() } else { "" }.to_owned(),
                kind.to_string(),
                during.answered.to_string(),
                during.failed.len().to_string(),
                streams,
                change(before, during, 0.5),
                change(before, during, 0.99),
                if first { verdict(row) } else { "" }.to_owned(),
            ]);
        }
    }
    let mut text = markdown(HEADER, &lines);
    for row in rows {
        let lines = row.notes.iter().chain(&row.problems);
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{}: {line}", row.scenario);
        }
    }
    text
}

fn verdict(row: &Row) -> &'static str {
    if row.is_good() { "good" } else { "NOT GOOD" }
}

fn change(before: &Tally, during: &Tally, share: f64) -> String {
    let text = |time: Option<Duration>| match time {
        None => "–".to_owned(),
        Some(time) => format!("{:.1}", time.as_secs_f64() * 1000.0),
    };
    let (before, during) = (before.percentile(share), during.percentile(share));
    format!("{} → {} ms", text(before), text(during))
}
