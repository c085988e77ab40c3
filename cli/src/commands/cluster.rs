//! `heddle check --cluster`: whether the mesh can be installed in the cluster of KUBECONFIG, or works
//! there. It reads, asks what it may do, and makes one pod that is never kept (`dryRun`): the API
//! server's own call of the webhook, certificate and all. It fails when something is wrong, not when
//! something is only likely to be.

pub(super) mod ask;
mod before;
mod missing;
mod parts;
mod pods;
mod webhook;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use heddle_control::check::Code;
use serde::{Serialize, Serializer};

use self::ask::Cluster;
use super::output::print;
use crate::args::{self, Check, CheckFormat, Format};
use crate::failure::{Failure, Outcome};
use crate::terminal::{Style, say};

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    #[serde(serialize_with = "as_text")]
    code: Code,
    severity: Severity,
    /// What it is about.
    subject: String,
    reason: String,
    /// What to do.
    suggestion: String,
}

fn as_text<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(code)
}

fn finding(
    code: Code,
    severity: Severity,
    subject: impl Into<String>,
    reason: impl Into<String>,
    suggestion: impl Into<String>,
) -> Finding {
    Finding {
        code,
        severity,
        subject: subject.into(),
        reason: reason.into(),
        suggestion: suggestion.into(),
    }
}

#[derive(Serialize)]
struct Report {
    /// The API server's version.
    kubernetes: String,
    /// Whether any part is there.
    installed: bool,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

pub(crate) async fn check(check: &Check) -> Outcome {
    let format = match check.format {
        CheckFormat::Table => Format::Table,
        CheckFormat::Json => Format::Json,
        CheckFormat::Yaml => Format::Yaml,
        CheckFormat::Sarif => {
            return Err(
                Failure::new("SARIF is about lines of files; a cluster has none")
                    .advise("-o json  is for programs")
                    .not_asked(),
            );
        }
    };
    let cluster = Cluster::connect(check.context.as_deref(), &check.namespace).await?;
    let mut report = look(&cluster).await.map_err(Failure::not_asked)?;
    let shown = match check.severity {
        args::Severity::Note => Severity::Note,
        args::Severity::Warning => Severity::Warning,
        args::Severity::Error => Severity::Error,
    };
    // The worst come first.
    report.findings.retain(|one| one.severity <= shown);
    print(format, &report, || {
        let findings = report.findings.iter();
        findings.map(|one| render(one, Style::stdout())).collect()
    })?;
    say!(
        "Kubernetes {}, {}: {} wrong, {} likely to be a mistake",
        report.kubernetes,
        match report.installed {
            true => format!("the mesh in {}", check.namespace),
            false => "no mesh yet".to_owned(),
        },
        report.errors,
        report.warnings
    );
    match report.errors + usize::from(check.warnings_as_errors) * report.warnings {
        0 => Ok(()),
        _ => Err(Failure::silent(1)),
    }
}

async fn look(cluster: &Cluster) -> Outcome<Report> {
    let mut findings = Vec::new();
    let kubernetes = before::version(cluster, &mut findings).await?;
    let installed = parts::look(cluster, &mut findings).await;
    before::permissions(cluster, installed, &mut findings).await;
    before::definitions(cluster, &mut findings).await;
    if installed {
        let injected = webhook::look(cluster, &mut findings).await;
        pods::bundles(cluster, &mut findings).await;
        pods::stale(cluster, injected, &mut findings).await;
        missing::look(cluster, &mut findings).await;
    } else {
        findings.push(finding(
            Code::NotInstalled,
            Severity::Note,
            &cluster.namespace,
            "the mesh is not installed",
            "heddle install | kubectl apply --server-side -f -",
        ));
    }
    findings.sort_by_key(|one| one.severity);
    let count = |severity| {
        findings
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    };
    Ok(Report {
        kubernetes,
        installed,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings,
    })
}

/// The definitions that the cluster has.
pub(crate) async fn definitions() -> Outcome<BTreeSet<String>> {
    let cluster = Cluster::connect(None, "default").await?;
    let found = cluster.definitions().await;
    found.map_err(|reason| {
        Failure::new(format!("cannot list the cluster's definitions: {reason}")).not_asked()
    })
}

fn render(one: &Finding, style: Style) -> String {
    let text = match one.severity {
        Severity::Error => style.red("error"),
        Severity::Warning => style.yellow("warning"),
        Severity::Note => style.cyan("note"),
    };
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "{text}[{}]: {}: {}",
        one.code,
        style.bold(&one.subject),
        one.reason
    );
    if !one.suggestion.is_empty() {
        let _ = writeln!(out, "  {} {}", style.cyan("try:"), one.suggestion);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
