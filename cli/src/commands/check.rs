//! `heddle check`: every mistake in manifests, or of a running mesh, with the line it stands in. It
//! fails when something is wrong, not when something is only likely to be, unless it is asked to.

mod meaning;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod never;
mod picture;
mod sarif;

use serde::Serialize;

use super::output::{print, write};
use crate::api::Client;
use crate::args::{Check, CheckFormat, Format, Severity};
use crate::failure::{Failure, NOT_ASKED, Outcome};
use crate::manifests::Problem;
use crate::picture::{Sources, of};
use crate::terminal::{Style, say};

/// What is printed for programs.
#[derive(Serialize)]
struct Report {
    errors: usize,
    warnings: usize,
    notes: usize,
    problems: Vec<Problem>,
}

pub(crate) async fn run(client: &Client, check: &Check) -> Outcome {
    if let Some(code) = &check.explain {
        return write(&meaning::of(code).map_err(|failure| failure.not_asked())?);
    }
    let found = problems(client, check).await;
    let (problems, of) = found.map_err(|failure| failure.not_asked())?;
    let mut sources = Sources::default();
    let report = Report::new(problems, check.severity, &mut sources);
    let mut printed = |format| {
        let table = || {
            let problems = report.problems.iter();
            problems
                .map(|problem| picture::render(problem, &mut sources, Style::stdout()))
                .collect()
        };
        print(format, &report, table)
    };
    match check.format {
        CheckFormat::Table => printed(Format::Table)?,
        CheckFormat::Json => printed(Format::Json)?,
        CheckFormat::Yaml => printed(Format::Yaml)?,
        CheckFormat::Sarif => write(&sarif::log(&report.problems)?)?,
    }
    say!(
        "{of}: {} wrong, {} likely to be a mistake, {} good to know",
        report.errors,
        report.warnings,
        report.notes
    );
    match report.exit_code(check.warnings_as_errors) {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

async fn problems(client: &Client, check: &Check) -> Outcome<(Vec<Problem>, String)> {
    if check.files.is_empty() {
        let status = client.status().await?;
        if !status.control_plane.ready {
            let mesh = &status.mesh;
            return Err(Failure::new(format!(
                "the control plane of mesh {mesh} is away, and it is what judges"
            ))
            .advise("heddle status  says why; `heddle check -f PATH` judges files without it"));
        }
        let problems = status.refused.into_iter().chain(status.warnings).collect();
        return Ok((problems, format!("mesh {}", status.mesh)));
    }
    let picture = of(&check.files)?;
    Ok((picture.problems, format!("{} objects", picture.objects)))
}

impl Report {
    fn new(mut problems: Vec<Problem>, least: Severity, sources: &mut Sources) -> Self {
        let count = |severity: &str| problems.iter().filter(|p| p.severity == severity).count();
        let (errors, warnings, notes) = (count("error"), count("warning"), count("note"));
        problems.retain(|problem| severity(problem) >= least);
        for problem in &mut problems {
            if let Some(end) = sources.end(&problem.file, problem.line, problem.column) {
                (problem.end_line, problem.end_column) = end;
            }
        }
        Self {
            errors,
            warnings,
            notes,
            problems,
        }
    }

    /// 1 when something is wrong, 2 when something could not even be read.
    fn exit_code(&self, warnings_as_errors: bool) -> u8 {
        let unreadable = heddle_control::check::Code::Unreadable.to_string();
        match () {
            () if self.problems.iter().any(|p| p.code == unreadable) => NOT_ASKED,
            () if self.errors > 0 || (warnings_as_errors && self.warnings > 0) => 1,
            () => 0,
        }
    }
}

fn severity(problem: &Problem) -> Severity {
    match problem.severity.as_str() {
        "note" => Severity::Note,
        "warning" => Severity::Warning,
        _ => Severity::Error,
    }
}

#[cfg(test)]
mod tests;
