//! docs/benchmarks.md and its charts: the figures of one run, with everything one needs to judge them
//! and to run it again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chart;
use crate::error::{Error, Result};
use crate::report::{CaseReport, Report};
use crate::table;

/// Writes all; returns where.
pub(crate) fn write(report: &Report) -> Result<Vec<PathBuf>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let docs = fs::canonicalize(&docs).map_err(Error::file("find", &docs))?;
    let charts = docs.join("benchmarks");
    fs::create_dir_all(&charts).map_err(Error::file("make", &charts))?;
    let mut written = Vec::new();
    let mut write = |file: PathBuf, text: String| {
        fs::write(&file, text).map_err(Error::file("write", &file))?;
        written.push(file);
        Ok(())
    };
    for case in &report.cases {
        if let Some(svg) = chart::svg(case, &report.machine) {
            write(charts.join(format!("{}.svg", case.name)), svg)?;
        }
    }
    write(docs.join("benchmarks.md"), text(report))?;
    Ok(written)
}

fn text(report: &Report) -> String {
    let cases: Vec<String> = report.cases.iter().map(section).collect();
    format!("# Heddle beside other sidecars\n\n{}", cases.join("\n"))
}

fn section(case: &CaseReport) -> String {
    format!(
        "## {}\n\n{}\n\n```sh\n{}\n```\n\n![](benchmarks/{}.svg)\n\n{}\n{}.\n",
        case.title,
        case.about,
        case.command,
        case.name,
        table::markdown(case),
        table::disturbance(case)
    )
}
