//! Takes an earlier injection out of a pod, as its status annotation says, so that injecting always
//! starts from the app's own pod. What the author changed since stays changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::InjectError;
use crate::hooks::{self, Asked};
use crate::names;
use crate::status::{Change, Status};
use crate::view::PodView;

/// A pod without Heddle's injection.
pub(crate) struct Stripped {
    pub(crate) pod: Value,
    /// The sidecar's paths that its probes and hooks asked.
    pub(crate) rewritten: BTreeSet<String>,
}

pub(crate) fn strip(pod: &Value, view: &PodView, status: &Status) -> Result<Stripped, InjectError> {
    let asked = asked(view)?;
    let mut pod = pod.clone();
    let rewritten = hooks::restore(&mut pod, &asked).into_iter().collect();
    for (list, ours) in [
        ("initContainers", &status.init_containers),
        ("containers", &status.containers),
        ("volumes", &status.volumes),
    ] {
        remove_named(&mut pod["spec"], list, ours);
    }
    if let Some(metadata) = pod.get_mut("metadata") {
        restore_texts(metadata, "labels", &status.labels);
        restore_texts(metadata, "annotations", &status.annotations);
        remove_key(metadata, "annotations", names::STATUS);
    }
    Ok(Stripped { pod, rewritten })
}

fn asked(view: &PodView) -> Result<Asked, InjectError> {
    let proxy = view
        .all_containers()
        .find(|container| container.name == names::PROXY_CONTAINER);
    let read = |name: &str| -> Result<Map<String, Value>, InjectError> {
        let Some(text) = proxy.and_then(|proxy| proxy.env(name)) else {
            return Ok(Map::new());
        };
        serde_json::from_str(text).map_err(|error| InjectError::BadStatus {
            reason: format!("variable {name}: {error}"),
        })
    };
    Ok(Asked {
        probes: read(names::APP_PROBES)?,
        lifecycle: read(names::APP_LIFECYCLE)?,
    })
}

fn remove_named(spec: &mut Value, list: &str, ours: &[String]) {
    let Some(Value::Array(items)) = spec.get_mut(list) else {
        return;
    };
    let before = items.len();
    items.retain(|item| !ours.iter().any(|name| item["name"] == name.as_str()));
    if items.is_empty() && before > 0 {
        shift_remove(spec, list);
    }
}

fn restore_texts(metadata: &mut Value, field: &str, changes: &BTreeMap<String, Change>) {
    for (key, change) in changes {
        if metadata
            .get(field)
            .and_then(|texts| texts.get(key))
            .and_then(Value::as_str)
            != Some(&change.set)
        {
            continue;
        }
        match &change.was {
            Some(was) => metadata[field][key] = Value::String(was.clone()),
            None => remove_key(metadata, field, key),
        }
    }
}

fn remove_key(metadata: &mut Value, field: &str, key: &str) {
    let Some(texts) = metadata.get_mut(field) else {
        return;
    };
    shift_remove(texts, key);
    if texts.as_object().is_some_and(Map::is_empty) {
        shift_remove(metadata, field);
    }
}

/// Removes a key and keeps the order of the others.
fn shift_remove(object: &mut Value, key: &str) {
    if let Value::Object(fields) = object {
        fields.shift_remove(key);
    }
}
