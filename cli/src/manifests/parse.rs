//! One document's text to objects. Types are checked for the kinds that this machine runs itself
//! (workloads, services); routes and policies are the control plane's to judge.

use std::path::Path;
use std::sync::Arc;

use heddle_control::check::Code;
use heddle_control::source::decode::{Problem as Wrong, Unknown, decode};
use heddle_control::source::node::{Node, Value as Tree};
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
            Ok(root) => expand(file, &document, &root, &mut objects, &mut problems),
            Err(problem) => problems.push(*problem),
        }
    }
    (objects, problems)
}

/// By the control plane's own reader, so that both have the same to say of a document.
fn read(file: &Path, document: &Document<'_>) -> Result<Node, Box<Problem>> {
    let before = document.line.saturating_sub(1);
    Node::parse(document.text, before).map_err(|error| {
        let code = match error.is_too_much {
            true => Code::TooLarge,
            false => Code::Syntax,
        };
        let (line, column) = match error.at.line {
            0 => (document.content_line(), 1),
            line => (line, error.at.column),
        };
        Box::new(Problem::at(code, file, line, column, error.reason).suggest(error.suggestion))
    })
}

fn expand(
    file: &Path,
    document: &Document<'_>,
    root: &Node,
    objects: &mut Vec<Object>,
    problems: &mut Vec<Problem>,
) {
    // Not of Kubernetes at all (a chart's values, a kustomization): none of our business.
    if ["apiVersion", "kind", "metadata"]
        .iter()
        .all(|field| root.get(field).is_none())
    {
        return;
    }
    let mut collect = |node: &Node, text: &str| match object(file, document, node, text) {
        Ok(object) => objects.push(object),
        Err(problem) => problems.push(*problem),
    };
    if root.get("kind").and_then(Node::text) == Some("List") {
        let Some(Tree::Seq(items)) = root.get("items").map(|items| &items.value) else {
            return;
        };
        for item in items {
            // The text of a List is not one object's: each item carries its own, written out again.
            collect(item, &item.to_json().to_string());
        }
        return;
    }
    collect(root, document.text);
}

fn object(
    file: &Path,
    document: &Document<'_>,
    node: &Node,
    text: &str,
) -> Result<Object, Box<Problem>> {
    let mut value = node.to_json();
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
    check(&key, node).map_err(|wrong| {
        let (line, column) = match wrong.at.line {
            0 => (line, 1),
            line => (line, wrong.at.column),
        };
        let reason = wrong.reason.trim_start_matches(['.', ':', ' ']);
        let problem = Problem::at(wrong.code, file, line, column, reason);
        Box::new(problem.suggest(wrong.suggestion).named(&key))
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

/// What is wrong first with an object of the kinds that this machine runs.
fn check(key: &Key, node: &Node) -> Result<(), Wrong> {
    fn typed<T: DeserializeOwned>(node: &Node) -> Result<(), Wrong> {
        let read = decode::<T>(node, "", Unknown::Skip).map(drop);
        read.map_err(|mut wrong| wrong.swap_remove(0))
    }
    match key.kind.as_str() {
        "Deployment" => typed::<v1::Deployment>(node),
        "ReplicaSet" => typed::<v1::ReplicaSet>(node),
        "StatefulSet" => typed::<v1::StatefulSet>(node),
        "DaemonSet" => typed::<v1::DaemonSet>(node),
        "Job" => typed::<batch::v1::Job>(node),
        "Pod" => typed::<core::v1::Pod>(node),
        "Service" => typed::<core::v1::Service>(node),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
