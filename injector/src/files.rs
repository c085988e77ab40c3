//! Injection of manifests in files: YAML streams and JSON. A document that is not injected passes
//! through byte for byte; of one that is, everything but what is injected: comments, order, spacing,
//! quotes. A mistake names file, line, document and object, and nothing is written.

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
mod splice;
mod tree;
mod write;

use document::Document;
use kinds::Object;
pub(crate) use kinds::controller;
use tree::Node;

/// What was done with one object, for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Line of the file on which the object starts.
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
    /// A document whose text could not be edited in place was written anew, without its comments.
    Rewritten,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.object)?;
        match &self.outcome {
            Outcome::Injected => formatter.write_str("injected"),
            Outcome::Unchanged => formatter.write_str("injected already, unchanged"),
            Outcome::Skipped(reason) => write!(formatter, "not injected: {reason}"),
            Outcome::Warning(warning) => write!(formatter, "warning: {warning}"),
            Outcome::Rewritten => formatter.write_str(
                "written anew, without its comments: anchors, tags or its layout leave no place to add to",
            ),
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
    for (index, (document, value)) in parsed.into_iter().enumerate() {
        if Object::of(&value).is_none() && kinds::items(&value).next().is_none() {
            output.push_str(document.text);
            continue;
        }
        let opened = Opened {
            tree: document.tree(),
            document,
        };
        let mut injected = value.clone();
        let changed = run
            .object(&opened, &mut injected, &mut Vec::new())
            .map_err(|mistake| FileError {
                file: file_name.to_owned(),
                line: opened.line_of(&mistake.path, &mistake.keyword),
                document: index + 1,
                object: Some(mistake.object),
                reason: mistake.reason,
            })?;
        let Opened { document, tree } = &opened;
        if !changed {
            output.push_str(document.text);
        } else if !document.write_changed(tree.as_ref(), &value, &injected, &mut output) {
            run.notes.push(Note {
                line: document.content_line(),
                object: format!("document {}", index + 1),
                outcome: Outcome::Rewritten,
            });
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

/// A document, and where everything stands in it.
struct Opened<'a> {
    document: Document<'a>,
    tree: Option<Node>,
}

impl Opened<'_> {
    fn line_of(&self, path: &[String], keyword: &str) -> usize {
        self.document.line_of(self.tree.as_ref(), path, keyword)
    }
}

struct Run<'a> {
    config: &'a InjectConfig,
    namespaces: &'a dyn NamespaceLabels,
    declared: BTreeMap<String, NamespaceMeta>,
    notes: Vec<Note>,
}

struct Mistake {
    object: String,
    /// From the document's root.
    path: Vec<String>,
    keyword: String,
    reason: String,
}

impl Run<'_> {
    /// Injects what is in `value`, to which `path` leads; whether anything changed.
    fn object(
        &mut self,
        opened: &Opened<'_>,
        value: &mut Value,
        path: &mut Vec<String>,
    ) -> Result<bool, Mistake> {
        if path.len() < 2 * kinds::MAX_LIST_DEPTH
            && let Some(items) = kinds::items_mut(value)
        {
            let mut changed = false;
            for (index, item) in items.iter_mut().enumerate() {
                path.extend(["items".to_owned(), index.to_string()]);
                changed |= self.object(opened, item, path)?;
                path.truncate(path.len() - 2);
            }
            return Ok(changed);
        }
        let Some(object) = Object::of(value) else {
            return Ok(false);
        };
        let name = object.to_string();
        let Some(template) = object.template_in(value) else {
            return Err(Mistake {
                object: name,
                path: [path.as_slice(), &["spec".to_owned()]].concat(),
                keyword: "spec".into(),
                reason: format!("it has no {}", object.template_path()),
            });
        };
        let context = self.context(&object, template);
        let decision = inject(template, &context, self.config).map_err(|error| Mistake {
            object: name.clone(),
            path: path
                .iter()
                .cloned()
                .chain(object.template_tokens())
                .chain(error.place())
                .collect(),
            keyword: error.keyword().to_owned(),
            reason: error.to_string(),
        })?;
        let line = opened.line_of(path, "");
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
