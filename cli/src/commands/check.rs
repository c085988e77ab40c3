//! `heddle check`: every mistake in manifests, or of a running mesh, with the line it stands in. It
//! fails when something is wrong, not when something is only likely to be.

use std::fmt::Write as _;

use serde::Serialize;

use super::output::{near, print};
use crate::api::Client;
use crate::args::Check;
use crate::failure::{Failure, Outcome};
use crate::manifests::Problem;
use crate::picture::{self, Sources};
use crate::terminal::{Style, say};

/// What is printed for programs.
#[derive(Serialize)]
struct Report {
    errors: usize,
    warnings: usize,
    problems: Vec<Problem>,
}

pub(crate) async fn run(client: &Client, check: &Check) -> Outcome {
    let (problems, of) = if check.files.is_empty() {
        let status = client.status().await?;
        let problems = status.refused.into_iter().chain(status.warnings).collect();
        (problems, format!("mesh {}", status.mesh))
    } else {
        let picture = picture::of(&check.files)?;
        (picture.problems, format!("{} objects", picture.objects))
    };
    let errors = problems
        .iter()
        .filter(|problem| !problem.is_warning())
        .count();
    let warnings = problems.len() - errors;
    let report = Report {
        errors,
        warnings,
        problems,
    };
    print(check.output.format, &report, || {
        let mut sources = Sources::default();
        let problems = report.problems.iter();
        problems
            .map(|problem| render(problem, &mut sources, Style::stdout()))
            .collect()
    })?;
    say!("{of}: {errors} wrong, {warnings} likely to be a mistake");
    match errors {
        0 => Ok(()),
        _ => Err(Failure::silent(1)),
    }
}

/// A problem for people: what, where with the line underlined, and what to write.
fn render(problem: &Problem, sources: &mut Sources, style: Style) -> String {
    let colour = |text: &str| match problem.severity.as_str() {
        "error" => style.red(text),
        "warning" => style.yellow(text),
        _ => style.cyan(text),
    };
    let severity = colour(&format!("{}[{}]:", problem.severity, problem.code));
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "{severity} {}: {}",
        style.bold(&problem.subject()),
        problem.reason
    );
    let _ = writeln!(out, "  {} {}", style.dim("-->"), near(&problem.place()));
    if let Some(line) = sources.line(&problem.file, problem.line) {
        let number = problem.line.to_string();
        let blank = " ".repeat(number.len());
        let mark = colour(&underline(line, problem.column));
        let _ = writeln!(out, "  {} {line}", style.dim(&format!("{number} |")));
        let _ = writeln!(out, "  {} {mark}", style.dim(&format!("{blank} |")));
    }
    if !problem.consequence.is_empty() {
        let _ = writeln!(out, "  {} {}", style.dim("so:"), problem.consequence);
    }
    if !problem.suggestion.is_empty() {
        let _ = writeln!(out, "  {} {}", style.cyan("try:"), problem.suggestion);
    }
    out.push('\n');
    out
}

/// Marks what begins at a column (from 1, in characters): to the end of the line, without a comment.
fn underline(line: &str, column: u32) -> String {
    let start = usize::try_from(column).map_or(0, |column| column.saturating_sub(1));
    let rest: String = line.chars().skip(start).collect();
    let rest = match rest.find(" #") {
        Some(comment) => &rest[..comment],
        None => &rest,
    };
    let width = rest.trim_end().chars().count().max(1);
    // A tab is as wide in the line above as it is here.
    let indent: String = line
        .chars()
        .take(start)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    indent + &"^".repeat(width)
}

#[cfg(test)]
mod tests;
