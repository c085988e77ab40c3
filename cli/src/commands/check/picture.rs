//! A problem for people: what, where with the value underlined, what follows, and what to write.

use std::fmt::Write as _;

use super::super::output::near;
use crate::manifests::Problem;
use crate::picture::Sources;
use crate::terminal::Style;

pub(super) fn render(problem: &Problem, sources: &mut Sources, style: Style) -> String {
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
        let end = (problem.end_line == problem.line).then_some(problem.end_column);
        let mark = colour(&underline(line, problem.column, end));
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

/// Marks what begins at a column (from 1, in characters) and ends before another one; without that, to
/// the end of the line, without a comment.
pub(super) fn underline(line: &str, column: u32, end: Option<u32>) -> String {
    let start = usize::try_from(column).map_or(0, |column| column.saturating_sub(1));
    let rest: String = line.chars().skip(start).collect();
    let rest = match rest.find(" #") {
        Some(comment) => &rest[..comment],
        None => &rest,
    };
    let width = match end.and_then(|end| end.checked_sub(column)) {
        Some(width) => usize::try_from(width).unwrap_or(1),
        None => rest.trim_end().chars().count(),
    };
    let width = width.clamp(1, line.chars().count().max(1));
    // A tab is as wide in the line above as it is here.
    let indent: String = line
        .chars()
        .take(start)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    indent + &"^".repeat(width)
}
