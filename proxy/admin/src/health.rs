//! 15021, for the kubelet and load balancers: is the sidecar ready, has it started, does it live. An answer of 503 says
//! why in its body.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use tokio::sync::watch;

use crate::handles::Readiness;

/// Readiness now, and whether there ever was any: a sidecar that drains has started all the same.
#[derive(Debug)]
pub(crate) struct Health {
    ready: watch::Receiver<Readiness>,
    started: AtomicBool,
}

impl Health {
    pub(crate) fn new(ready: watch::Receiver<Readiness>) -> Self {
        let started = AtomicBool::new(ready.borrow().ready);
        Self { ready, started }
    }

    /// Sees the first readiness, however short it is.
    pub(crate) async fn watch(&self) {
        if self.ready.clone().wait_for(|now| now.ready).await.is_ok() {
            self.started.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn ready(&self) -> Response {
        let now = self.ready.borrow();
        answer(now.ready, &now.reason)
    }

    fn startup(&self) -> Response {
        let now = self.ready.borrow();
        answer(
            now.ready || self.started.load(Ordering::Relaxed),
            &now.reason,
        )
    }
}

fn answer(good: bool, reason: &str) -> Response {
    if good {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
    }
}

pub(crate) fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route(
            "/healthz/ready",
            get(|State(health): State<Arc<Health>>| async move { health.ready() }),
        )
        .route(
            "/healthz/startup",
            get(|State(health): State<Arc<Health>>| async move { health.startup() }),
        )
        // That it answers at all is the answer: the control thread runs.
        .route("/healthz/live", get(|| async { "ok\n" }))
        .with_state(health)
}
