//! Webhooks: which of those that are configured concern a write, in the order of the real server, mutating
//! ones first, and what comes of their answers.

mod conditions;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{answer::Refused, call, metadata::uid, select::label_selector, write::Writing};

const GROUP: &str = "admissionregistration.k8s.io";

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// The object as the webhooks leave it, and their warnings.
pub(crate) async fn admit(
    writing: &Writing<'_>,
    operation: Operation,
    mut object: Option<Value>,
    old: Option<&Value>,
) -> Result<(Option<Value>, Vec<String>), Refused> {
    let mut warnings = Vec::new();
    if writing.kind.group == GROUP {
        return Ok((object, warnings));
    }
    let mutating = webhooks(writing, "mutatingwebhookconfigurations");
    let mut again = Vec::new();
    for (number, webhook) in mutating.iter().enumerate() {
        if !concerns(writing, webhook, operation, object.as_ref().or(old)) {
            continue;
        }
        let before = object.clone();
        object = ask(writing, webhook, operation, object, old, &mut warnings).await?;
        if before != object {
            // Who came before and wants to see what others change, does.
            again.retain(|(earlier, _)| *earlier != number);
            let earlier = mutating[..number].iter().enumerate();
            let wish = earlier.filter(|(_, webhook)| webhook["reinvocationPolicy"] == "IfNeeded");
            again.extend(wish);
        }
    }
    again.sort_by_key(|(number, _)| *number);
    again.dedup_by_key(|(number, _)| *number);
    for (_, webhook) in again {
        if concerns(writing, webhook, operation, object.as_ref().or(old)) {
            object = ask(writing, webhook, operation, object, old, &mut warnings).await?;
        }
    }
    for webhook in webhooks(writing, "validatingwebhookconfigurations") {
        if concerns(writing, &webhook, operation, object.as_ref().or(old)) {
            let unchanged = object.clone();
            ask(writing, &webhook, operation, object, old, &mut warnings).await?;
            object = unchanged;
        }
    }
    Ok((object, warnings))
}

fn webhooks(writing: &Writing<'_>, plural: &str) -> Vec<Value> {
    let configurations = writing.server.store.all(&format!("{plural}.{GROUP}"));
    let webhooks = configurations
        .iter()
        .filter_map(|configuration| configuration["webhooks"].as_array());
    webhooks.flatten().cloned().collect()
}

fn concerns(
    writing: &Writing<'_>,
    webhook: &Value,
    operation: Operation,
    object: Option<&Value>,
) -> bool {
    let asked = writing.asked;
    let resource = match asked.subresource.as_str() {
        "" => asked.resource.clone(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let is_exact = webhook["matchPolicy"] == "Exact";
    let rules = webhook["rules"].as_array();
    let matches = rules.into_iter().flatten().any(|rule| {
        let lists = |field: &str, good: &dyn Fn(&str) -> bool| {
            let list = rule[field].as_array();
            list.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .any(|value| value == "*" || good(value))
        };
        let scope = rule["scope"].as_str().unwrap_or("*");
        let all_of = |value: &str| {
            value
                .strip_suffix("/*")
                .is_some_and(|plural| plural == asked.resource)
        };
        lists("operations", &|value| value == operation.text())
            && lists("apiGroups", &|value| value == asked.group)
            && lists("apiVersions", &|value| {
                value == asked.version
                    || (!is_exact && writing.kind.versions.iter().any(|version| version == value))
            })
            && lists("resources", &|value| {
                value == resource || value == "*/*" || all_of(value)
            })
            && (scope == "*" || (scope == "Namespaced") == writing.kind.namespaced)
    });
    matches && selects(writing, webhook, object)
}

fn selects(writing: &Writing<'_>, webhook: &Value, object: Option<&Value>) -> bool {
    let labels = object.map_or(&Value::Null, |object| &object["metadata"]["labels"]);
    if !label_selector(&webhook["objectSelector"], labels) {
        return false;
    }
    let is_namespace = writing.kind.resource() == "namespaces";
    if is_namespace {
        return label_selector(&webhook["namespaceSelector"], labels);
    }
    if !writing.kind.namespaced {
        return true;
    }
    let namespace = writing.server.store.get(
        "namespaces",
        &(String::new(), writing.asked.namespace.clone()),
    );
    let labels = namespace
        .as_deref()
        .map_or(&Value::Null, |namespace| &namespace["metadata"]["labels"]);
    label_selector(&webhook["namespaceSelector"], labels)
}

/// Asks one; the object as it wants it.
async fn ask(
    writing: &Writing<'_>,
    webhook: &Value,
    operation: Operation,
    object: Option<Value>,
    old: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Option<Value>, Refused> {
    let asked = writing.asked;
    let name = webhook["name"].as_str().unwrap_or_default();
    let has_effects = !matches!(
        webhook["sideEffects"].as_str(),
        Some("None" | "NoneOnDryRun")
    );
    if asked.is_dry_run() && has_effects {
        let message = format!("admission webhook \"{name}\" does not support dry run");
        return Err(Refused::bad_request(message));
    }
    match conditions::are_met(webhook, object.as_ref(), old) {
        Ok(true) => {}
        Ok(false) => return Ok(object),
        Err(_) if webhook["failurePolicy"] == "Ignore" => return Ok(object),
        Err(error) => {
            let message = format!("admission webhook \"{name}\": {error}");
            return Err(Refused::new(403, "Forbidden", message));
        }
    }
    let id = uid();
    let resource =
        json!({"group": asked.group, "version": asked.version, "resource": asked.resource});
    let kind = json!({"group": asked.group, "version": asked.version, "kind": writing.kind.kind});
    let mut request = json!({
        "uid": id, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "operation": operation.text(), "userInfo": writing.user.info(), "dryRun": asked.is_dry_run(),
        "object": object, "oldObject": old, "options": null,
    });
    // A name that the server makes is not known to webhooks.
    if !asked.name.is_empty() || operation != Operation::Create {
        request["name"] = asked.name.clone().into();
    } else if let Some(name) = object.as_ref().map(|object| &object["metadata"]["name"]) {
        request["name"] = name.clone();
    }
    if writing.kind.namespaced {
        request["namespace"] = asked.namespace.clone().into();
    }
    if !asked.subresource.is_empty() {
        request["subResource"] = asked.subresource.clone().into();
        request["requestSubResource"] = asked.subresource.clone().into();
    }
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
    let answer = match call::call(writing.server, webhook, &review)
        .await
        .and_then(|answer| checked(answer, &id))
    {
        Ok(answer) => answer,
        Err(_) if webhook["failurePolicy"] == "Ignore" => return Ok(object),
        Err(error) => {
            let message =
                format!("Internal error occurred: failed calling webhook \"{name}\": {error}");
            return Err(Refused::new(500, "InternalError", message));
        }
    };
    warnings.extend(
        answer["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    if answer["allowed"] != true {
        let why = answer["status"]["message"]
            .as_str()
            .unwrap_or("without explanation");
        let separator = if why == "without explanation" {
            " "
        } else {
            ": "
        };
        let message = format!("admission webhook \"{name}\" denied the request{separator}{why}");
        return Err(denied(&answer["status"], message));
    }
    let Some(patch) = answer["patch"].as_str() else {
        return Ok(object);
    };
    patched(object, patch).map_err(|error| {
        Refused::new(
            500,
            "InternalError",
            format!("Internal error occurred: webhook \"{name}\": {error}"),
        )
    })
}

/// In the webhook's own words, code, reason and details.
fn denied(status: &Value, message: String) -> Refused {
    let code = status["code"].as_u64();
    let code = code.and_then(|code| u16::try_from(code).ok());
    Refused {
        reason: status["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            .into(),
        details: Box::new(status["details"].clone()),
        ..Refused::new(code.unwrap_or(400).max(400), "", message)
    }
}

fn checked(review: Value, id: &str) -> Result<Value, String> {
    let says = (review["apiVersion"].as_str(), review["kind"].as_str());
    if says != (Some("admission.k8s.io/v1"), Some("AdmissionReview")) {
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {says:?}"
        ));
    }
    let response = &review["response"];
    if response["uid"] != id {
        return Err(format!(
            "expected response.uid=\"{id}\", got {}",
            response["uid"]
        ));
    }
    if response["patch"].is_string() != (response["patchType"] == "JSONPatch") {
        return Err(
            "webhook returned response.patch and response.patchType that do not go together".into(),
        );
    }
    Ok(response.clone())
}

fn patched(object: Option<Value>, patch: &str) -> Result<Option<Value>, String> {
    let bytes = STANDARD.decode(patch).map_err(|error| error.to_string())?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let mut object = object.ok_or("a patch of nothing")?;
    json_patch::patch(&mut object, &patch).map_err(|error| error.to_string())?;
    Ok(Some(object))
}
