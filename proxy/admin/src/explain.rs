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

use crate::handles::{AdminHandles, Asked, NoAnswer, Slot};

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
        let Ok(slot) = SLOTS.acquire().await else {
            let reason = "the sidecar is ending".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, reason));
        };
        let answer = (handles.explain)(ask(body), Slot(slot)).await;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use tokio::sync::watch;

    use super::*;
    use crate::handles::{Answer, Readiness};

    /// A sidecar whose explanations go on when nobody waits for them any more, until their slots are dropped.
    fn slow(at_work: &Arc<Mutex<Vec<Slot>>>) -> Arc<AdminHandles> {
        let at_work = Arc::clone(at_work);
        let explain = move |_, slot| -> Answer {
            at_work.lock().unwrap().push(slot);
            Box::pin(std::future::pending())
        };
        let readiness = Readiness {
            ready: true,
            reason: String::new(),
        };
        Arc::new(AdminHandles {
            ready: watch::channel(readiness).1,
            metrics: Arc::new(|_| {}),
            status: Arc::new(|| json!({})),
            config_dump: Arc::new(|| json!({})),
            explain: Arc::new(explain),
            drain: Arc::new(|| {}),
            drained: Arc::new(|| Box::pin(async { 0 })),
            quit: Arc::new(|| {}),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_outlives_its_question_keeps_its_slot() {
        let at_work = Arc::default();
        let handles = slow(&at_work);
        let ask = || request(State(Arc::clone(&handles)), Body::empty());
        for _ in 0..AT_ONCE + 2 {
            assert_eq!(ask().await.status(), StatusCode::GATEWAY_TIMEOUT);
        }
        assert_eq!(at_work.lock().unwrap().len(), AT_ONCE);
        at_work.lock().unwrap().pop();
        assert_eq!(ask().await.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(at_work.lock().unwrap().len(), AT_ONCE, "one was free");
    }
}
