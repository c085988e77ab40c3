//! AdmissionReview v1 of an object that the mesh reads: read, judged against the model of now, answered
//! with its uid. What is being deleted, a status, and what leaves `spec` as it is are never refused:
//! a bad object must stay mendable, and removable.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    check::admission,
    push::Hub,
    source::{
        kubernetes::{Raw, read_unstored},
        read::Item,
    },
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// Values of a body: two of the largest objects that are stored, as an update brings them, have less. Four
/// are judged at once, and each value takes some hundred bytes.
const MAX_VALUES: u32 = 400_000;
/// Warnings that are passed on, and how long one may be; the API server takes 4096 bytes of all.
const MAX_WARNINGS: usize = 12;
const MAX_WARNING: usize = 300;
/// Of a message that refuses.
const MAX_MESSAGE: usize = 16 * 1024;

/// What was sent is no review that can be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReview {
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the body is {0} {1}; allowed: {API_VERSION} {KIND} (admissionReviewVersions: [\"v1\"])"
    )]
    Version(String, String),
    #[error("the body has {0} values, more than any two objects ({MAX_VALUES})")]
    Values(u32),
    #[error("the AdmissionReview has no request")]
    Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    operation: String,
    sub_resource: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    object: Option<Raw>,
    old_object: Option<Raw>,
}

/// The reply.
pub(super) fn answer(body: &[u8], hub: &Hub) -> Result<Value, NoReview> {
    let values = heddle_https::values(body);
    if values > MAX_VALUES {
        return Err(NoReview::Values(values));
    }
    let review: Review = serde_json::from_slice(body)?;
    if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, KIND) {
        let short = |text: String| text.chars().take(100).collect();
        return Err(NoReview::Version(
            short(review.api_version),
            short(review.kind),
        ));
    }
    let request = review.request.ok_or(NoReview::Request)?;
    let uid = request.uid.clone();
    let mut response = judge(request, hub);
    response["uid"] = uid.into();
    Ok(json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}))
}

fn judge(request: Request, hub: &Hub) -> Value {
    let is_written = matches!(request.operation.as_str(), "CREATE" | "UPDATE");
    let is_part = request.sub_resource.is_some_and(|part| !part.is_empty());
    let Some(object) = request.object.filter(|_| is_written && !is_part) else {
        return json!({"allowed": true});
    };
    if object.is_being_deleted() {
        return json!({"allowed": true});
    }
    if !hub.is_ready() {
        let warning = "heddle: not checked, since the control plane has not read the cluster yet";
        return json!({"allowed": true, "warnings": [warning]});
    }
    let is_same = request
        .old_object
        .is_some_and(|old| old.says_the_same(&object));
    let mut found = Vec::new();
    for item in read_unstored(object, &request.namespace, &request.name) {
        match item {
            Item::Good(object) => found.extend(admission(&hub.model(), &object)),
            Item::Bad { refusals, .. } => found.extend(refusals),
        }
    }
    let (warnings, errors): (Vec<_>, Vec<_>) =
        found.iter().partition(|one| one.is_warning() || is_same);
    let warnings = warnings.iter().map(|one| cut(&one.in_words(), MAX_WARNING));
    let warnings: Vec<String> = warnings.take(MAX_WARNINGS).collect();
    if errors.is_empty() {
        return json!({"allowed": true, "warnings": warnings});
    }
    let message: Vec<String> = errors.iter().map(|one| one.in_words()).collect();
    // No `details`: kubectl shows their causes in the place of the message, and then neither who
    // refuses nor what to write instead.
    json!({
        "allowed": false,
        "warnings": warnings,
        "status": {
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": cut(&message.join("; "), MAX_MESSAGE),
        },
    })
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most - 1).collect();
    head + "…"
}

#[cfg(test)]
mod slips;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Model, Settings, testing};

    fn hub() -> std::sync::Arc<Hub> {
        let hub = Hub::new(Model::new(Settings::default()));
        hub.apply(testing::batch(testing::REVIEWS));
        hub
    }

    fn route(http: Value) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
               "metadata": {"generateName": "r-", "uid": "u", "managedFields": [{"manager": "kubectl"}]},
               "spec": {"hosts": ["ratings"], "http": http}, "status": {"of": "somebody"}})
    }

    /// Whether it is allowed, and what is said.
    fn asked(hub: &Hub, request: Value) -> (bool, String) {
        let mut full =
            json!({"uid": "1", "operation": "CREATE", "namespace": "default", "object": null});
        for (name, value) in request.as_object().unwrap() {
            full[name] = value.clone();
        }
        let review = json!({"apiVersion": API_VERSION, "kind": KIND, "request": full}).to_string();
        let response = &answer(review.as_bytes(), hub).unwrap()["response"];
        assert_eq!(response["uid"], "1");
        let warnings = response["warnings"].to_string();
        let message = response["status"]["message"]
            .as_str()
            .unwrap_or(&warnings)
            .to_owned();
        (response["allowed"] == true, message)
    }

    #[test]
    fn errors_are_refused_and_what_must_stay_mendable_is_not() {
        let hub = hub();
        let good = || route(json!([{"route": [{"destination": {"host": "reviews"}}]}]));
        let bad = || route(json!([{"rout": []}, {"timeout": "soon"}]));
        assert_eq!(asked(&hub, json!({"object": good()})), (true, "[]".into()));
        let (allowed, message) = asked(&hub, json!({"object": bad()}));
        assert!(
            !allowed && message.contains("did you mean `route`?"),
            "{message}"
        );
        // What is not there yet may be the next document.
        let early = route(json!([{"route": [{"destination": {"host": "nobody"}}]}]));
        let (allowed, message) = asked(&hub, json!({"object": early}));
        assert!(allowed && message.contains("nobody"), "{message}");
        // A bad object stays mendable: its labels, its status, its end.
        let mut labelled = bad();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let update = json!({"operation": "UPDATE", "object": labelled, "oldObject": bad()});
        let (allowed, message) = asked(&hub, update);
        assert!(
            allowed && message.contains("did you mean `route`?"),
            "{message}"
        );
        let status = json!({"operation": "UPDATE", "object": bad(), "subResource": "status"});
        assert!(asked(&hub, status).0);
        let mut ending = bad();
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(asked(&hub, json!({"operation": "UPDATE", "object": ending})).0);
        assert!(asked(&hub, json!({"operation": "DELETE", "oldObject": bad()})).0);
        // Somebody else's kinds.
        let other =
            json!({"apiVersion": "example.com/v1", "kind": "VirtualService", "spec": {"x": 1}});
        assert!(asked(&hub, json!({"object": other})).0);
    }

    #[test]
    fn before_anything_is_known_everything_is_allowed() {
        let hub = Hub::new(Model::new(Settings::default()));
        let (allowed, warning) = asked(&hub, json!({"object": route(json!([{"rout": []}]))}));
        assert!(allowed && warning.contains("not checked"), "{warning}");
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        let hub = hub();
        let says = |body: &str| answer(body.as_bytes(), &hub).unwrap_err().to_string();
        assert!(says("{").contains("not an AdmissionReview"));
        assert!(says("{}").contains("allowed: admission.k8s.io/v1"));
        let old = r#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}"#;
        assert!(says(old).contains("v1beta1"));
        let empty = r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#;
        assert!(says(empty).contains("no request"));
        // Three bytes each, before they are read.
        let many = format!(
            r#"{{"request": {{"object": [{}0]}}}}"#,
            "[],".repeat(500_000)
        );
        assert!(many.len() < heddle_https::MAX_BODY_BYTES);
        assert!(says(&many).contains("values"));
    }
}
