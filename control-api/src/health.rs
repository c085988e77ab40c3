//! What probes ask, in the clear: `/healthz` while the process runs, `/readyz` when sidecars are served
//! from a whole picture; and `/metrics`. What of a cluster cannot be read is told in both.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use heddle_https::Bodies;
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::net::TcpListener;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::{push::Hub, source::kubernetes::Progress};

/// A kubelet asks one thing at a time.
const AT_ONCE: usize = 16;
const WITHIN: Duration = Duration::from_secs(5);

/// What readiness is made of.
#[derive(Clone)]
pub struct Health {
    hub: Arc<Hub>,
    serving: Arc<AtomicBool>,
    /// Of a cluster.
    progress: Arc<OnceLock<Arc<Progress>>>,
    bodies: Arc<OnceLock<Bodies>>,
}

impl Health {
    /// Not ready.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            serving: Arc::default(),
            progress: Arc::default(),
            bodies: Arc::default(),
        }
    }

    /// What is read is a cluster.
    pub fn of_cluster(&self, progress: Arc<Progress>) {
        // There is one source.
        _ = self.progress.set(progress);
    }

    /// Sidecars can connect from now on.
    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// There is a webhook, whose requests have this room.
    pub fn of_webhook(&self, bodies: Bodies) {
        // There is one.
        _ = self.bodies.set(bodies);
    }

    /// Answers until it is dropped.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                WITHIN,
            ))
            .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE));
        axum::serve(listener, router).await
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let wait = StatusCode::SERVICE_UNAVAILABLE;
    let (code, said) = if !health.serving.load(Ordering::Relaxed) {
        (wait, "no certificate yet; the log says why")
    } else if !health.hub.is_ready() {
        (wait, "not everything has been read yet")
    } else {
        (StatusCode::OK, "ok")
    };
    let troubles = health.progress.get().map(|progress| progress.troubles());
    let lines = [said.to_owned()]
        .into_iter()
        .chain(troubles.unwrap_or_default());
    (code, lines.map(|line| line + "\n").collect())
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let mut text = format!(
        "# HELP heddle_control_ready Whether sidecars are served.\n\
         # TYPE heddle_control_ready gauge\n\
         heddle_control_ready {}\n\
         # HELP heddle_control_proxies Sidecars that are connected.\n\
         # TYPE heddle_control_proxies gauge\n\
         heddle_control_proxies {}\n",
        u8::from(health.hub.is_ready()),
        health.hub.connected(),
    );
    if let Some(progress) = health.progress.get() {
        text += &progress.metrics();
    }
    if let Some(bodies) = health.bodies.get() {
        text += &format!(
            "# HELP heddle_control_reviews_shed_total Objects that were not judged, as others took the room.\n\
             # TYPE heddle_control_reviews_shed_total counter\n\
             heddle_control_reviews_shed_total {}\n",
            bodies.shed()
        );
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, model::Model, source::Batch};

    async fn asked(health: &Health) -> (StatusCode, String) {
        ready(State(health.clone())).await
    }

    #[tokio::test]
    async fn what_keeps_a_replica_from_being_ready_is_in_the_answer() {
        use clap::Parser;
        let config = Config::parse_from(["heddle-control", "--kubernetes"]);
        let hub = Hub::new(Model::new(config.settings()));
        let progress = Arc::new(Progress::default());
        let health = Health::new(hub.clone());
        health.of_cluster(progress.clone());
        health.set_serving();
        progress.begins("httproutes".to_owned());
        progress.fails("httproutes", Some("not allowed".to_owned()));
        let (code, said) = asked(&health).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            said,
            "not everything has been read yet\n\
             httproutes: no sidecar is served before it has been listed: not allowed\n"
        );
        progress.completes("httproutes");
        progress.is_served();
        hub.apply(Batch {
            changes: Vec::new(),
            refusals: Arc::default(),
            kept: Arc::default(),
        });
        assert_eq!(asked(&health).await, (StatusCode::OK, "ok\n".to_owned()));
    }
}
