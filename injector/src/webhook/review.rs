//! AdmissionReview v1: read strictly in what is used, answered as the API server expects.
//! A pod that cannot be injected is not allowed, with a message that says what to fix; whatever is
//! not a pod being created is allowed as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::config::InjectConfig;
use crate::context::{NamespaceMeta, PodContext};
use crate::files;
use crate::inject::{Decision, Injection, inject};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request that is not an AdmissionReview that we can answer.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("content type is {}; an AdmissionReview is sent as application/json", .0.as_deref().unwrap_or("missing"))]
    ContentType(Option<String>),
    #[error("the body is not JSON: {0}")]
    Json(serde_json::Error),
    #[error(
        "the body is {given}; allowed: {API_VERSION} {KIND} (admissionReviewVersions: [\"v1\"])"
    )]
    Version { given: String },
    #[error("the body has {0} values; a review of a pod has at most {max}", max = super::values::MAX)]
    Values(u32),
    #[error("the AdmissionReview cannot be read: {0}")]
    Request(String),
    #[error("labels of namespace {namespace} are not known, so nothing can be decided: {reason}")]
    Namespace { namespace: String, reason: String },
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Values(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Json(_) | Self::Version { .. } | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Namespace { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// One word for metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => "unavailable",
            _ => "bad_request",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    #[serde(default)]
    group: String,
    kind: String,
}

impl Request {
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut review: Value = serde_json::from_slice(body).map_err(Refusal::Json)?;
        let text = |field: &str| {
            review
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (version, kind) = (text("apiVersion"), text("kind"));
        if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            let given = match (version.is_empty(), kind.is_empty()) {
                (true, true) => "an object without apiVersion and kind".to_owned(),
                _ => format!("{version} {kind}").chars().take(200).collect(),
            };
            return Err(Refusal::Version { given });
        }
        let request = review
            .get_mut("request")
            .map(Value::take)
            .unwrap_or_default();
        if !request.is_object() {
            return Err(Refusal::Request("request is missing".into()));
        }
        let request: Self = serde_path_to_error::deserialize(request).map_err(|error| {
            Refusal::Request(format!("request.{}: {}", error.path(), error.inner()))
        })?;
        if request.uid.is_empty() {
            return Err(Refusal::Request("request.uid is empty".into()));
        }
        Ok(request)
    }

    /// The whole AdmissionReview with `response`, allowed unless that says otherwise.
    pub(super) fn reply(&self, mut response: Map<String, Value>) -> Value {
        response.insert("uid".into(), json!(self.uid));
        response.entry("allowed").or_insert(json!(true));
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
    }

    pub(super) fn is_new_pod(&self) -> bool {
        self.kind.group.is_empty()
            && self.kind.kind == "Pod"
            && self.operation == "CREATE"
            && self.sub_resource.as_deref().unwrap_or_default().is_empty()
    }

    /// On CREATE the object's own namespace may be empty: the request's is the one that counts.
    pub(super) fn namespace(&self) -> String {
        let own = || self.object.get("metadata")?.get("namespace")?.as_str();
        let given = self
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty());
        given.or_else(own).unwrap_or("default").to_owned()
    }

    /// A pod that a controller makes has only the beginning of its name yet.
    fn pod_name(&self) -> String {
        let own = |field: &str| {
            self.object
                .get("metadata")?
                .get(field)?
                .as_str()
                .filter(|name| !name.is_empty())
        };
        let given = self.name.as_deref().filter(|name| !name.is_empty());
        given
            .or_else(|| own("name"))
            .or_else(|| own("generateName"))
            .unwrap_or("(no name)")
            .to_owned()
    }

    /// The reply for a new pod, and one word on what it was for metrics.
    pub(super) fn decide(
        &self,
        config: &InjectConfig,
        namespace_meta: NamespaceMeta,
    ) -> (Value, &'static str) {
        let namespace = self.namespace();
        let name = format!("{namespace}/{}", self.pod_name());
        let context = PodContext {
            namespace_meta,
            namespace,
            owner: files::controller(&self.object),
        };
        let mut response = Map::new();
        let outcome = match inject(&self.object, &context, config) {
            Ok(Decision::Skip { reason }) => {
                tracing::debug!(pod = %name, %reason, "skipped");
                response.insert(
                    "warnings".into(),
                    json!([format!("heddle: pod {name} is not injected: {reason}")]),
                );
                "skipped"
            }
            Ok(Decision::Inject(injection)) => {
                let outcome = injected(&injection, &mut response);
                tracing::debug!(pod = %name, operations = injection.patch.len(), outcome);
                outcome
            }
            Err(error) => {
                tracing::info!(pod = %name, %error, "refused a pod");
                response.insert("allowed".into(), json!(false));
                let message = format!("pod {name} cannot be injected: {error}");
                response.insert(
                    "status".into(),
                    json!({"status": "Failure", "message": message, "reason": "Invalid", "code": 422}),
                );
                "refused"
            }
        };
        (self.reply(response), outcome)
    }
}

fn injected(injection: &Injection, response: &mut Map<String, Value>) -> &'static str {
    let warnings: Vec<_> = injection
        .warnings
        .iter()
        .map(|warning| format!("heddle: {warning}"))
        .collect();
    if !warnings.is_empty() {
        response.insert("warnings".into(), json!(warnings));
    }
    if injection.patch.is_empty() {
        return "unchanged";
    }
    response.insert("patchType".into(), json!("JSONPatch"));
    let patch = STANDARD.encode(injection.patch.to_string());
    response.insert("patch".into(), json!(patch));
    "injected"
}
