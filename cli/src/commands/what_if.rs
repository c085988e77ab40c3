//! `heddle what-if`: requests that were recorded, decided again under changed routes: what would move
//! from where to where. Objects that are in force now, with the new documents laid over them as `apply`
//! would; nothing is changed. A request whose rule depends on what traces do not hold is said to be
//! undecidable, unless the rule that it took then proves it.

mod again;
mod moves;
mod otlp;
mod recorded;
mod render;
mod worlds;

use serde::Serialize;

use super::output::print;
use crate::api::Client;
use crate::args::WhatIf;
use crate::failure::Outcome;
use crate::manifests::Problem;
use crate::terminal::Style;

use self::again::{Again, Decided};
use self::moves::{Move, Moves, Undecided};
use self::worlds::Worlds;

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// Requests that were recorded, and meant for a service.
    requests: usize,
    /// Of those, how many stay where they were, in expectation.
    stay: f64,
    /// Of those, how many go elsewhere.
    moved: f64,
    moves: Vec<Move>,
    undecided: Vec<Undecided>,
    /// What is refused of the new documents: the version in force stays.
    refused: Vec<Problem>,
    /// What of the new documents is no route, and was left out.
    left_out: Vec<String>,
    /// Of the requests, those to hosts that no name or address of the mesh is known for: no route decides of them, so
    /// they stay.
    unknown_hosts: usize,
    /// Spans that tell too little of their request to be decided at all.
    unusable: usize,
}

pub(crate) async fn run(client: &Client, asked: &WhatIf) -> Outcome {
    let worlds = Worlds::new(client, asked).await?;
    let recorded = recorded::read(client, asked).await?;
    let report = report(worlds, recorded)?;
    print(asked.output.format, &report, || {
        render::table(&report, Style::stdout())
    })
}

fn report(worlds: Worlds, recorded: recorded::Recorded) -> Outcome<Report> {
    let mut again = Again::new(&worlds.current, &worlds.changed, &worlds.written);
    let mut moves = Moves::default();
    for request in &recorded.requests {
        match again.decide(request)? {
            Decided::Both(before, after) => moves.add(request, &before, &after),
            Decided::Open { rule, needs } => moves.open(request, rule, needs),
        }
    }
    let (stay, moves, undecided) = moves.done(recorded.requests.len());
    Ok(Report {
        requests: recorded.requests.len(),
        stay: rounded(stay),
        moved: rounded(moves.iter().map(|one| one.count).sum()),
        moves,
        undecided,
        refused: worlds.refused,
        left_out: worlds.left_out,
        unknown_hosts: again.unknown,
        unusable: recorded.unusable,
    })
}

/// Expected counts, to a hundredth.
fn rounded(count: f64) -> f64 {
    // Nothing at all sums up to -0.
    (count * 100.0).round() / 100.0 + 0.0
}

#[cfg(test)]
mod tests;
