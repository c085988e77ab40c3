//! Who owns which field: server-side apply, and what every other write takes over. A manager that
//! applies owns what it says; what it said before and says no more is gone unless somebody else
//! owns it; what another owns and would have another value is a conflict, unless forced.

use serde_json::{Value, json};

use crate::{
    answer::Refused,
    fields::{self, Fields},
    metadata::now,
};

/// Who writes.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) name: String,
    /// `status`, or nothing.
    pub(crate) subresource: String,
    pub(crate) api_version: String,
}

struct Entry {
    manager: String,
    operation: String,
    subresource: String,
    api_version: String,
    time: Value,
    fields: Fields,
}

fn read(object: &Value) -> Vec<Entry> {
    let entries = object["metadata"]["managedFields"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |value: &Value| Entry {
        manager: text(&value["manager"]),
        operation: text(&value["operation"]),
        subresource: text(&value["subresource"]),
        api_version: text(&value["apiVersion"]),
        time: value["time"].clone(),
        fields: fields::from_v1(&value["fieldsV1"]),
    };
    entries.into_iter().flatten().map(entry).collect()
}

fn write(object: &mut Value, entries: Vec<Entry>) {
    let owned = entries.into_iter().filter(|entry| !entry.fields.is_empty());
    let entries = owned.map(|entry| {
        let mut value = json!({
            "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
            "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": fields::to_v1(&entry.fields),
        });
        if !entry.subresource.is_empty() {
            value["subresource"] = entry.subresource.into();
        }
        value
    });
    object["metadata"]["managedFields"] = Value::Array(entries.collect());
}

/// The object after `applied`, whose manager owns it all.
pub(crate) fn apply(
    before: Option<&Value>,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, Refused> {
    let mut after = before.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": applied["apiVersion"], "kind": applied["kind"],
            "metadata": {"name": applied["metadata"]["name"]},
        })
    });
    if let Some(namespace) = applied["metadata"].get("namespace") {
        after["metadata"]["namespace"] = namespace.clone();
    }
    let mut wanted = fields::of(applied);
    let is_status = !manager.subresource.is_empty();
    wanted.retain(|path| path.first().is_some_and(|step| step == "f:status") == is_status);
    let mut entries = read(&after);
    let own = |entry: &Entry| {
        entry.manager == manager.name
            && entry.operation == "Apply"
            && entry.subresource == manager.subresource
    };
    // An empty mapping says that there is one, not that nobody may put anything into it.
    let says = |there: Option<&Value>, wanted: Option<&Value>| {
        let is_bare = wanted
            .and_then(Value::as_object)
            .is_some_and(|map| map.is_empty());
        there == wanted || (is_bare && there.is_some_and(Value::is_object))
    };
    let differs = |path: &[String]| !says(fields::get(&after, path), fields::get(applied, path));
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !own(entry)) {
        let taken: Vec<_> = entry
            .fields
            .intersection(&wanted)
            .filter(|path| differs(path))
            .cloned()
            .collect();
        for path in taken {
            entry.fields.remove(&path);
            conflicts.push((entry.manager.clone(), path));
        }
    }
    if let (false, Some((first, _))) = (force, conflicts.first()) {
        let causes = conflicts.iter().map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\""),
                   "field": fields::display(path)})
        });
        let list: Vec<String> = conflicts
            .iter()
            .map(|(_, path)| format!("- {}", fields::display(path)))
            .collect();
        let message = format!(
            "Apply failed with {} conflict{}: conflicts with \"{first}\":\n{}",
            conflicts.len(),
            if conflicts.len() == 1 { "" } else { "s" },
            list.join("\n"),
        );
        let mut refused = Refused::new(409, "Conflict", message);
        refused.details = Box::new(json!({"causes": causes.collect::<Vec<_>>()}));
        return Err(refused);
    }
    let said_before = entries
        .iter()
        .find(|entry| own(entry))
        .map(|entry| entry.fields.clone());
    entries.retain(|entry| !own(entry));
    for path in said_before.unwrap_or_default().difference(&wanted) {
        if !entries.iter().any(|entry| entry.fields.contains(path)) {
            fields::remove(&mut after, path);
        }
    }
    for path in &wanted {
        if let Some(value) = fields::get(applied, path)
            && !says(fields::get(&after, path), Some(value))
        {
            fields::set(&mut after, path, &value.clone());
        }
    }
    entries.push(Entry {
        manager: manager.name.clone(),
        operation: "Apply".into(),
        subresource: manager.subresource.clone(),
        api_version: manager.api_version.clone(),
        time: now().into(),
        fields: wanted,
    });
    write(&mut after, entries);
    Ok(after)
}

/// After a write that did not apply: what has changed belongs to who changed it.
pub(crate) fn take_over(before: Option<&Value>, after: &mut Value, manager: &Manager) {
    let mut entries = before.map(read).unwrap_or_default();
    let now_there = fields::of(after);
    let changed: Fields = now_there
        .iter()
        .filter(|path| {
            before.and_then(|before| fields::get(before, path)) != fields::get(after, path)
        })
        .cloned()
        .collect();
    for entry in &mut entries {
        entry
            .fields
            .retain(|path| now_there.contains(path) && !changed.contains(path));
    }
    let own = |entry: &&mut Entry| {
        entry.manager == manager.name
            && entry.operation == "Update"
            && entry.subresource == manager.subresource
    };
    match entries.iter_mut().find(own) {
        _ if changed.is_empty() => {}
        Some(entry) => {
            entry.fields.extend(changed);
            entry.time = now().into();
        }
        None => entries.push(Entry {
            manager: manager.name.clone(),
            operation: "Update".into(),
            subresource: manager.subresource.clone(),
            api_version: manager.api_version.clone(),
            time: now().into(),
            fields: changed,
        }),
    }
    write(after, entries);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manager(name: &str) -> Manager {
        Manager {
            name: name.into(),
            subresource: String::new(),
            api_version: "v1".into(),
        }
    }

    #[test]
    fn managers_own_what_they_say_and_conflicts_are_refused_unless_forced() {
        let said = |data: Value| json!({"metadata": {"name": "a"}, "data": data});
        let a = apply(
            None,
            &said(json!({"x": "1", "y": "1"})),
            &manager("a"),
            false,
        )
        .unwrap();
        let refused = apply(Some(&a), &said(json!({"x": "2"})), &manager("b"), false).unwrap_err();
        assert_eq!(refused.code, 409);
        assert!(refused.message.contains(".data.x") && refused.message.contains("\"a\""));
        // The same value may be shared.
        let shared = apply(Some(&a), &said(json!({"x": "1"})), &manager("b"), false).unwrap();
        // What a says no more stays if b says it, and goes if nobody does.
        let fewer = apply(Some(&shared), &said(json!({})), &manager("a"), false).unwrap();
        assert_eq!(fewer["data"], json!({"x": "1"}));
        let forced = apply(Some(&a), &said(json!({"x": "2"})), &manager("b"), true).unwrap();
        assert_eq!(forced["data"], json!({"x": "2", "y": "1"}));
    }

    #[test]
    fn an_update_takes_over_what_it_changes() {
        let a = apply(
            None,
            &json!({"metadata": {"name": "a"}, "data": {"x": "1"}}),
            &manager("a"),
            false,
        )
        .unwrap();
        let mut edited = a.clone();
        edited["data"]["x"] = "2".into();
        take_over(Some(&a), &mut edited, &manager("edit"));
        let again = json!({"metadata": {"name": "a"}, "data": {"x": "1"}});
        assert_eq!(
            apply(Some(&edited), &again, &manager("a"), false)
                .unwrap_err()
                .code,
            409
        );
    }
}
