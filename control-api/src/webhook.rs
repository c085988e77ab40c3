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
use tower_http::{
    catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer,
};
use tracing::warn;

use self::review::NoReview;
use crate::push::Hub;

/// `POST /validate`.
pub fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
        .with_state(hub)
}

async fn validate(State(hub): State<Arc<Hub>>, headers: HeaderMap, body: Bytes) -> Response {
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
    let judged = tokio::task::spawn_blocking(move || review::answer(&body, &hub)).await;
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
