//! What probes ask, in the clear: `/healthz` while the process runs, `/readyz` when sidecars are served
//! from a whole picture. Answers two paths and nothing else.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use tokio::net::TcpListener;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::push::Hub;

/// A kubelet asks one thing at a time.
const AT_ONCE: usize = 16;
const WITHIN: Duration = Duration::from_secs(5);

/// What readiness is made of.
#[derive(Clone)]
pub struct Health {
    hub: Arc<Hub>,
    serving: Arc<AtomicBool>,
}

impl Health {
    /// Not ready.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            serving: Arc::default(),
        }
    }

    /// Sidecars can connect from now on.
    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Answers until it is dropped.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(self)
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                WITHIN,
            ))
            .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE));
        axum::serve(listener, router).await
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    let wait = StatusCode::SERVICE_UNAVAILABLE;
    if !health.serving.load(Ordering::Relaxed) {
        (wait, "no certificate yet; the log says why\n")
    } else if !health.hub.is_ready() {
        (wait, "not everything has been read yet; the log says why\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}
