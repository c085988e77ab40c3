//! One document to objects: which kind it is, its name, its typed contents, and what is wrong with
//! it. Kinds of other APIs are passed over; an unknown or unsupported kind of an API that the
//! mesh does read is refused, since ignoring it would be a lie.

mod contents;
mod head;
mod kinds;

use std::{path::Path, sync::Arc};

use self::{
    contents::contents,
    head::{Head, guess, object_key, top_level},
    kinds::{kind_of, stranger},
};
use super::{
    decode::{Problem, Unknown, decode},
    document::Document,
    fail_safe::{self, Legible},
    node::{Node, Position, Value},
    object::{Object, Origin, Refusal, Resource, Written},
};
use crate::{
    check::Code,
    name::{Kind, NsName, ObjectKey},
    resources::{labels::Interner, metadata::Metadata},
};

/// Largest document, in bytes (etcd holds objects up to 1.5 MiB; a `List` is larger).
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;

/// Largest document that is kept for a restart, in bytes: what etcd holds of one object.
const MAX_KEPT: usize = 1536 * 1024;

/// Annotation of a document that says `"true"`: the object is gone, whatever earlier directories say.
const DELETED: &str = "heddle.io/deleted";

/// What became of one object of a document.
#[derive(Debug)]
pub enum Item {
    /// It is good.
    Good(Arc<Object>),
    /// It is bad; of which object, if its head could be read.
    Bad {
        /// Which object it would be.
        key: Option<ObjectKey>,
        /// Why.
        refusals: Vec<Refusal>,
        /// What is in force instead, if no version of it ever was.
        stand_in: Option<Arc<Object>>,
    },
}

/// Reads one document. Nothing comes of kinds that are not ours.
pub fn read(
    document: &Document<'_>,
    file: Option<&Arc<Path>>,
    interner: &mut Interner,
) -> Vec<Item> {
    let text = || (document.text.len() <= MAX_KEPT).then(|| document.text.into());
    let mut reader = Reader {
        file: file.cloned(),
        text: &text,
        line_offset: document.line_offset,
        written: None,
        interner,
        items: Vec::new(),
    };
    let first = Position {
        line: document.line_offset.saturating_add(1),
        column: 1,
    };
    if document.text.len() > MAX_DOCUMENT {
        let reason = format!(
            "the document has {} bytes; at most {MAX_DOCUMENT} are read",
            document.text.len()
        );
        let problem = Problem::new(Code::TooLarge, first, reason);
        let lines = Legible::Lines("");
        reader.bad(None, &Head::default(), vec![problem], &lines);
        return reader.items;
    }
    match Node::parse(document.text, document.line_offset) {
        Ok(root) if root.is_null() => {}
        Ok(root) => reader.object(&root),
        Err(error) => {
            let at = if error.at == Position::default() {
                first
            } else {
                error.at
            };
            let code = if error.is_too_much {
                Code::TooLarge
            } else {
                Code::Syntax
            };
            let problem = Problem::new(code, at, error.reason).suggest(error.suggestion);
            let lines = Legible::Lines(document.text);
            reader.bad(None, &guess(document.text), vec![problem], &lines);
        }
    }
    reader.items
}

/// Reads an object that came as a tree, from no file. `print` writes it as text that [`read`] reads.
pub(super) fn read_tree(
    root: &Node,
    print: impl Fn() -> String,
    interner: &mut Interner,
) -> Vec<Item> {
    let text = || {
        Some(print())
            .filter(|text| text.len() <= MAX_KEPT)
            .map(Arc::from)
    };
    let mut reader = Reader {
        file: None,
        text: &text,
        line_offset: 0,
        written: None,
        interner,
        items: Vec::new(),
    };
    reader.object(root);
    reader.items
}

struct Reader<'a> {
    file: Option<Arc<Path>>,
    /// The whole document, unless it is too large to be kept.
    text: &'a dyn Fn() -> Option<Arc<str>>,
    line_offset: u32,
    written: Option<Written>,
    interner: &'a mut Interner,
    items: Vec<Item>,
}

impl Reader<'_> {
    /// The document, for kinds that people write and that must not be lost when it becomes bad.
    fn written(&mut self, kind: Kind) -> Option<Written> {
        if !kind.is_kept() {
            return None;
        }
        if self.written.is_none() {
            self.written = (self.text)().map(|text| Written {
                text,
                line_offset: self.line_offset,
            });
        }
        self.written.clone()
    }

    fn bad(
        &mut self,
        key: Option<ObjectKey>,
        head: &Head,
        problems: Vec<Problem>,
        legible: &Legible<'_>,
    ) {
        let origin = Origin {
            file: self.file.clone(),
            at: problems
                .first()
                .map(|problem| problem.at)
                .unwrap_or_default(),
        };
        let file = origin.file_text();
        let stand_in = fail_safe::policy(&head.kind, legible).and_then(|policy| {
            // Which it is matters less than that it is in force.
            let name = if head.name.is_empty() {
                "unnamed"
            } else {
                &head.name
            };
            let kind = Kind::PeerAuthentication;
            Some(Arc::new(Object {
                key: ObjectKey {
                    kind,
                    name: NsName::new(&head.namespace, name)?,
                },
                origin,
                created: None,
                resource: Resource::PeerAuthentication(policy),
                written: None,
                stand_in: true,
            }))
        });
        let refusals = problems
            .into_iter()
            .map(|problem| {
                let about = (&*head.kind, &*head.namespace, &*head.name);
                Refusal::about(about, file.clone(), problem)
            })
            .collect();
        self.items.push(Item::Bad {
            key,
            refusals,
            stand_in,
        });
    }

    fn object(&mut self, root: &Node) {
        let text = |name: &str| root.get(name).and_then(Node::text);
        let head = Head {
            kind: text("kind").unwrap_or_default().to_owned(),
            namespace: root
                .get("metadata")
                .and_then(|m| m.get("namespace"))
                .and_then(Node::text)
                .unwrap_or("default")
                .to_owned(),
            name: root
                .get("metadata")
                .and_then(|m| m.get("name"))
                .and_then(Node::text)
                .unwrap_or_default()
                .to_owned(),
        };
        let refuse = |code: Code, at: Position, reason: String, suggestion: String| {
            vec![Problem::new(code, at, reason).suggest(suggestion)]
        };
        let (api_version, kind) = match (text("apiVersion"), text("kind")) {
            (Some(api_version), Some(kind)) => (api_version, kind),
            // Not of Kubernetes at all (a chart's values, a kustomization): none of our business.
            (None, None) if root.get("metadata").is_none() => return,
            (api_version, _) => {
                let missing = if api_version.is_none() {
                    "apiVersion"
                } else {
                    "kind"
                };
                let problem = refuse(
                    Code::Incomplete,
                    root.at,
                    format!("the field `{missing}` is missing"),
                    format!("add `{missing}:`"),
                );
                return self.bad(None, &head, problem, &Legible::Tree(root));
            }
        };
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        if kind == "List" && group.is_empty() {
            if let Some(Value::Seq(items)) = root.get("items").map(|items| &items.value) {
                items.iter().for_each(|item| self.object(item));
            }
            return;
        }
        let at = |name: &str| root.get(name).map_or(root.at, |node| node.at);
        match kind_of(group, kind) {
            Some((kind, versions)) if versions.contains(&version) => self.known(root, kind, head),
            Some((_, versions)) => {
                let newest = versions.first().copied().unwrap_or("v1");
                let suggestion = match group {
                    "" => format!("write `apiVersion: {newest}`"),
                    group => format!("write `apiVersion: {group}/{newest}`"),
                };
                let reason = format!(
                    "unknown apiVersion \"{}\" of {kind}",
                    api_version.escape_debug()
                );
                let problem = refuse(Code::UnknownVersion, at("apiVersion"), reason, suggestion);
                self.bad(None, &head, problem, &Legible::Tree(root));
            }
            None => {
                if let Some((code, reason, suggestion)) = stranger(group, kind, api_version) {
                    let field = if code == Code::UnknownVersion {
                        "apiVersion"
                    } else {
                        "kind"
                    };
                    let problem = refuse(code, at(field), reason, suggestion);
                    self.bad(None, &head, problem, &Legible::Tree(root));
                }
            }
        }
    }

    fn known(&mut self, root: &Node, kind: Kind, mut head: Head) {
        let strict = !matches!(
            kind,
            Kind::Pod
                | Kind::Node
                | Kind::EndpointSlice
                | Kind::Namespace
                | Kind::ServiceAccount
                | Kind::NetworkPolicy
        );
        let unknown = if strict {
            Unknown::Refuse
        } else {
            Unknown::Skip
        };
        let empty = Node {
            at: root.at,
            value: Value::Map(Vec::new()),
        };
        let metadata = root.get("metadata").unwrap_or(&empty);
        let metadata: Metadata = match decode(metadata, "metadata", unknown) {
            Ok(metadata) => metadata,
            Err(problems) => {
                let key =
                    NsName::new(&head.namespace, &head.name).map(|name| ObjectKey { kind, name });
                return self.bad(key, &head, problems, &Legible::Tree(root));
            }
        };
        if kind == Kind::Namespace {
            head.namespace = "default".into();
        }
        let key = match object_key(root, kind, &metadata, &head) {
            Ok(key) => key,
            Err(problem) => {
                return self.bad(None, &head, vec![problem], &Legible::Tree(root));
            }
        };
        if metadata.annotation(DELETED) == Some("true") {
            let origin = Origin {
                file: self.file.clone(),
                at: root.at,
            };
            self.items.push(Item::Good(Arc::new(Object {
                key,
                origin,
                created: None,
                resource: Resource::Deleted,
                written: None,
                stand_in: false,
            })));
            return;
        }
        let mut problems = if strict { top_level(root) } else { Vec::new() };
        let contents = contents(root, kind, key.name.namespace(), &metadata, self.interner);
        match contents {
            Ok(Some(resource)) if problems.is_empty() => {
                let origin = Origin {
                    file: self.file.clone(),
                    at: root.at,
                };
                let created = metadata.created();
                let written = self.written(kind);
                self.items.push(Item::Good(Arc::new(Object {
                    key,
                    origin,
                    created,
                    resource,
                    written,
                    stand_in: false,
                })));
            }
            Ok(None) => {}
            Ok(Some(_)) => self.bad(Some(key), &head, problems, &Legible::Tree(root)),
            Err(more) => {
                problems.extend(more);
                for problem in problems
                    .iter_mut()
                    .filter(|problem| problem.at == Position::default())
                {
                    problem.at = root.at;
                }
                self.bad(Some(key), &head, problems, &Legible::Tree(root));
            }
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
