//! The mutating webhook: HTTPS, AdmissionReview v1, the same function as everywhere.
//!
//! What is not an AdmissionReview is refused with a status code and a sentence; what is one is
//! always answered with its `uid`. An AdmissionReview does not carry the namespace's labels: what
//! the webhook is among ([`Surroundings`]) knows them. Answering has no side effects, so a dry run is
//! like any other.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::InjectConfig;

mod counters;
mod review;
mod surroundings;
mod values;

use counters::Counters;
use heddle_https::{Bodies, REQUEST_TIMEOUT};
pub use heddle_https::{Certificate, CertificateError, MAX_BODY_BYTES, serve};
use review::Refusal;
pub use surroundings::{Lookup, Surroundings};

/// Of all bodies that are being read or answered: of 128 MiB that an installation gives, with what a
/// body is read into. Five of the largest, a thousand of the usual.
const MAX_BODIES: u32 = 16 * 1024 * 1024;

/// What the webhook answers from.
pub struct Webhook {
    config: InjectConfig,
    surroundings: Arc<dyn Surroundings>,
    /// As many as reviews may have at once.
    values: Semaphore,
    counters: Counters,
    bodies: Bodies,
}

impl Webhook {
    /// A webhook that injects by `config`.
    #[must_use]
    pub fn new(config: InjectConfig, surroundings: Arc<dyn Surroundings>) -> Self {
        Self {
            config,
            surroundings,
            values: Semaphore::new(values::MAX_AT_ONCE as usize),
            counters: Counters::default(),
            bodies: Bodies::new(MAX_BODIES),
        }
    }

    /// Its routes: `POST /inject`, `/healthz`, `/readyz`, `/metrics`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/inject", post(answer))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn_with_state(self.bodies.clone(), Bodies::hold))
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
    match webhook.review(&headers, &body).await {
        Ok((reply, outcome)) => {
            webhook.counters.done(timer, outcome);
            ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response()
        }
        Err(refusal) => {
            webhook.counters.done(timer, refusal.outcome());
            tracing::warn!(reason = %refusal, "refused a request");
            (refusal.status(), format!("{refusal}\n")).into_response()
        }
    }
}

impl Webhook {
    async fn review(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Value, &'static str), Refusal> {
        check_content_type(headers)?;
        let values = heddle_https::values(body);
        if values > values::MAX {
            return Err(Refusal::Values(values));
        }
        // Never closed; how long to wait is the request's bound.
        let _values = self.values.acquire_many(values).await;
        let request = review::Request::read(body)?;
        if !request.is_new_pod() {
            return Ok((request.reply(Map::new()), "ignored"));
        }
        let namespace = request.namespace();
        let meta = self.surroundings.namespace(&namespace).await;
        let meta = meta.map_err(|reason| Refusal::Namespace { namespace, reason })?;
        Ok(request.decide(&self.config, meta))
    }
}

async fn ready(State(webhook): State<Arc<Webhook>>) -> Response {
    match webhook.surroundings.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
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
        webhook.counters.text() + &shed(webhook.bodies.shed()) + &webhook.surroundings.metrics(),
    )
        .into_response()
}

fn shed(count: u64) -> String {
    format!(
        "# HELP heddle_injector_reviews_shed_total Admission requests that found no room for their body.\n\
         # TYPE heddle_injector_reviews_shed_total counter\n\
         heddle_injector_reviews_shed_total {count}\n"
    )
}
