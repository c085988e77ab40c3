//! Injection of manifests in files: YAML streams and JSON. A document that is not injected passes
//! through byte for byte; of one that is, the comments around it, the order of its keys and
//! everything unknown stay. A mistake names file, line, document and object, and nothing is written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::config::InjectConfig;
use crate::context::{NamespaceLabels, NamespaceMeta, PodContext, StaticNamespaces};
use crate::decide::SkipReason;
use crate::inject::{Decision, inject};

mod document;
mod kinds;
mod write;

use document::Document;
use kinds::Object;
pub(crate) use kinds::controller;

/// What was done with one object, for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Line of the file on which the object's document starts.
    pub line: usize,
    /// Kind, namespace and name, such as `Deployment shop/web`.
    pub object: String,
    /// What happened to it.
    pub outcome: Outcome,
}

/// What happened to an object that has a pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was injected.
    Injected,
    /// It had the same injection already.
    Unchanged,
    /// It was passed through.
    Skipped(SkipReason),
    /// It was injected, and this should be known.
    Warning(String),
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.object)?;
        match &self.outcome {
            Outcome::Injected => formatter.write_str("injected"),
            Outcome::Unchanged => formatter.write_str("injected already, unchanged"),
            Outcome::Skipped(reason) => write!(formatter, "not injected: {reason}"),
            Outcome::Warning(warning) => write!(formatter, "warning: {warning}"),
        }
    }
}

/// A file that cannot be injected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}:{line}: document {document}{}: {reason}", of(.object))]
pub struct FileError {
    /// The file's name as given.
    pub file: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// Which document of the file, from 1.
    pub document: usize,
    /// Kind, namespace and name, when the document could be read so far.
    pub object: Option<String>,
    /// What is wrong.
    pub reason: String,
}

fn of(object: &Option<String>) -> String {
    object
        .as_ref()
        .map(|object| format!(" ({object})"))
        .unwrap_or_default()
}

/// Injects every pod and pod template of `input`, which is a YAML stream or JSON. Namespaces that
/// `input` itself declares are known with the labels they have there; the others are looked up.
///
/// # Errors
/// When a document cannot be read, or a pod has something that the webhook would refuse.
pub fn inject_documents(
    input: &str,
    file_name: &str,
    config: &InjectConfig,
    namespaces: &dyn NamespaceLabels,
) -> Result<(String, Vec<Note>), FileError> {
    let parsed = parse(input, file_name)?;
    let declared = declared_namespaces(parsed.iter().map(|(_, value)| value));
    let mut run = Run {
        config,
        namespaces,
        declared,
        notes: Vec::new(),
    };
    let mut output = String::with_capacity(input.len());
    for (index, (document, mut value)) in parsed.into_iter().enumerate() {
        let changed = run
            .document(&document, &mut value, 0)
            .map_err(|mistake| FileError {
                file: file_name.to_owned(),
                line: document.line_of(&mistake.keyword),
                document: index + 1,
                object: Some(mistake.object),
                reason: mistake.reason,
            })?;
        if changed {
            document.write_with(&value, &mut output);
        } else {
            output.push_str(document.text);
        }
    }
    Ok((output, run.notes))
}

/// The Namespaces among the manifests of `input`.
///
/// # Errors
/// When a document cannot be read.
pub fn read_namespaces(input: &str, file_name: &str) -> Result<StaticNamespaces, FileError> {
    let parsed = parse(input, file_name)?;
    Ok(StaticNamespaces(declared_namespaces(
        parsed.iter().map(|(_, value)| value),
    )))
}

fn parse<'a>(input: &'a str, file_name: &str) -> Result<Vec<(Document<'a>, Value)>, FileError> {
    let mut parsed = Vec::new();
    for (index, document) in document::split(input).into_iter().enumerate() {
        let value = document.parse().map_err(|(line, reason)| FileError {
            file: file_name.to_owned(),
            line,
            document: index + 1,
            object: None,
            reason,
        })?;
        parsed.push((document, value));
    }
    Ok(parsed)
}

fn declared_namespaces<'a>(
    values: impl Iterator<Item = &'a Value>,
) -> BTreeMap<String, NamespaceMeta> {
    let mut declared = BTreeMap::new();
    for value in values {
        for object in std::iter::once(value).chain(kinds::items(value)) {
            if let Some((name, meta)) = kinds::namespace(object) {
                declared.insert(name, meta);
            }
        }
    }
    declared
}

struct Run<'a> {
    config: &'a InjectConfig,
    namespaces: &'a dyn NamespaceLabels,
    declared: BTreeMap<String, NamespaceMeta>,
    notes: Vec<Note>,
}

struct Mistake {
    object: String,
    keyword: String,
    reason: String,
}

impl Run<'_> {
    /// Injects what is in `value`; whether anything changed.
    fn document(
        &mut self,
        document: &Document<'_>,
        value: &mut Value,
        depth: usize,
    ) -> Result<bool, Mistake> {
        if depth < kinds::MAX_LIST_DEPTH
            && let Some(items) = kinds::items_mut(value)
        {
            let mut changed = false;
            for item in items {
                changed |= self.document(document, item, depth + 1)?;
            }
            return Ok(changed);
        }
        let Some(object) = Object::of(value) else {
            return Ok(false);
        };
        let name = object.to_string();
        let Some(template) = object.template_in(value) else {
            let reason = format!("it has no {}", object.template_path());
            return Err(Mistake {
                object: name,
                keyword: "spec".into(),
                reason,
            });
        };
        let context = self.context(&object, template);
        let decision = inject(template, &context, self.config).map_err(|error| Mistake {
            object: name.clone(),
            keyword: error.keyword().to_owned(),
            reason: error.to_string(),
        })?;
        let line = document.content_line();
        let mut note = |outcome| {
            self.notes.push(Note {
                line,
                object: name.clone(),
                outcome,
            })
        };
        let injection = match decision {
            Decision::Skip { reason } => {
                note(Outcome::Skipped(reason));
                return Ok(false);
            }
            Decision::Inject(injection) => injection,
        };
        let changed = !injection.patch.is_empty();
        note(if changed {
            Outcome::Injected
        } else {
            Outcome::Unchanged
        });
        injection
            .warnings
            .into_iter()
            .for_each(|warning| note(Outcome::Warning(warning)));
        if changed {
            *template = injection.pod;
        }
        Ok(changed)
    }

    fn context(&self, object: &Object, template: &Value) -> PodContext {
        let namespace = object.namespace.clone();
        let declared = self.declared.get(&namespace).cloned();
        PodContext {
            namespace_meta: declared.unwrap_or_else(|| self.namespaces.namespace(&namespace)),
            namespace,
            owner: object.owner(template),
        }
    }
}
