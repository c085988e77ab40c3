//! One document to objects: which kind it is, its name, its typed contents, and what is wrong with
//! it. Kinds of other APIs are passed over; an unknown or unsupported kind of an API that the
//! mesh does read is refused, since ignoring it would be a lie.

use std::{path::Path, sync::Arc};

use super::{
    decode::{Problem, Unknown, decode},
    document::Document,
    fail_safe::{self, Legible},
    node::{Node, Position, Value},
    object::{Object, Origin, Refusal, Resource, Written, kind_of},
    suggest,
};
use crate::{
    name::{Kind, NsName, ObjectKey},
    resources::{
        endpoint_slice::SliceDocument, labels::Interner, metadata::Metadata, pod::PodDocument,
        service::ServiceSpec,
    },
};

/// Largest document, in bytes (etcd holds objects up to 1.5 MiB; a `List` is larger).
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;

/// Largest document that is kept for a restart, in bytes: what etcd holds of one object.
const MAX_KEPT: usize = 1536 * 1024;

/// Annotation of a document that says `"true"`: the object is gone, whatever earlier directories say.
const DELETED: &str = "heddle.io/deleted";

/// Groups of which every kind is either read or refused.
const OUR_GROUPS: [(&str, &[&str]); 5] = [
    (
        "networking.istio.io",
        &[
            "VirtualService",
            "DestinationRule",
            "Gateway",
            "ServiceEntry",
            "Sidecar",
            "WorkloadEntry",
            "WorkloadGroup",
            "EnvoyFilter",
            "ProxyConfig",
        ],
    ),
    (
        "security.istio.io",
        &[
            "PeerAuthentication",
            "AuthorizationPolicy",
            "RequestAuthentication",
        ],
    ),
    ("telemetry.istio.io", &["Telemetry"]),
    ("extensions.istio.io", &["WasmPlugin"]),
    (
        "gateway.networking.k8s.io",
        &[
            "HTTPRoute",
            "GRPCRoute",
            "TLSRoute",
            "TCPRoute",
            "UDPRoute",
            "Gateway",
            "GatewayClass",
            "ReferenceGrant",
            "BackendTLSPolicy",
        ],
    ),
];

/// Core kinds that a misspelt kind may have meant.
const CORE_KINDS: [&str; 12] = [
    "Namespace",
    "ServiceAccount",
    "Service",
    "Pod",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Node",
    "Event",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "List",
];

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
    let mut reader = Reader {
        file: file.cloned(),
        document,
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
        reader.bad(
            None,
            &Head::default(),
            vec![Problem {
                at: first,
                reason,
                suggestion: String::new(),
            }],
            &Legible::Lines(""),
        );
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
            let problem = Problem {
                at,
                reason: error.reason,
                suggestion: String::new(),
            };
            let lines = Legible::Lines(document.text);
            reader.bad(None, &guess(document.text), vec![problem], &lines);
        }
    }
    reader.items
}

/// What can be told of a document before its contents are read.
#[derive(Default)]
struct Head {
    kind: String,
    namespace: String,
    name: String,
}

struct Reader<'a> {
    file: Option<Arc<Path>>,
    document: &'a Document<'a>,
    written: Option<Written>,
    interner: &'a mut Interner,
    items: Vec<Item>,
}

impl Reader<'_> {
    /// The document, for kinds that people write and that must not be lost when it becomes bad.
    fn written(&mut self, kind: Kind) -> Option<Written> {
        if !kind.is_kept() || self.document.text.len() > MAX_KEPT {
            return None;
        }
        let document = self.document;
        let written = self.written.get_or_insert_with(|| Written {
            text: document.text.into(),
            line_offset: document.line_offset,
        });
        Some(written.clone())
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
            .map(|problem| Refusal {
                file: file.clone(),
                at: problem.at,
                kind: head.kind.clone(),
                namespace: head.namespace.clone(),
                name: head.name.clone(),
                reason: problem.reason,
                suggestion: problem.suggestion,
                warning: false,
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
        let refuse = |at: Position, reason: String, suggestion: String| {
            vec![Problem {
                at,
                reason,
                suggestion,
            }]
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
                let right = versions.iter().map(|v| {
                    if group.is_empty() {
                        (*v).to_owned()
                    } else {
                        format!("{group}/{v}")
                    }
                });
                let suggestion = format!("write one of: {}", right.collect::<Vec<_>>().join(", "));
                let reason = format!(
                    "unknown apiVersion \"{}\" of {kind}",
                    api_version.escape_debug()
                );
                let problem = refuse(at("apiVersion"), reason, suggestion);
                self.bad(None, &head, problem, &Legible::Tree(root));
            }
            None => {
                if let Some((field, reason, suggestion)) = stranger(group, kind, api_version) {
                    let problem = refuse(at(field), reason, suggestion);
                    self.bad(None, &head, problem, &Legible::Tree(root));
                }
            }
        }
    }

    fn known(&mut self, root: &Node, kind: Kind, mut head: Head) {
        let strict = !matches!(
            kind,
            Kind::Pod
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

/// None: a kind of someone else's.
fn stranger(group: &str, kind: &str, api_version: &str) -> Option<(&'static str, String, String)> {
    if let Some((_, kinds)) = OUR_GROUPS.iter().find(|(ours, _)| *ours == group) {
        return Some(if kinds.contains(&kind) {
            (
                "kind",
                format!("kind {kind} of {group} is not supported yet"),
                "take the document out; it has no effect".into(),
            )
        } else {
            (
                "kind",
                format!("unknown kind `{}` of {group}", kind.escape_debug()),
                suggest::sentence(kind, kinds),
            )
        });
    }
    if group.is_empty() && !CORE_KINDS.contains(&kind) {
        let near = suggest::nearest(kind, CORE_KINDS)?;
        return Some((
            "kind",
            format!("unknown kind `{}`", kind.escape_debug()),
            format!("did you mean `{near}`?"),
        ));
    }
    let (ours, _) = OUR_GROUPS.iter().find(|(ours, kinds)| {
        kinds.contains(&kind) && !group.is_empty() && suggest::distance(ours, group) <= 2
    })?;
    let reason = format!(
        "unknown apiVersion \"{}\" of {kind}",
        api_version.escape_debug()
    );
    Some(("apiVersion", reason, format!("did you mean `{ours}`?")))
}

fn object_key(
    root: &Node,
    kind: Kind,
    metadata: &Metadata,
    head: &Head,
) -> Result<ObjectKey, Problem> {
    let named = metadata.name.as_ref().map_or(root.at, |name| name.at);
    let good = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    if metadata.name.is_none() {
        return Err(Problem {
            at: root.get("metadata").map_or(root.at, |m| m.at),
            reason: "metadata: the field `name` is missing".into(),
            suggestion: "add `name:`".into(),
        });
    }
    let bad = |at: Position, what: &str, name: &str| Problem {
        at,
        reason: format!("metadata.{what}: \"{}\" is no name", name.escape_debug()),
        suggestion: "use small letters, digits, `-` and `.`".into(),
    };
    if !good(&head.name) {
        return Err(bad(named, "name", &head.name));
    }
    match NsName::new(&head.namespace, &head.name) {
        Some(name) if good(&head.namespace) => Ok(ObjectKey { kind, name }),
        _ => {
            let at = metadata
                .namespace
                .as_ref()
                .map_or(root.at, |namespace| namespace.at);
            Err(bad(at, "namespace", &head.namespace))
        }
    }
}

fn top_level(root: &Node) -> Vec<Problem> {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let Value::Map(entries) = &root.value else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|(key, _)| !FIELDS.contains(&&*key.name))
        .map(|(key, _)| Problem {
            at: key.at,
            reason: format!("unknown field `{}`", key.name.escape_debug()),
            suggestion: suggest::sentence(&key.name, &FIELDS),
        })
        .collect()
}

/// None: good, but of no use (an EndpointSlice of no service).
fn contents(
    root: &Node,
    kind: Kind,
    namespace: &str,
    metadata: &Metadata,
    interner: &mut Interner,
) -> Result<Option<Resource>, Vec<Problem>> {
    let missing = Node {
        at: root.at,
        value: Value::Map(Vec::new()),
    };
    let spec = match root.get("spec") {
        Some(spec) if !spec.is_null() => spec,
        _ => &missing,
    };
    macro_rules! checked {
        ($variant:ident) => {{
            let spec = decode(spec, "spec", Unknown::Refuse)?;
            let resource = Resource::$variant(spec);
            let Resource::$variant(spec) = &resource else {
                return Ok(None);
            };
            let problems = spec.problems();
            if problems.is_empty() {
                Ok(Some(resource))
            } else {
                Err(problems)
            }
        }};
    }
    match kind {
        Kind::Namespace => Ok(Some(Resource::Namespace)),
        Kind::ServiceAccount => Ok(Some(Resource::ServiceAccount)),
        Kind::NetworkPolicy => Ok(Some(Resource::NetworkPolicy)),
        Kind::Service => {
            let spec: ServiceSpec = decode(spec, "spec", Unknown::Refuse)?;
            spec.build(interner)
                .map(|service| Some(Resource::Service(service)))
        }
        Kind::Pod => {
            let pod: PodDocument = decode(root, "pod", Unknown::Skip)?;
            Ok(Some(Resource::Pod(pod.build(metadata, interner))))
        }
        Kind::EndpointSlice => {
            let slice: SliceDocument = decode(root, "slice", Unknown::Skip)?;
            Ok(slice
                .build(namespace, metadata)
                .map(Resource::EndpointSlice))
        }
        Kind::DestinationRule => checked!(DestinationRule),
        Kind::VirtualService => checked!(VirtualService),
        Kind::PeerAuthentication => checked!(PeerAuthentication),
        Kind::Telemetry => checked!(Telemetry),
    }
}

/// Kind and name of a text that is no YAML, by its lines, so that people know which it is.
fn guess(text: &str) -> Head {
    let value = |part: &str, key: &str| {
        let rest = part.trim_start().strip_prefix(key)?.strip_prefix(':')?;
        let rest = rest
            .split('#')
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches(['"', '\'']);
        (!rest.is_empty() && rest.len() <= 253).then(|| rest.to_owned())
    };
    let mut head = Head {
        namespace: "default".into(),
        ..Head::default()
    };
    let mut in_metadata = false;
    for line in text.lines() {
        let mut parts = vec![line];
        if !line.starts_with([' ', '\t']) {
            head.kind = value(line, "kind").unwrap_or(head.kind);
            let flow = line.strip_prefix("metadata:");
            in_metadata = flow.is_some();
            parts = flow.unwrap_or_default().split(['{', ',', '}']).collect();
        }
        if in_metadata {
            for part in parts {
                if head.name.is_empty() {
                    head.name = value(part, "name").unwrap_or_default();
                }
                head.namespace = value(part, "namespace").unwrap_or(head.namespace);
            }
        }
    }
    head
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
