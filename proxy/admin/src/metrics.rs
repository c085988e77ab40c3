//! The sidecar's own metrics, on 15090 and as a part of others.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;

use crate::handles::AdminHandles;

/// Prometheus' text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where every port that serves metrics does.
pub(crate) const PATH: &str = "/stats/prometheus";

pub(crate) fn router(handles: Arc<AdminHandles>) -> Router {
    Router::new().route(PATH, get(own)).with_state(handles)
}

pub(crate) async fn own(State(handles): State<Arc<AdminHandles>>) -> Response {
    let mut text = String::new();
    (handles.metrics)(&mut text);
    ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}
