//! An object as the API server sends it: the tree that the reader takes, without what it adds for its
//! own use. Any JSON is taken, so that one strange object cannot end a watch.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash, Hasher},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, Resource};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    name::NsName,
    resources::labels::Interner,
    source::{
        node::{Key, Node, Position, Value},
        read::{Item, read_tree},
    },
};

/// What `kubectl apply` leaves for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of `metadata`, what means something to the mesh. The rest is the server's.
const METADATA: [&str; 8] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "ownerReferences",
];
/// No kind nests half as deep. The JSON reader ends a whole list at 128, for one object of one tenant.
const MAX_DEPTH: usize = 48;
/// Stands for what is deeper, and is good nowhere.
const TOO_DEEP: &str = "(nested too deeply to be read)";
const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// Name, namespace, uid, generation and resourceVersion only.
    pub(crate) meta: ObjectMeta,
    /// All of it, as it came.
    pub(crate) root: Node,
}

impl Raw {
    /// Its name; kinds without namespaces are in `default`.
    pub(super) fn name(&self) -> Option<NsName> {
        let namespace = self.meta.namespace.as_deref().unwrap_or("default");
        NsName::new(namespace, self.meta.name.as_deref()?)
    }

    /// Tells versions apart.
    pub(super) fn version(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.meta.resource_version, &self.meta.uid).hash(&mut hasher);
        hasher.finish()
    }

    /// A list in it, such as `status.parents`.
    pub(crate) fn list(&self, part: &str, name: &str) -> Vec<serde_json::Value> {
        let list = self.root.get(part).and_then(|part| part.get(name));
        list.and_then(|list| serde_json::from_str(&print(list)).ok())
            .unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub(crate) fn is_being_deleted(&self) -> bool {
        let metadata = self.root.get("metadata");
        metadata
            .and_then(|metadata| metadata.get("deletionTimestamp"))
            .is_some_and(|at| !at.is_null())
    }

    /// Whether both have the same `spec`.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let spec = |raw: &Self| raw.root.get("spec").map(print);
        spec(self) == spec(other)
    }

    /// What a person would have written, of this version and kind. A status means something for pods alone.
    pub(super) fn into_written(self, with_status: bool, api_version: &str, kind: &str) -> Node {
        let Value::Map(entries) = self.root.value else {
            return self.root;
        };
        let text = |name: &str, text: &str| (key(name), node(Value::Quoted(text.into())));
        // In a list of the server's own kinds these are not said.
        let mut kept = vec![text("apiVersion", api_version), text("kind", kind)];
        let mut rest = Vec::new();
        for (name, value) in entries {
            match &*name.name {
                "metadata" => kept.push((name, metadata(value))),
                "status" if with_status => rest.push((name, value)),
                other if TOP.contains(&other) => {}
                _ => rest.push((name, value)),
            }
        }
        kept.extend(rest);
        node(Value::Map(kept))
    }
}

fn key(name: &str) -> Key {
    Key {
        name: name.into(),
        written: None,
        at: Position::default(),
    }
}

fn node(value: Value) -> Node {
    Node {
        at: Position::default(),
        value,
    }
}

fn metadata(metadata: Node) -> Node {
    let Value::Map(mut entries) = metadata.value else {
        return metadata;
    };
    entries.retain(|(name, _)| METADATA.contains(&&*name.name));
    for (name, value) in &mut entries {
        if let ("annotations", Value::Map(annotations)) = (&*name.name, &mut value.value) {
            annotations.retain(|(name, _)| &*name.name != LAST_APPLIED);
        }
    }
    let is_bare = |value: &Node| matches!(&value.value, Value::Map(entries) if entries.is_empty());
    entries.retain(|(name, value)| &*name.name != "annotations" || !is_bare(value));
    node(Value::Map(entries))
}

/// Reads an object that is not stored yet. Until then it may not say what it is called, or where.
pub(crate) fn read_unstored(mut raw: Raw, namespace: &str, name: &str) -> Vec<Item> {
    let text = |name: &str| {
        raw.root
            .get(name)
            .and_then(Node::text)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let called = if name.is_empty() { "unnamed" } else { name };
    if let Value::Map(entries) = &mut raw.root.value
        && let Some((_, metadata)) = entries.iter_mut().find(|(key, _)| &*key.name == "metadata")
    {
        for (field, value) in [("name", called), ("namespace", namespace)] {
            let is_there = metadata.get(field).and_then(Node::text).is_some();
            if let Value::Map(entries) = &mut metadata.value
                && !is_there
                && !value.is_empty()
            {
                entries.retain(|(key, _)| &*key.name != field);
                entries.push((key(field), node(Value::Quoted(value.into()))));
            }
        }
    }
    let tree = raw.into_written(false, &api_version, &kind);
    read_tree(&tree, || print(&tree), &mut Interner::default())
}

/// As compact JSON, which the reader reads too.
pub(super) fn print(node: &Node) -> String {
    let mut text = String::new();
    print_to(node, &mut text);
    text
}

fn print_to(node: &Node, text: &mut String) {
    match &node.value {
        Value::Plain(plain) => *text += plain,
        Value::Quoted(quoted) => quote(quoted, text),
        Value::Seq(items) => {
            for (i, item) in items.iter().enumerate() {
                text.push(if i == 0 { '[' } else { ',' });
                print_to(item, text);
            }
            *text += if items.is_empty() { "[]" } else { "]" };
        }
        Value::Map(entries) => {
            for (i, (name, value)) in entries.iter().enumerate() {
                text.push(if i == 0 { '{' } else { ',' });
                quote(&name.name, text);
                text.push(':');
                print_to(value, text);
            }
            *text += if entries.is_empty() { "{}" } else { "}" };
        }
    }
}

fn quote(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => *text += "\\\"",
            '\\' => *text += "\\\\",
            // Writing to a String does not fail.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let root = Tree { left: MAX_DEPTH }.deserialize(deserializer)?;
        let metadata = root.get("metadata");
        let text = |name: &str| {
            let value = metadata.and_then(|metadata| metadata.get(name));
            value.and_then(Node::text).map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            generation: text("generation").and_then(|text| text.parse().ok()),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, root })
    }
}

/// What may still be inside of what is read.
#[derive(Clone, Copy)]
struct Tree {
    left: usize,
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.left {
            // Passed over without a stack.
            0 => deserializer
                .deserialize_ignored_any(IgnoredAny)
                .map(|_| node(Value::Quoted(TOO_DEEP.into()))),
            _ => deserializer.deserialize_any(self),
        }
    }
}

macro_rules! plain {
    ($($method:ident $type:ty;)*) => {$(
        fn $method<E>(self, value: $type) -> Result<Node, E> {
            Ok(node(Value::Plain(value.to_string().into())))
        }
    )*};
}

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    plain! { visit_bool bool; visit_u64 u64; visit_i64 i64; visit_f64 f64; }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(node(Value::Plain("null".into())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(node(Value::Quoted(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let inside = Self {
            left: self.left - 1,
        };
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            found.push(item);
        }
        Ok(node(Value::Seq(found)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let inside = Self {
            left: self.left - 1,
        };
        let mut found: Vec<(Key, Node)> = Vec::new();
        while let Some(name) = entries.next_key::<Box<str>>()? {
            let name = Key {
                name,
                written: None,
                at: Position::default(),
            };
            let value = entries.next_value_seed(inside)?;
            found.push((name, value));
        }
        Ok(node(Value::Map(found)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    #[test]
    fn an_object_that_is_nested_without_end_ends_no_list_and_no_watch() {
        let deep = format!("{}1{}", "[{\"a\":".repeat(5000), "}]".repeat(5000));
        let object = |name: &str, http: &str| {
            format!(r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"http": {http}}}}}"#)
        };
        let (bad, good) = (object("bad", &deep), object("good", "[]"));
        let list = format!(r#"{{"metadata": {{}}, "items": [{bad}, {good}]}}"#);
        let list: ObjectList<Raw> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.items[1].meta.name.as_deref(), Some("good"));
        let text = print(&list.items[0].root);
        assert!(text.contains(TOO_DEEP) && text.len() < 1000, "{text}");
        let event = format!(r#"{{"type": "ADDED", "object": {bad}}}"#);
        let event: WatchEvent<Raw> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(raw) if raw.meta.name.as_deref() == Some("bad")));
        let items = read_unstored(list.items[0].clone(), "default", "bad");
        assert!(items.iter().all(|item| !matches!(item, Item::Good(_))));
    }
}
