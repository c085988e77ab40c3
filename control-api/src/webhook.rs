//! The validating webhook: what `heddle check` says of an object, said before it is stored. An error is
//! refused, everything else is a warning; what cannot be judged is let through, since the mesh keeps the
//! last good version of whatever turns out to be bad.

mod review;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use heddle_https::{MAX_BODY_BYTES, REQUEST_TIMEOUT};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer,
};
use tracing::warn;

use self::review::NoReview;
use crate::push::Hub;

/// Objects judged at once: each takes a copy of the model and a thread, and anybody who reaches the port
/// can ask. Others wait, within the request's time; who waits longer is let through by the API server.
const AT_ONCE: usize = 4;

#[derive(Clone)]
struct Judge {
    hub: Arc<Hub>,
    turns: Arc<Semaphore>,
}

/// `POST /validate`.
pub fn router(hub: Arc<Hub>) -> Router {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    routed(Judge { hub, turns })
}

fn routed(judge: Judge) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
        .with_state(judge)
}

async fn validate(State(judge): State<Judge>, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    if !content_type.trim().eq_ignore_ascii_case("application/json") {
        let reason = "an AdmissionReview is sent as application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason).into_response();
    }
    // Judging tries the object on a copy of the model; that is no work for the async threads.
    let Judge { hub, turns } = judge;
    let turn = turns.acquire_owned().await;
    // It is its turn until it is judged, even if nobody waits for the answer any more.
    let judging = move || {
        let _turn = turn;
        review::answer(&body, &hub)
    };
    let judged = tokio::task::spawn_blocking(judging).await;
    match judged {
        Ok(Ok(reply)) => ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response(),
        Ok(Err(reason)) => {
            warn!(%reason, "refused a request to the webhook");
            bad(&reason).into_response()
        }
        Err(error) => {
            warn!(%error, "judging an object failed");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "judging the object failed\n",
            )
                .into_response()
        }
    }
}

fn bad(reason: &NoReview) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{reason}\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{future::Future, pin::pin, task::Poll, time::Duration};

    use super::*;
    use crate::model::{Model, Settings};

    #[tokio::test]
    async fn no_more_are_judged_at_once_than_have_a_turn() {
        let judge = Judge {
            hub: Hub::new(Model::new(Settings::default())),
            turns: Arc::new(Semaphore::new(1)),
        };
        let turn = judge.turns.clone().acquire_owned().await.unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().unwrap())]);
        let mut asked = pin!(validate(State(judge), headers, Bytes::from_static(b"{}")));
        for _ in 0..50 {
            let now = std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context)));
            assert!(now.await.is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(turn);
        assert_eq!(asked.await.status(), StatusCode::BAD_REQUEST);
    }
}
