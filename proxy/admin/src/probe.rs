//! 15020, for the kubelet and scrapers: the app's probes and hooks as the injector rewrote them, and the app's metrics
//! joined with ours. A path that was not written down is not found, so nobody can point the sidecar anywhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::USER_AGENT;
use http::{HeaderMap, StatusCode, Uri};
use tokio::sync::Semaphore;

use crate::admin;
use crate::app::App;
use crate::checks::{AppChecks, AppMetrics};
use crate::handles::AdminHandles;
use crate::serve::Peer;
use crate::settings::AdminSettings;
use crate::{merge, metrics};

/// More than the containers of a pod have probes that can fall due at once.
const PROBES_AT_ONCE: usize = 32;
/// One per container that starts or stops; each may take minutes, so probes do not wait behind them.
const HOOKS_AT_ONCE: usize = 16;
/// Scrapers that come at once; each holds a connection to the app.
const SCRAPES_AT_ONCE: usize = 4;

struct Probes {
    app: App,
    probes: AppChecks,
    lifecycle: AppChecks,
    metrics: Option<AppMetrics>,
    probe_slots: Semaphore,
    hook_slots: Semaphore,
    scrape_slots: Arc<Semaphore>,
    handles: Arc<AdminHandles>,
}

pub(crate) fn router(settings: AdminSettings, handles: Arc<AdminHandles>) -> Router {
    let probes = Arc::new(Probes {
        app: App::new(settings.pod_ip),
        probes: settings.app_probes,
        lifecycle: settings.app_lifecycle,
        metrics: settings.app_metrics,
        probe_slots: Semaphore::new(PROBES_AT_ONCE),
        hook_slots: Semaphore::new(HOOKS_AT_ONCE),
        scrape_slots: Arc::new(Semaphore::new(SCRAPES_AT_ONCE)),
        handles: handles.clone(),
    });
    Router::new()
        .route("/app-health/{container}/{probe}", get(health))
        .route("/app-lifecycle/{container}/{hook}", get(lifecycle))
        .route(metrics::PATH, get(merged))
        .with_state(probes)
        .route("/quitquitquit", post(quit))
        .with_state(handles)
}

type Shared = State<Arc<Probes>>;

async fn health(State(shared): Shared, uri: Uri, headers: HeaderMap) -> Response {
    ask(
        &shared,
        &shared.probes,
        &shared.probe_slots,
        uri.path(),
        &headers,
    )
    .await
}

async fn lifecycle(State(shared): Shared, uri: Uri, headers: HeaderMap) -> Response {
    ask(
        &shared,
        &shared.lifecycle,
        &shared.hook_slots,
        uri.path(),
        &headers,
    )
    .await
}

async fn ask(
    shared: &Probes,
    checks: &AppChecks,
    slots: &Semaphore,
    path: &str,
    headers: &HeaderMap,
) -> Response {
    let Some(check) = checks.check(path) else {
        let unknown = format!("no container of this pod has this probe or hook: {path}\n");
        return (StatusCode::NOT_FOUND, unknown).into_response();
    };
    let Ok(_slot) = slots.try_acquire() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many probes or hooks at once\n",
        )
            .into_response();
    };
    match Box::pin(shared.app.ask(check, headers.get(USER_AGENT))).await {
        Ok(answer) => (answer.status, answer.body).into_response(),
        Err(failure) => {
            tracing::debug!(path, %failure, "the app failed a probe or hook");
            (failure.status(), format!("{failure}\n")).into_response()
        }
    }
}

async fn merged(State(shared): Shared) -> Response {
    let slot = shared.scrape_slots.clone().try_acquire_owned().ok();
    let app = match (&shared.metrics, slot) {
        (None, _) => merge::App::None,
        (Some(_), None) => merge::App::Failed("too many scrapes at once".into()),
        (Some(metrics), Some(slot)) => Box::pin(merge::scrape(&shared.app, metrics, slot)).await,
    };
    merge::answer(app, shared.handles.clone())
}

/// A Job's container ends the sidecar this way; from outside of the pod nobody does.
async fn quit(Extension(peer): Extension<Peer>, handles: State<Arc<AdminHandles>>) -> Response {
    if peer.0.is_loopback() {
        admin::quit(handles).await.into_response()
    } else {
        (
            StatusCode::FORBIDDEN,
            "only from within the pod, over loopback\n",
        )
            .into_response()
    }
}
