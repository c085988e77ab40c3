//! The answering end: routes to what the daemon offers. It decides nothing itself.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::Value;
use tokio::net::UnixListener;

use super::{Ask, Change, Deletion, Failed, Manifest, Query, Report, Status};
use crate::traces::{Filter, Store};

/// Largest request, bytes: the manifests of one apply.
const MAX_REQUEST: usize = 64 << 20;

/// What a daemon does for the command line.
pub(crate) trait Daemon: Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = Status> + Send;
    fn apply(
        &self,
        manifests: Vec<Manifest>,
    ) -> impl Future<Output = Result<Report, Failed>> + Send;
    fn delete(&self, deletion: Deletion) -> impl Future<Output = Result<Report, Failed>> + Send;
    fn objects(&self, query: Query) -> impl Future<Output = Result<Vec<Value>, Failed>> + Send;
    fn explain(&self, ask: Ask) -> impl Future<Output = Result<Value, Failed>> + Send;
    fn system(
        &self,
        component: String,
        action: String,
    ) -> impl Future<Output = Result<Change, Failed>> + Send;
    fn shutdown(&self);
    fn traces(&self) -> &Store;
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, Json(self)).into_response()
    }
}

/// Serves until `stopped`, on a socket that only root may open.
pub(crate) async fn serve<D: Daemon>(
    socket: &FilePath,
    daemon: Arc<D>,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    axum::serve(listener, router(daemon))
        .with_graceful_shutdown(stopped)
        .await
}

fn router<D: Daemon>(daemon: Arc<D>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<D>))
        .route("/v1/apply", post(apply::<D>))
        .route("/v1/delete", post(delete::<D>))
        .route("/v1/objects", post(objects::<D>))
        .route("/v1/explain", post(explain::<D>))
        .route("/v1/system/{component}/{action}", post(system::<D>))
        .route("/v1/shutdown", post(shutdown::<D>))
        .route("/v1/traces", post(traces::<D>))
        .route("/v1/traces/{id}", get(trace::<D>))
        .route("/v1/traces/since/{unix_nanos}", get(whole::<D>))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(daemon)
}

async fn status<D: Daemon>(State(daemon): State<Arc<D>>) -> Json<Status> {
    Json(daemon.status().await)
}

async fn shutdown<D: Daemon>(State(daemon): State<Arc<D>>) -> Json<()> {
    daemon.shutdown();
    Json(())
}

async fn apply<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Json(manifests): Json<Vec<Manifest>>,
) -> Result<Json<Report>, Failed> {
    daemon.apply(manifests).await.map(Json)
}

async fn delete<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Json(deletion): Json<Deletion>,
) -> Result<Json<Report>, Failed> {
    daemon.delete(deletion).await.map(Json)
}

async fn objects<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Json(query): Json<Query>,
) -> Result<Json<Vec<Value>>, Failed> {
    daemon.objects(query).await.map(Json)
}

async fn explain<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Json(ask): Json<Ask>,
) -> Result<Json<Value>, Failed> {
    daemon.explain(ask).await.map(Json)
}

async fn system<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Path((component, action)): Path<(String, String)>,
) -> Result<Json<Change>, Failed> {
    daemon.system(component, action).await.map(Json)
}

async fn traces<D: Daemon>(State(daemon): State<Arc<D>>, Json(filter): Json<Filter>) -> Response {
    Json(daemon.traces().list(&filter)).into_response()
}

async fn whole<D: Daemon>(State(daemon): State<Arc<D>>, Path(since): Path<u64>) -> Response {
    Json(daemon.traces().since(since)).into_response()
}

async fn trace<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Path(id): Path<String>,
) -> Result<Response, Failed> {
    let prefix = if id == "last" { "" } else { &id };
    match daemon.traces().find(prefix) {
        Some(trace) => Ok(Json(trace).into_response()),
        None => Err(missing(prefix)),
    }
}

fn missing(prefix: &str) -> Failed {
    match prefix {
        "" => Failed {
            error: "there are no traces yet".to_owned(),
            advice: Some(
                "send a request through the mesh (heddle exec POD -- curl …); its spans arrive \
                 within a few seconds"
                    .to_owned(),
            ),
        },
        prefix => Failed {
            error: format!("no trace, or more than one, begins with `{prefix}`"),
            advice: Some("heddle traces  lists those in memory".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests;
