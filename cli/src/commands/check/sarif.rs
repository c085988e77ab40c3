//! Findings as SARIF 2.1.0 (OASIS), which code hosts show at the lines of a change. Paths are relative to
//! the current directory, as a checkout's are.

use std::path::{Component, Path};

use heddle_control::check::{Code, Severity};
use serde_json::{Value, json};

use super::super::output::near;
use crate::failure::{Failure, Outcome};
use crate::manifests::Problem;

const GUIDE: &str = "docs/check.md";

/// The log, as text.
pub(super) fn log(problems: &[Problem]) -> Outcome<String> {
    let mut codes: Vec<Code> = problems
        .iter()
        .filter_map(|p| p.code.parse().ok())
        .collect();
    codes.sort_unstable();
    codes.dedup();
    let results = problems.iter().map(|problem| result(problem, &codes));
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "heddle",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "where heddle check was called"}}},
            "results": results.collect::<Vec<_>>(),
        }],
    });
    let text = serde_json::to_string_pretty(&log).map_err(|error| Failure::error(&error))?;
    Ok(text + "\n")
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.to_string(),
        "name": format!("{code:?}"),
        "shortDescription": {"text": code.meaning()},
        "fullDescription": {"text": format!("{}: {}.", code.meaning(), code.consequence())},
        "help": {"text": format!("heddle check --explain {code} (or {GUIDE}) explains it, with an example.")},
        "defaultConfiguration": {"level": level(code.severity().as_str())},
    })
}

fn result(problem: &Problem, codes: &[Code]) -> Value {
    let code: Option<Code> = problem.code.parse().ok();
    let mut text = format!("{}: {}", problem.subject(), problem.reason);
    for (lead, more) in [
        ("; ", &problem.consequence),
        (". Try: ", &problem.suggestion),
    ] {
        if !more.is_empty() {
            text += lead;
            text += more;
        }
    }
    let mut result = json!({
        "ruleId": problem.code,
        "level": level(&problem.severity),
        "message": {"text": text},
    });
    if let Some(index) = code.and_then(|code| codes.iter().position(|known| *known == code)) {
        result["ruleIndex"] = json!(index);
    }
    if !problem.file.is_empty() {
        let mut location = json!({"artifactLocation": artifact(&problem.file)});
        if problem.line > 0 {
            let mut region =
                json!({"startLine": problem.line, "startColumn": problem.column.max(1)});
            if problem.end_line > 0 {
                region["endLine"] = json!(problem.end_line);
                region["endColumn"] = json!(problem.end_column);
            }
            location["region"] = region;
        }
        result["locations"] = json!([{"physicalLocation": location}]);
    }
    result
}

fn level(severity: &str) -> &'static str {
    match severity.parse() {
        Ok(Severity::Note) => "note",
        Ok(Severity::Warning) => "warning",
        Ok(Severity::Error) | Err(()) => "error",
    }
}

/// A relative path counts from the checkout; an absolute one is a `file:` URI.
fn artifact(file: &str) -> Value {
    let near = near(file);
    let path = Path::new(&near);
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(encoded(&part.to_string_lossy())),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    });
    let uri = parts.collect::<Vec<_>>().join("/");
    match path.is_absolute() {
        true => json!({"uri": format!("file:///{uri}")}),
        false => json!({"uri": uri, "uriBaseId": "%SRCROOT%"}),
    }
}

/// A segment of a URI's path (RFC 3986).
fn encoded(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@".contains(&b) => {
                out.push(b.into())
            }
            b => out += &format!("%{b:02X}"),
        }
    }
    out
}
