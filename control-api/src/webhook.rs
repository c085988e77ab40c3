//! The validating webhook: what `heddle check` says of an object, said before it is stored. An error is
//! refused, everything else is a warning; what cannot be judged is let through, since the mesh keeps the
//! last good version of whatever turns out to be bad.

mod review;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::post,
};
use heddle_https::{Bodies, REQUEST_TIMEOUT};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use tokio::sync::Semaphore;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use tracing::warn;

use self::review::NoReview;
use crate::push::Hub;

/// Objects judged at once: each takes a copy of the model and a thread, and anybody who reaches the port
/// can ask. Others wait, within the request's time; who waits longer is let through by the API server.
const AT_ONCE: usize = 4;
/// Of all bodies that are being read or wait for their turn; beyond, requests are let through by the API
/// server. Ten of the largest, thousands of the usual.
const MAX_BODIES: u32 = 32 * 1024 * 1024;

#[derive(Clone)]
struct Judge {
    hub: Arc<Hub>,
    turns: Arc<Semaphore>,
}

/// Room for the bodies of all requests.
pub fn bodies() -> Bodies {
    Bodies::new(MAX_BODIES)
}

/// `POST /validate`.
pub fn router(hub: Arc<Hub>, bodies: Bodies) -> Router {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    routed(Judge { hub, turns }, bodies)
}

fn routed(judge: Judge, bodies: Bodies) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(bodies, Bodies::hold))
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
    async fn bodies_that_wait_have_no_more_room_than_there_is() {
        let judge = Judge {
            hub: Hub::new(Model::new(Settings::default())),
            turns: Arc::new(Semaphore::new(1)),
        };
        let turn = judge.turns.clone().acquire_owned().await.unwrap();
        let bodies = Bodies::new(100_000);
        let router = routed(judge, bodies.clone());
        let ask = || {
            let body = vec![b' '; 40_000];
            let request = http::Request::post("/validate")
                .header(CONTENT_TYPE, "application/json")
                .header(http::header::CONTENT_LENGTH, body.len());
            let request = request.body(axum::body::Body::from(body)).unwrap();
            tokio::spawn(tower::ServiceExt::oneshot(router.clone(), request))
        };
        let waiting = [ask(), ask()];
        // The third has no room while the first two wait for their turn.
        let refused = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let third = tokio::time::timeout(Duration::from_millis(100), ask()).await;
                if let Ok(answer) = third {
                    return answer.unwrap().unwrap();
                }
            }
        });
        let refused = refused.await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert!(bodies.shed() > 0);
        drop(turn);
        for asked in waiting {
            assert_eq!(
                asked.await.unwrap().unwrap().status(),
                StatusCode::BAD_REQUEST
            );
        }
        assert_eq!(
            ask().await.unwrap().unwrap().status(),
            StatusCode::BAD_REQUEST
        );
    }

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
