//! The app's metrics, then ours, in one answer. The app's are passed on as they come, in whole lines and up to a size
//! and a time; whatever becomes of them, ours follow, with a gauge that says how the app's scrape went.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{self, Instant};

use crate::app::{self, Failure};
use crate::checks::AppMetrics;
use crate::handles::AdminHandles;
use crate::metrics::TEXT_FORMAT;

/// For the whole scrape of the app; Prometheus gives both scrapes 10 s by default.
const LIMIT: Duration = Duration::from_secs(3);
/// Some hundred thousand series.
const SIZE_LIMIT: usize = 32 << 20;
/// Held back until its end comes, so that only whole lines are passed on.
const LINE_LIMIT: usize = 64 << 10;

/// What became of the app's metrics so far.
pub(crate) enum App {
    /// It has none.
    None,
    /// There will be none.
    Failed(String),
    /// They are coming.
    Coming(Box<Coming>),
}

pub(crate) struct Coming {
    scrape: app::Streaming,
    deadline: Instant,
    /// An unfinished line.
    rest: BytesMut,
    passed: usize,
    _slot: OwnedSemaphorePermit,
}

enum State {
    App(Box<Coming>),
    Own { succeeded: Option<bool> },
    End,
}

/// Begins to scrape the app.
pub(crate) async fn scrape(
    app: &app::App,
    metrics: &AppMetrics,
    slot: OwnedSemaphorePermit,
) -> App {
    let deadline = Instant::now() + LIMIT;
    match time::timeout_at(deadline, app.metrics(metrics))
        .await
        .unwrap_or(Err(Failure::Timeout(LIMIT)))
    {
        Err(failure) => App::Failed(failure.to_string()),
        Ok(scrape) if scrape.response.status() != http::StatusCode::OK => {
            App::Failed(format!("the app answered {}", scrape.response.status()))
        }
        Ok(scrape) => App::Coming(Box::new(Coming {
            scrape,
            deadline,
            rest: BytesMut::new(),
            passed: 0,
            _slot: slot,
        })),
    }
}

pub(crate) fn answer(app: App, handles: Arc<AdminHandles>) -> Response {
    let state = match app {
        App::None => State::Own { succeeded: None },
        App::Failed(reason) => {
            tracing::debug!(reason, "the app's metrics could not be had");
            State::Own {
                succeeded: Some(false),
            }
        }
        App::Coming(coming) => State::App(coming),
    };
    let parts = stream::unfold(state, move |state| {
        let handles = handles.clone();
        async move {
            part(state, &handles)
                .await
                .map(|(part, state)| (Ok::<_, Infallible>(part), state))
        }
    });
    ([(CONTENT_TYPE, TEXT_FORMAT)], Body::from_stream(parts)).into_response()
}

async fn part(state: State, handles: &AdminHandles) -> Option<(Bytes, State)> {
    match state {
        State::App(mut coming) => match coming.lines().await {
            Lines::Some(lines) => Some((lines, State::App(coming))),
            Lines::Last(line) => Some((own(line, Some(true), handles), State::End)),
            Lines::Broken(reason) => {
                tracing::debug!(reason, "the app's metrics broke off");
                Some((own(String::new(), Some(false), handles), State::End))
            }
        },
        State::Own { succeeded } => Some((own(String::new(), succeeded, handles), State::End)),
        State::End => None,
    }
}

/// Our metrics after this text.
fn own(mut text: String, succeeded: Option<bool>, handles: &AdminHandles) -> Bytes {
    (handles.metrics)(&mut text);
    if let Some(succeeded) = succeeded {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("# HELP heddle_app_scrape_success Whether the app's own metrics before these are complete.\n");
        text.push_str("# TYPE heddle_app_scrape_success gauge\n");
        text.push_str(if succeeded {
            "heddle_app_scrape_success 1\n"
        } else {
            "heddle_app_scrape_success 0\n"
        });
    }
    text.into()
}

enum Lines {
    Some(Bytes),
    Last(String),
    Broken(String),
}

impl Coming {
    async fn lines(&mut self) -> Lines {
        loop {
            let body: &mut Incoming = self.scrape.response.body_mut();
            let frame = match time::timeout_at(self.deadline, body.frame()).await {
                Err(_) => {
                    return Lines::Broken(format!("not complete after {} s", LIMIT.as_secs()));
                }
                Ok(Some(Err(error))) => return Lines::Broken(error.to_string()),
                Ok(None) => return Lines::Last(self.last_line()),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.passed += data.len();
            if self.passed > SIZE_LIMIT {
                return Lines::Broken(format!("more than {SIZE_LIMIT} bytes"));
            }
            let Some(end) = data.iter().rposition(|byte| *byte == b'\n') else {
                self.rest.extend_from_slice(&data);
                if self.rest.len() > LINE_LIMIT {
                    return Lines::Broken(format!("a line of more than {LINE_LIMIT} bytes"));
                }
                continue;
            };
            let mut lines = std::mem::take(&mut self.rest);
            if lines.is_empty() {
                self.rest.extend_from_slice(&data[end + 1..]);
                return Lines::Some(data.slice(..=end));
            }
            lines.extend_from_slice(&data[..=end]);
            self.rest.extend_from_slice(&data[end + 1..]);
            return Lines::Some(lines.freeze());
        }
    }

    /// Ended, should the app not have done so.
    fn last_line(&mut self) -> String {
        let mut line = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
        if !line.is_empty() {
            line.push('\n');
        }
        line
    }
}
