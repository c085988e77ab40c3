//! 15000, for people and for `heddle`: what the sidecar knows, and the two things that can be asked of it. Whoever is
//! in the pod may; nobody else can reach it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::{get, post};
use serde_json::Value;

use crate::handles::AdminHandles;
use crate::health::Health;
use crate::metrics;

const INDEX: &str = "\
heddle sidecar

GET  /status            its state in short (JSON)
GET  /config_dump       what the control plane told it (JSON)
GET  /stats/prometheus  its metrics
GET  /ready             200 when it takes traffic, else 503 and why
POST /drain             no new connections; those that are there may end
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
        .route("/drain", post(drain))
        .route("/quitquitquit", post(quit))
        .with_state(handles)
}

type Handles = State<Arc<AdminHandles>>;

async fn drain(State(handles): Handles) -> &'static str {
    tracing::info!("asked to drain at the admin endpoint");
    (handles.drain)();
    "draining\n"
}

pub(crate) async fn quit(State(handles): Handles) -> &'static str {
    tracing::info!("asked to end at the admin endpoint");
    (handles.quit)();
    "ending\n"
}
