//! Calls from one service to another.

use std::time::Duration;

use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Headers that carry a trace context, W3C's and B3's.
const TRACE_HEADERS: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// Headers of the user's that the services pass on, so that routes can match on them.
const USER_HEADERS: [&str; 2] = ["user-type", "end-user"];

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// An HTTP client with pooled connections.
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Empty<Bytes>>,
    propagate: bool,
}

impl Client {
    pub(crate) fn new(propagate: bool) -> Self {
        Self {
            http: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http(),
            propagate,
        }
    }

    /// GETs JSON; the error says what went wrong for the page.
    pub(crate) async fn get(&self, url: &str, caused_by: &HeaderMap) -> Result<Value, String> {
        tokio::time::timeout(TIMEOUT, self.fetch(url, caused_by))
            .await
            .map_err(|_| format!("{url} did not answer within {}s", TIMEOUT.as_secs()))?
    }

    async fn fetch(&self, url: &str, caused_by: &HeaderMap) -> Result<Value, String> {
        let mut request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|e| e.to_string())?;
        let traces = TRACE_HEADERS.iter().filter(|_| self.propagate);
        for name in USER_HEADERS.iter().chain(traces) {
            if let Some(value) = caused_by.get(*name) {
                request.headers_mut().insert(*name, value.clone());
            }
        }
        let response = self
            .http
            .request(request)
            .await
            .map_err(|e| format!("{url}: {e}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| format!("{url}: {e}"))?
            .to_bytes();
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("{url} answered {status}: {}", text.trim()));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{url} did not answer JSON: {e}"))
    }
}
