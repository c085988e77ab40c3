//! What can be told of a document before its contents are: kind, namespace and name, even of a text
//! that is no YAML; and whether these are names at all.

use crate::{
    check::Code,
    name::{Kind, NsName, ObjectKey},
    resources::metadata::Metadata,
    source::{
        decode::Problem,
        node::{Node, Position, Value},
        suggest,
    },
};

/// What can be told of a document before its contents are read.
#[derive(Default)]
pub(super) struct Head {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) fn object_key(
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
        let at = root.get("metadata").map_or(root.at, |m| m.at);
        let reason = "metadata: the field `name` is missing";
        return Err(Problem::new(Code::Incomplete, at, reason).suggest("add `name:`"));
    }
    let bad = |at: Position, what: &str, name: &str| {
        let reason = format!("metadata.{what}: \"{}\" is no name", name.escape_debug());
        let instead = "use small letters, digits, `-` and `.`";
        Problem::new(Code::BadName, at, reason).suggest(instead)
    };
    if !good(&head.name) {
        return Err(bad(named, "name", &head.name));
    }
    if kind == Kind::Service && head.name.contains('.') {
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

pub(super) fn top_level(root: &Node) -> Vec<Problem> {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let Value::Map(entries) = &root.value else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|(key, _)| !FIELDS.contains(&&*key.name))
        .map(|(key, _)| {
            let reason = format!("unknown field `{}`", key.name.escape_debug());
            Problem::new(Code::UnknownField, key.at, reason)
                .suggest(suggest::sentence(&key.name, &FIELDS))
        })
        .collect()
}

/// Kind and name of a text that is no YAML, by its lines, so that people know which it is.
pub(super) fn guess(text: &str) -> Head {
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
