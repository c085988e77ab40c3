//! What the server itself writes into objects and does not let others write: names, uids, times,
//! generations, what belongs to a status and what does not.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{answer::Refused, kinds::Kind, store::Name};

/// RFC 3339, whole seconds.
pub(crate) fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    now.ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Unique, and of the form of a version 4 UUID.
pub(crate) fn uid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-0000-4000-8000-{next:012x}", std::process::id())
}

/// An object that is to be made: checked, named, and without what nobody may say yet.
pub(crate) fn prepare(
    kind: &Kind,
    version: &str,
    namespace: &str,
    mut object: Value,
) -> Result<(Name, Value), Refused> {
    identify(kind, version, namespace, &mut object)?;
    let metadata = &mut object["metadata"];
    if metadata["resourceVersion"]
        .as_str()
        .is_some_and(|version| !version.is_empty() && version != "0")
    {
        return Err(Refused::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if let (true, Some(base)) = (
        metadata["name"].as_str().is_none_or(str::is_empty),
        metadata["generateName"].as_str(),
    ) {
        let unique = uid();
        metadata["name"] = format!("{base}{}", &unique[unique.len() - 5..]).into();
    }
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    check_name(kind, &name)?;
    check_base(
        kind,
        &name,
        metadata["generateName"].as_str().unwrap_or_default(),
    )?;
    metadata["uid"] = uid().into();
    metadata["creationTimestamp"] = now().into();
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        metadata
            .as_object_mut()
            .map(|metadata| metadata.shift_remove(field));
    }
    if counts_generations(kind) {
        metadata["generation"] = 1.into();
    }
    if kind.status
        && let Some(object) = object.as_object_mut()
    {
        object.shift_remove("status");
    }
    Ok((
        (
            if kind.namespaced {
                namespace.to_owned()
            } else {
                String::new()
            },
            name,
        ),
        object,
    ))
}

/// Fills in and checks what must agree with the path.
pub(crate) fn identify(
    kind: &Kind,
    version: &str,
    namespace: &str,
    object: &mut Value,
) -> Result<(), Refused> {
    if !object.is_object() {
        return Err(Refused::bad_request("the object provided is not an object"));
    }
    let api_version = kind.api_version(version);
    let said = (
        object["apiVersion"].as_str().unwrap_or(&api_version),
        object["kind"].as_str().unwrap_or(&kind.kind),
    );
    if said != (api_version.as_str(), kind.kind.as_str()) {
        return Err(Refused::bad_request(format!(
            "the API version or kind in the data ({}, {}) does not match the expected ({api_version}, {})",
            said.0, said.1, kind.kind
        )));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.kind.clone().into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let metadata = &mut object["metadata"];
    if kind.namespaced {
        match metadata["namespace"].as_str() {
            Some(said) if !said.is_empty() && said != namespace => {
                return Err(Refused::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            _ => metadata["namespace"] = namespace.into(),
        }
    } else if let Some(metadata) = metadata.as_object_mut() {
        metadata.shift_remove("namespace");
    }
    Ok(())
}

fn check_name(kind: &Kind, name: &str) -> Result<(), Refused> {
    // RBAC alone allows names such as system:node.
    let is_free = kind.group == "rbac.authorization.k8s.io";
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.is_empty() {
        return Err(Refused::invalid(
            &kind.resource(),
            name,
            "metadata.name: Required value: name or generateName is required",
        ));
    }
    let good = name.len() <= 253
        && name.chars().all(allowed)
        && name
            .split('.')
            .all(|label| ends(label.chars().next()) && ends(label.chars().last()));
    if good || (is_free && !name.contains(['/', '%'])) {
        return Ok(());
    }
    let problem = format!(
        "metadata.name: Invalid value: \"{name}\": a lowercase RFC 1123 subdomain is needed"
    );
    Err(Refused::invalid(&kind.resource(), name, &problem))
}

/// What a name is made of is judged as a name, but that it may end with a dash; a dot is no dash.
fn check_base(kind: &Kind, name: &str, base: &str) -> Result<(), Refused> {
    let masked = match base.strip_suffix('-') {
        Some(start) => format!("{start}a"),
        None => base.to_owned(),
    };
    if base.is_empty() || check_name(kind, &masked).is_ok() {
        return Ok(());
    }
    let problem = format!(
        "metadata.generateName: Invalid value: \"{base}\": a lowercase RFC 1123 subdomain is needed"
    );
    Err(Refused::invalid(&kind.resource(), name, &problem))
}

fn counts_generations(kind: &Kind) -> bool {
    !(kind.built_in
        && matches!(
            kind.group.as_str(),
            "" | "events.k8s.io" | "coordination.k8s.io"
        ))
}

/// The object after a write to `subresource` (`status`, or nothing): whatever the write may not touch
/// is as before.
pub(crate) fn settle(kind: &Kind, subresource: &str, before: &Value, mut after: Value) -> Value {
    let keep = |after: &mut Value, before: &Value, field: &str| match before.get(field) {
        Some(value) => after[field] = value.clone(),
        None => _ = after.as_object_mut().map(|after| after.shift_remove(field)),
    };
    if subresource == "status" {
        let mut settled = before.clone();
        keep(&mut settled, &after, "status");
        keep(
            &mut settled["metadata"],
            &after["metadata"],
            "managedFields",
        );
        return settled;
    }
    if kind.status {
        keep(&mut after, before, "status");
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        keep(&mut after["metadata"], &before["metadata"], field);
    }
    let contents = |object: &Value| {
        let mut contents = object.clone();
        if let Some(object) = contents.as_object_mut() {
            for field in ["metadata", "status", "apiVersion"] {
                object.shift_remove(field);
            }
        }
        contents
    };
    if counts_generations(kind) && contents(before) != contents(&after) {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
        after["metadata"]["generation"] = (generation + 1).into();
    }
    after
}

/// Whether a write changes anything but who wrote it, and when.
pub(crate) fn is_same(before: &Value, after: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        let owners = object["metadata"]["managedFields"].as_array_mut();
        for entry in owners.into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        object
    };
    strip(before) == strip(after)
}
