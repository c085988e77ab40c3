//! One document's text to objects. Types are checked for the kinds that this machine runs itself
//! (workloads, services); routes and policies are the control plane's to judge.

use std::path::Path;
use std::sync::Arc;

use heddle_control::check::Code;
use k8s_openapi::api::{apps::v1, batch, core};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{Document, split};
use super::kinds::{Scope, scope};
use super::{Key, Object, Origin, Problem};

/// The objects of a stream and what is wrong with the rest of it.
pub(crate) fn parse(file: &Path, stream: &str) -> (Vec<Object>, Vec<Problem>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for document in split(stream) {
        match read(file, &document) {
            Ok(value) => expand(file, &document, value, &mut objects, &mut problems),
            Err(problem) => problems.push(*problem),
        }
    }
    (objects, problems)
}

fn read(file: &Path, document: &Document<'_>) -> Result<Value, Box<Problem>> {
    let parsed = serde_saphyr::from_str::<Value>(document.text);
    parsed.map_err(|error| Box::new(from_yaml(file, document, &error)))
}

fn from_yaml(file: &Path, document: &Document<'_>, error: &serde_saphyr::Error) -> Problem {
    let (line, column) = position(document, error);
    Problem::at(
        Code::Syntax,
        file,
        line,
        column,
        format!("not readable as YAML: {}", brief(error)),
    )
}

fn position(document: &Document<'_>, error: &serde_saphyr::Error) -> (u32, u32) {
    let Some(location) = error.location() else {
        return (document.content_line(), 1);
    };
    let line = document.line
        + u32::try_from(location.line())
            .unwrap_or(1)
            .saturating_sub(1);
    (line, u32::try_from(location.column()).unwrap_or(1))
}

/// The error's first line without the position, which is told in the file's own lines instead.
fn brief(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split_once(": ").map_or(
        line,
        |(head, rest)| if head.contains("line ") { rest } else { line },
    );
    match line.find(" at line ") {
        Some(end) => line[..end].to_owned(),
        None => line.to_owned(),
    }
}

fn expand(
    file: &Path,
    document: &Document<'_>,
    value: Value,
    objects: &mut Vec<Object>,
    problems: &mut Vec<Problem>,
) {
    // Not of Kubernetes at all (a chart's values, a kustomization): none of our business.
    if ["apiVersion", "kind", "metadata"]
        .iter()
        .all(|field| value.get(field).is_none())
    {
        return;
    }
    if value.get("kind").and_then(Value::as_str) == Some("List") {
        let Some(Value::Array(items)) = value.get("items").cloned() else {
            return;
        };
        for item in items {
            // The text of a List is not one object's: each item carries its own, written out again.
            let text = item.to_string();
            collect(file, document, item, &text, objects, problems);
        }
        return;
    }
    collect(file, document, value, document.text, objects, problems);
}

fn collect(
    file: &Path,
    document: &Document<'_>,
    value: Value,
    text: &str,
    objects: &mut Vec<Object>,
    problems: &mut Vec<Problem>,
) {
    match object(file, document, value, text) {
        Ok(object) => objects.push(object),
        Err(problem) => problems.push(*problem),
    }
}

fn object(
    file: &Path,
    document: &Document<'_>,
    mut value: Value,
    text: &str,
) -> Result<Object, Box<Problem>> {
    let line = document.content_line();
    let lacks = |what: &str| {
        Box::new(Problem::at(
            Code::Incomplete,
            file,
            line,
            1,
            format!("the document has no {what}"),
        ))
    };
    let field = |path: &str| {
        value
            .pointer(path)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let kind = field("/kind")
        .ok_or_else(|| {
            lacks("kind")
                .map(|p| p.suggest("every object needs apiVersion, kind and metadata.name"))
        })?
        .to_owned();
    let name = field("/metadata/name").ok_or_else(|| {
        lacks("metadata.name").map(|mut p| {
            p.kind.clone_from(&kind);
            p
        })
    })?;
    let key = match scope(&kind) {
        Scope::Cluster => Key::new(&kind, "", name),
        Scope::Namespaced => Key::new(
            &kind,
            field("/metadata/namespace").unwrap_or("default"),
            name,
        ),
    };
    if field("/apiVersion").is_none() {
        return Err(lacks("apiVersion").map(|p| p.named(&key)));
    }
    // Kinds and namespaces become names of files.
    if !key.kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let kind = key.kind.escape_debug();
        let reason = format!("`{kind}` is not a kind: letters and digits are allowed");
        return Err(Box::new(Problem::at(Code::BadName, file, line, 1, reason)));
    }
    if !key.namespace.is_empty() && !is_dns_label(&key.namespace) {
        let namespace = key.namespace.escape_debug();
        let reason = format!(
            "`{namespace}` is not a namespace: lower-case letters, digits and `-` are allowed, at most 63"
        );
        return Err(Box::new(Problem::at(Code::BadName, file, line, 1, reason)));
    }
    if !is_dns_name(&key.name) {
        let reason = format!(
            "`{}` is not a name: lower-case letters, digits, `-` and `.` are allowed",
            key.name
        );
        return Err(Box::new(
            Problem::at(Code::BadName, file, line, 1, reason).named(&key),
        ));
    }
    check(&key, document, text).map_err(|error| {
        let (line, column) = position(document, &error);
        let code = code_of(&error);
        Box::new(Problem::at(code, file, line, column, brief(&error)).named(&key))
    })?;
    if let (false, Some(Value::Object(metadata))) =
        (key.namespace.is_empty(), value.get_mut("metadata"))
    {
        metadata.insert("namespace".to_owned(), Value::String(key.namespace.clone()));
    }
    let origin = Origin {
        file: file.to_owned(),
        line,
        start: document.line,
    };
    Ok(Object {
        key,
        value,
        text: Arc::from(text),
        origin,
    })
}

/// What a reader of one of the kinds that this machine runs did not like.
fn code_of(error: &serde_saphyr::Error) -> Code {
    let text = brief(error);
    match () {
        () if text.contains("missing field") => Code::MissingField,
        () if text.contains("unknown variant") => Code::UnknownValue,
        () => Code::WrongType,
    }
}

/// `Box<T>` with its content changed; keeps the error paths above on one line each.
trait MapBox<T> {
    fn map(self, change: impl FnOnce(T) -> T) -> Self;
}

impl<T> MapBox<T> for Box<T> {
    fn map(self, change: impl FnOnce(T) -> T) -> Self {
        Box::new(change(*self))
    }
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && name
            .as_bytes()
            .last()
            .is_some_and(u8::is_ascii_alphanumeric)
}

fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_dns_name(name)
}

fn check(key: &Key, document: &Document<'_>, text: &str) -> Result<(), serde_saphyr::Error> {
    fn typed<T: DeserializeOwned>(text: &str) -> Result<(), serde_saphyr::Error> {
        serde_saphyr::from_str::<T>(text).map(drop)
    }
    // Items of a List are written out on one line: their positions would be of that text.
    if !std::ptr::eq(text, document.text) {
        return Ok(());
    }
    match key.kind.as_str() {
        "Deployment" => typed::<v1::Deployment>(text),
        "ReplicaSet" => typed::<v1::ReplicaSet>(text),
        "StatefulSet" => typed::<v1::StatefulSet>(text),
        "DaemonSet" => typed::<v1::DaemonSet>(text),
        "Job" => typed::<batch::v1::Job>(text),
        "Pod" => typed::<core::v1::Pod>(text),
        "Service" => typed::<core::v1::Service>(text),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
