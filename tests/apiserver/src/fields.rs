//! Sets of fields, as server-side apply and `managedFields` (FieldsV1) know them. Lists are one field,
//! except those of the built-in kinds that have a key, and `conditions`; a real server reads the
//! keys of a custom kind from its schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Steps in FieldsV1's own notation: `f:spec`, `k:{"name":"a"}`, and `.` for an element itself.
pub(crate) type Path = Vec<String>;
/// Leaves.
pub(crate) type Fields = BTreeSet<Path>;

/// Lists whose elements are told apart, and by what.
const KEYED: &[(&str, &[&str])] = &[
    ("conditions", &["type"]),
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("webhooks", &["name"]),
    ("ownerReferences", &["uid"]),
];

/// Fields that nobody owns.
const NOBODYS: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
];

/// Every field that an object says something about.
pub(crate) fn of(object: &Value) -> Fields {
    let mut found = Fields::new();
    let empty = Map::new();
    for (name, value) in object.as_object().unwrap_or(&empty) {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (name, value) in value.as_object().unwrap_or(&empty) {
                    if !NOBODYS.contains(&name.as_str()) {
                        leaves(name, value, &["f:metadata".into(), field(name)], &mut found);
                    }
                }
            }
            _ => leaves(name, value, &[field(name)], &mut found),
        }
    }
    found
}

fn field(name: &str) -> String {
    format!("f:{name}")
}

fn leaves(name: &str, value: &Value, at: &[String], found: &mut Fields) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                leaves(name, value, &[at, &[field(name)]].concat(), found);
            }
        }
        Value::Array(items) if !items.is_empty() => match keys(name, items) {
            Some(keys) => {
                for (key, item) in keys.into_iter().zip(items) {
                    let at = [at, &[key]].concat();
                    found.insert([at.as_slice(), &[".".into()]].concat());
                    for (name, value) in item.as_object().into_iter().flatten() {
                        leaves(
                            name,
                            value,
                            &[at.as_slice(), &[field(name)]].concat(),
                            found,
                        );
                    }
                }
            }
            None => _ = found.insert(at.to_vec()),
        },
        _ => _ = found.insert(at.to_vec()),
    }
}

/// The step to each element of a list whose elements have keys.
fn keys(name: &str, items: &[Value]) -> Option<Vec<String>> {
    let (_, names) = KEYED.iter().find(|(list, _)| *list == name)?;
    let key = |item: &Value| {
        let parts = names
            .iter()
            .map(|name| Some(((*name).to_owned(), item.get(*name)?.clone())));
        let key: Option<Map<String, Value>> = parts.collect();
        key.map(|key| format!("k:{}", Value::Object(key)))
    };
    items.iter().map(key).collect()
}

/// What stands at a path.
pub(crate) fn get<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter()
        .try_fold(object, |at, step| match step.as_str() {
            "." => Some(at),
            step => match step.strip_prefix("f:") {
                Some(name) => at.get(name),
                None => element(at, step).and_then(|i| at.get(i)),
            },
        })
}

fn element(list: &Value, step: &str) -> Option<usize> {
    let key: Map<String, Value> = serde_json::from_str(step.strip_prefix("k:")?).ok()?;
    list.as_array()?.iter().position(|item| {
        key.iter()
            .all(|(name, value)| item.get(name) == Some(value))
    })
}

/// Puts a value at a path, with what leads there.
pub(crate) fn set(object: &mut Value, path: &[String], value: &Value) {
    let Some((step, rest)) = path.split_first() else {
        *object = value.clone();
        return;
    };
    if step == "." {
        return;
    }
    if let Some(name) = step.strip_prefix("f:") {
        if !object.is_object() {
            *object = json!({});
        }
        set(&mut object[name], rest, value);
        return;
    }
    let Ok(key) = serde_json::from_str::<Value>(step.trim_start_matches("k:")) else {
        return;
    };
    if !object.is_array() {
        *object = json!([]);
    }
    let at = element(object, step);
    if let Value::Array(items) = object {
        let at = at.unwrap_or_else(|| {
            items.push(key);
            items.len() - 1
        });
        set(&mut items[at], rest, value);
    }
}

/// Takes away what stands at a path, and whatever is empty because of it.
pub(crate) fn remove(object: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    if let Some(name) = step.strip_prefix("f:") {
        let Some(inner) = object.get_mut(name) else {
            return;
        };
        if !rest.is_empty() {
            remove(inner, rest);
        }
        let is_bare = matches!(inner, Value::Object(entries) if entries.is_empty())
            || matches!(inner, Value::Array(items) if items.is_empty());
        if (rest.is_empty() || is_bare)
            && let Some(entries) = object.as_object_mut()
        {
            entries.shift_remove(name);
        }
    } else if let Some(at) = element(object, step)
        && let Some(items) = object.as_array_mut()
    {
        if rest == ["."] {
            items.remove(at);
        } else {
            remove(&mut items[at], rest);
        }
    }
}

/// As FieldsV1.
pub(crate) fn to_v1(fields: &Fields) -> Value {
    let mut root = json!({});
    for path in fields {
        let mut at = &mut root;
        for step in path {
            at = &mut at[step.as_str()];
            if at.is_null() {
                *at = json!({});
            }
        }
    }
    root
}

/// From FieldsV1.
pub(crate) fn from_v1(fields: &Value) -> Fields {
    fn walk(at: &Value, path: &mut Path, found: &mut Fields) {
        match at.as_object().filter(|entries| !entries.is_empty()) {
            Some(entries) => {
                for (step, inner) in entries {
                    path.push(step.clone());
                    walk(inner, path, found);
                    path.pop();
                }
            }
            None if !path.is_empty() => _ = found.insert(path.clone()),
            None => {}
        }
    }
    let mut found = Fields::new();
    walk(fields, &mut Path::new(), &mut found);
    found
}

/// A path as a conflict names it.
pub(crate) fn display(path: &[String]) -> String {
    let steps = path.iter().map(|step| match step.strip_prefix("f:") {
        Some(name) => format!(".{name}"),
        None => format!("[{}]", step.trim_start_matches("k:")),
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_survive_their_notation() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "list": [1, 2], "empty": {}},
        });
        let fields = of(&object);
        assert_eq!(from_v1(&to_v1(&fields)), fields);
        let paths: Vec<_> = fields.iter().map(|path| display(path)).collect();
        assert_eq!(
            paths,
            [
                ".metadata.labels.x",
                ".spec.containers[{\"name\":\"c\"}][.]",
                ".spec.containers[{\"name\":\"c\"}].image",
                ".spec.containers[{\"name\":\"c\"}].name",
                ".spec.empty",
                ".spec.list",
            ]
        );
        let mut made = json!({});
        for path in &fields {
            let value = get(&object, path).cloned().unwrap_or_default();
            set(&mut made, path, &value);
        }
        assert_eq!(made["spec"], object["spec"]);
        for path in &fields {
            remove(&mut made, path);
        }
        assert_eq!(made, json!({}));
    }
}
