//! What probes ask: `/healthz` while the process runs, `/readyz` when it issues certificates. Answers
//! two paths and nothing else.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};
use tower_http::timeout::TimeoutLayer;

/// A kubelet asks one thing at a time.
const AT_ONCE: usize = 16;
const WITHIN: Duration = Duration::from_secs(5);

/// Whether certificates are issued. The answers end with it.
pub(crate) struct Ready {
    ready: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

impl Ready {
    pub(crate) fn set(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) async fn serve(address: SocketAddr) -> io::Result<Ready> {
    let listener = TcpListener::bind(address).await?;
    let ready = Arc::new(AtomicBool::new(false));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(ready.clone())
        .layer(
            ServiceBuilder::new()
                .layer(TimeoutLayer::with_status_code(
                    StatusCode::REQUEST_TIMEOUT,
                    WITHIN,
                ))
                .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE)),
        );
    let serving = tokio::spawn(async move {
        // It ends with the process; accepting goes on after errors.
        let _ = axum::serve(listener, router).await;
    });
    Ok(Ready { ready, serving })
}

async fn readyz(State(ready): State<Arc<AtomicBool>>) -> (StatusCode, &'static str) {
    match ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no certificates are issued yet; the log says why\n",
        ),
    }
}
