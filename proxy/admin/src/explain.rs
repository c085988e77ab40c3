//! Questions about what the sidecar would do: bounded in size, in time and in number, so that whoever
//! asks takes nothing from the traffic.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::handles::{AdminHandles, Asked, NoAnswer};

/// Longest question, bytes: a request's head, and some.
const LONGEST: usize = 64 << 10;
/// For a question and its answer: longer than the control plane is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// At a time.
const AT_ONCE: usize = 4;

static SLOTS: Semaphore = Semaphore::const_new(AT_ONCE);

pub(crate) async fn request(State(handles): State<Arc<AdminHandles>>, body: Body) -> Response {
    answer(&handles, body, Asked::Request).await
}

pub(crate) async fn connection(State(handles): State<Arc<AdminHandles>>, body: Body) -> Response {
    answer(&handles, body, Asked::Connection).await
}

async fn answer(handles: &AdminHandles, body: Body, ask: fn(Bytes) -> Asked) -> Response {
    let answered = async {
        let Ok(body) = to_bytes(body, LONGEST).await else {
            let reason = format!("a question has at most {LONGEST} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, reason));
        };
        let slot = SLOTS.acquire().await;
        let answer = (handles.explain)(ask(body)).await;
        drop(slot);
        answer.map_err(|error| match error {
            NoAnswer::NotAsked(reason) => (StatusCode::BAD_REQUEST, reason),
            NoAnswer::NotKnown(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        })
    };
    let late = || {
        let reason = format!("no answer within {} s", PATIENCE.as_secs());
        Err((StatusCode::GATEWAY_TIMEOUT, reason))
    };
    let answered = timeout(PATIENCE, answered).await;
    match answered.unwrap_or_else(|_| late()) {
        Ok(answer) => Json(answer).into_response(),
        Err((status, error)) => (status, Json(json!({ "error": error }))).into_response(),
    }
}
