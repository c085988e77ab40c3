//! The mutating webhook: HTTPS, AdmissionReview v1, the same function as everywhere.
//!
//! It has no side effects, so `dryRun` needs no special case. What is not an AdmissionReview is
//! refused with a status code and a sentence; what is one is always answered with its `uid`. An
//! AdmissionReview does not carry the namespace's labels: give them with `--namespaces`, or let the
//! webhook configuration's `namespaceSelector` choose and set `defaultInject: enabled`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::InjectConfig;
use crate::context::NamespaceLabels;

mod certificate;
mod counters;
mod options;
mod review;
mod server;

pub use certificate::{Certificate, CertificateError};
use counters::Counters;
pub use options::{Options, StartError};
use review::Refusal;
pub use server::serve;

/// The API server sends objects of at most 1.5 MiB, and an update twice that.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// The API server waits 30 s at most, 10 s by default; whoever is slower has given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the webhook answers from.
pub struct Webhook {
    config: InjectConfig,
    namespaces: Box<dyn NamespaceLabels>,
    counters: Counters,
}

impl Webhook {
    /// A webhook that injects by `config`.
    #[must_use]
    pub fn new(config: InjectConfig, namespaces: Box<dyn NamespaceLabels>) -> Self {
        Self {
            config,
            namespaces,
            counters: Counters::default(),
        }
    }

    /// Its routes: `POST /inject`, `/healthz`, `/readyz`, `/metrics`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/inject", post(answer))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(|| async { "ok\n" }))
            .route("/metrics", get(metrics))
            .layer(DefaultBodyLimit::disable())
            .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::SERVICE_UNAVAILABLE,
                REQUEST_TIMEOUT,
            ))
            .layer(CatchPanicLayer::new())
            .with_state(Arc::new(self))
    }
}

async fn answer(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> Response {
    let timer = webhook.counters.start();
    let result = check_content_type(&headers)
        .and_then(|()| review::answer(&body, &webhook.config, webhook.namespaces.as_ref()));
    match result {
        Ok((reply, outcome)) => {
            webhook.counters.done(timer, outcome);
            ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response()
        }
        Err(refusal) => {
            webhook.counters.done(timer, "bad_request");
            tracing::warn!(reason = %refusal, "refused a request");
            (refusal.status(), format!("{refusal}\n")).into_response()
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let kind = given
        .as_deref()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::ContentType(given))
    }
}

async fn metrics(State(webhook): State<Arc<Webhook>>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        webhook.counters.text(),
    )
        .into_response()
}
