//! Which objects have a pod template, and where. The API group counts: another group's `Job` is
//! not ours to read. `v1 List` holds objects of any kind.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::context::{NamespaceMeta, Owner};

/// How deep lists may be in lists. kubectl never writes one in another.
pub(super) const MAX_LIST_DEPTH: usize = 4;

const TEMPLATES: [(&str, &str, &str); 9] = [
    ("", "Pod", ""),
    ("", "ReplicationController", "/spec/template"),
    ("apps", "Deployment", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
    ("extensions", "Deployment", "/spec/template"),
];

/// An object with a pod template.
pub(super) struct Object {
    kind: &'static str,
    pub(super) namespace: String,
    name: String,
    pointer: &'static str,
}

impl Object {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let api_version = value.get("apiVersion")?.as_str()?;
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = value.get("kind")?.as_str()?;
        let (_, kind, pointer) = TEMPLATES
            .into_iter()
            .find(|known| (known.0, known.1) == (group, kind))?;
        let metadata = |field: &str| {
            value
                .get("metadata")?
                .get(field)?
                .as_str()
                .filter(|text| !text.is_empty())
        };
        Some(Self {
            kind,
            namespace: metadata("namespace").unwrap_or("default").to_owned(),
            name: metadata("name")
                .or_else(|| metadata("generateName"))
                .unwrap_or("(no name)")
                .to_owned(),
            pointer,
        })
    }

    pub(super) fn template_in<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.pointer_mut(self.pointer)
    }

    pub(super) fn template_tokens(&self) -> impl Iterator<Item = String> + use<> {
        self.pointer.split('/').skip(1).map(str::to_owned)
    }

    pub(super) fn template_path(&self) -> String {
        self.pointer.trim_start_matches('/').replace('/', ".")
    }

    /// For a pod its controller, for the others they themselves.
    pub(super) fn owner(&self, template: &Value) -> Option<Owner> {
        if !self.pointer.is_empty() {
            return Some(Owner {
                kind: self.kind.to_owned(),
                name: self.name.clone(),
            });
        }
        controller(template)
    }
}

/// The controller among a pod's owner references.
pub(crate) fn controller(pod: &Value) -> Option<Owner> {
    let references = pod.get("metadata")?.get("ownerReferences")?.as_array()?;
    let reference = references
        .iter()
        .find(|reference| reference.get("controller") == Some(&Value::Bool(true)))?;
    let text = |field: &str| {
        reference
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Some(Owner {
        kind: text("kind")?,
        name: text("name")?,
    })
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn is_list(value: &Value) -> bool {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    text("kind") == Some("List") && text("apiVersion") == Some("v1")
}

/// The objects of a `List`; none of anything else.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let items = is_list(value).then(|| value.get("items")).flatten();
    items.and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn items_mut(value: &mut Value) -> Option<&mut Vec<Value>> {
    if is_list(value) {
        value.get_mut("items")?.as_array_mut()
    } else {
        None
    }
}

/// Name, labels and annotations of a Namespace object.
pub(super) fn namespace(value: &Value) -> Option<(String, NamespaceMeta)> {
    if value.get("kind")?.as_str()? != "Namespace" || value.get("apiVersion")?.as_str()? != "v1" {
        return None;
    }
    let metadata = value.get("metadata")?;
    let texts = |field: &str| -> BTreeMap<String, String> {
        let texts = metadata
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        texts
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let meta = NamespaceMeta {
        labels: texts("labels"),
        annotations: texts("annotations"),
    };
    Some((metadata.get("name")?.as_str()?.to_owned(), meta))
}
