//! 15000, for people and for `heddle`: what the sidecar knows, and the two things that can be asked of it. Whoever is
//! in the pod may; nobody else can reach it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Json;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::Value;

use crate::explain;
use crate::handles::AdminHandles;
use crate::health::Health;
use crate::metrics;

const INDEX: &str = "\
heddle sidecar

GET  /status            its state in short (JSON)
GET  /config_dump       what the control plane told it (JSON)
GET  /stats/prometheus  its metrics
POST /explain           what becomes of a request of the app's, and why (JSON both ways)
POST /explain/inbound   whether a connection to the app is let in, and why (JSON both ways)
GET  /ready             200 when it takes traffic, else 503 and why
POST /drain             unready; connections end as soon as they politely can
POST /drain?wait        the same because the pod ends: answers when it is done, or its time is over
POST /quitquitquit      end
";

pub(crate) fn router(handles: Arc<AdminHandles>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route(
            "/status",
            get(|State(handles): Handles| async move { Json::<Value>((handles.status)()) }),
        )
        .route(
            "/config_dump",
            get(|State(handles): Handles| async move { Json::<Value>((handles.config_dump)()) }),
        )
        .route(metrics::PATH, get(metrics::own))
        .route("/ready", get(move || async move { health.ready() }))
        .route("/explain", post(explain::request))
        .route("/explain/inbound", post(explain::connection))
        .route("/drain", post(drain))
        .route("/quitquitquit", post(quit))
        .with_state(handles)
}

type Handles = State<Arc<AdminHandles>>;

async fn drain(State(handles): Handles, RawQuery(query): RawQuery) -> (StatusCode, String) {
    match query.as_deref().unwrap_or_default() {
        "" => {
            tracing::info!("asked to drain at the admin endpoint");
            (handles.drain)();
            (StatusCode::OK, "draining\n".into())
        }
        "wait" => {
            tracing::info!("asked at the admin endpoint to drain to the end");
            match (handles.drained)().await {
                0 => (StatusCode::OK, "drained\n".into()),
                left => (StatusCode::OK, format!("{left} connections are left\n")),
            }
        }
        other => (
            StatusCode::BAD_REQUEST,
            format!("?{other} is not understood; ?wait or nothing is allowed\n"),
        ),
    }
}

pub(crate) async fn quit(State(handles): Handles) -> &'static str {
    tracing::info!("asked to end at the admin endpoint");
    (handles.quit)();
    "ending\n"
}
