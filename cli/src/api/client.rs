//! The asking end. One request, one connection: commands are short, and a daemon that restarts is
//! found again by the next one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{Ask, Change, Deletion, Failed, Manifest, Query, Report, Status};
use crate::manifests::Key;
use crate::node::MeshName;
use crate::traces::{Filter, Trace, TraceSummary};

/// Largest answer, bytes: every trace of a full store fits.
const MAX_ANSWER: usize = 256 << 20;
/// For requests that the daemon answers from memory.
const QUICK: Duration = Duration::from_secs(10);
/// For those that wait until the mesh has followed.
const PATIENT: Duration = Duration::from_secs(90);

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("mesh `{mesh}` is not running")]
    NotRunning {
        mesh: String,
        source: std::io::Error,
    },
    #[error("mesh `{mesh}` belongs to somebody else: its socket cannot be opened")]
    NotAllowed {
        mesh: String,
        source: std::io::Error,
    },
    #[error("the daemon of mesh `{mesh}` did not answer {what}: {reason}")]
    NoAnswer {
        mesh: String,
        what: String,
        reason: String,
    },
    #[error("{error}")]
    Refused {
        error: String,
        advice: Option<String>,
    },
}

/// Speaks to the daemon of one mesh.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    mesh: MeshName,
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(mesh: &MeshName, socket: &Path) -> Self {
        Self {
            mesh: mesh.clone(),
            socket: socket.to_owned(),
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>, QUICK)
            .await
    }

    pub(crate) async fn apply(&self, manifests: &[Manifest]) -> Result<Report, ClientError> {
        self.call(Method::POST, "/v1/apply", Some(&manifests), PATIENT)
            .await
    }

    pub(crate) async fn delete(&self, keys: Vec<Key>) -> Result<Report, ClientError> {
        self.call(
            Method::POST,
            "/v1/delete",
            Some(&Deletion { keys }),
            PATIENT,
        )
        .await
    }

    pub(crate) async fn objects(
        &self,
        query: &Query,
    ) -> Result<Vec<serde_json::Value>, ClientError> {
        self.call(Method::POST, "/v1/objects", Some(query), QUICK)
            .await
    }

    /// What a pod's sidecar says it would do.
    pub(crate) async fn explain<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, ClientError> {
        self.call(Method::POST, "/v1/explain", Some(ask), PATIENT)
            .await
    }

    pub(crate) async fn traces(&self, filter: &Filter) -> Result<Vec<TraceSummary>, ClientError> {
        self.call(Method::POST, "/v1/traces", Some(filter), QUICK)
            .await
    }

    /// Every trace that began since a time, with its spans.
    pub(crate) async fn whole_traces(&self, unix_nanos: u64) -> Result<Vec<Trace>, ClientError> {
        let path = format!("/v1/traces/since/{unix_nanos}");
        self.call(Method::GET, &path, None::<&()>, PATIENT).await
    }

    /// The trace whose id starts so; the newest for an empty beginning.
    pub(crate) async fn trace(&self, prefix: &str) -> Result<Trace, ClientError> {
        let path = format!(
            "/v1/traces/{}",
            if prefix.is_empty() { "last" } else { prefix }
        );
        self.call(Method::GET, &path, None::<&()>, QUICK).await
    }

    pub(crate) async fn system(
        &self,
        action: &str,
        component: &str,
    ) -> Result<Change, ClientError> {
        self.call(
            Method::POST,
            &format!("/v1/system/{component}/{action}"),
            None::<&()>,
            PATIENT,
        )
        .await
    }

    /// Asks the daemon to take the mesh down; it has begun when this returns.
    pub(crate) async fn shutdown(&self) -> Result<(), ClientError> {
        self.call(Method::POST, "/v1/shutdown", None::<&()>, QUICK)
            .await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let what = format!("{method} {path}");
        let lost = |reason: String| ClientError::NoAnswer {
            mesh: self.mesh.to_string(),
            what: what.clone(),
            reason,
        };
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| lost(error.to_string()))?,
            None => Vec::new(),
        };
        let exchange = self.exchange(method, path, Bytes::from(body));
        let (status, answer) = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| lost(format!("nothing within {} s", patience.as_secs())))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| lost(error.to_string()));
        }
        match serde_json::from_slice::<Failed>(&answer) {
            Ok(failed) => Err(ClientError::Refused {
                error: failed.error,
                advice: failed.advice,
            }),
            Err(_) => Err(lost(format!(
                "{status} {}",
                String::from_utf8_lossy(&answer).trim()
            ))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let what = format!("{method} {path}");
        let lost = |error: &dyn std::error::Error| ClientError::NoAnswer {
            mesh: self.mesh.to_string(),
            what: what.clone(),
            reason: error.to_string(),
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let mesh = self.mesh.to_string();
            match source.kind() {
                std::io::ErrorKind::PermissionDenied => ClientError::NotAllowed { mesh, source },
                _ => ClientError::NotRunning { mesh, source },
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        // It ends with the sender, when this function returns.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "heddle")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| lost(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|error| lost(&*error))?.to_bytes();
        Ok((status, body))
    }
}
