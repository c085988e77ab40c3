//! Asks a sidecar's loopback admin, from inside its pod's network: what certificate it shows, which
//! configuration it holds, and what it would do with a request. A sidecar that does not answer in
//! time is shown without the former, and the latter says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinError, JoinSet};

use crate::api::{Failed, Question};
use crate::node::NodeSockets;

/// The admin listener of every sidecar.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// It answers from memory.
const PATIENCE: Duration = Duration::from_millis(300);
/// It may have to ask the control plane.
const EXPLAIN_PATIENCE: Duration = Duration::from_secs(20);
/// Sidecars that are asked at once: each takes a thread for a moment.
const AT_ONCE: usize = 64;
/// Largest answer that is read, bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// What `heddle status` shows of a sidecar; whatever it does not tell is left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SidecarStatus {
    pub(crate) identity: Option<String>,
    /// When its certificate ends, RFC 3339.
    pub(crate) certificate_expiry: Option<String>,
    /// Of the configuration it holds, whether or not the control plane is there.
    pub(crate) config_version: Option<String>,
}

/// Asks the sidecars in these network namespaces, some at a time; those that answer are in the map.
pub(crate) async fn ask_all(netns: impl Iterator<Item = String>) -> HashMap<String, SidecarStatus> {
    let mut asking = JoinSet::new();
    let mut answers = HashMap::new();
    let keep = |answers: &mut HashMap<_, _>,
                answer: Result<(String, Option<SidecarStatus>), JoinError>| {
        if let Ok((netns, Some(status))) = answer {
            answers.insert(netns, status);
        }
    };
    for netns in netns {
        if asking.len() >= AT_ONCE
            && let Some(answer) = asking.join_next().await
        {
            keep(&mut answers, answer);
        }
        asking.spawn(async move {
            let answer = ask(&netns).await;
            (netns, answer)
        });
    }
    while let Some(answer) = asking.join_next().await {
        keep(&mut answers, answer);
    }
    answers
}

async fn ask(netns: &str) -> Option<SidecarStatus> {
    let request = "GET /status HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let asked = tokio::time::timeout(PATIENCE, exchange(netns, request));
    let (_, answer) = asked.await.ok()?.ok()?;
    serde_json::from_value(answer).ok()
}

/// Asks the sidecar in a network namespace what it would do.
pub(crate) async fn explain(netns: &str, question: &Question) -> Result<Value, Failed> {
    let (path, body) = match question {
        Question::Request(asked) => ("/explain", serde_json::to_string(asked)),
        Question::Connection(asked) => ("/explain/inbound", serde_json::to_string(asked)),
    };
    let failed = |error: String, advice: &str| Failed {
        error,
        advice: Some(advice.to_owned()),
    };
    let body = body.map_err(|error| failed(error.to_string(), "ask for less"))?;
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = tokio::time::timeout(EXPLAIN_PATIENCE, exchange(netns, &request)).await;
    let late = || Err(std::io::ErrorKind::TimedOut.into());
    let (status, answer) = answered.unwrap_or_else(|_| late()).map_err(|error| {
        failed(
            format!("its sidecar does not answer: {error}"),
            "heddle status  shows whether it runs",
        )
    })?;
    match (status, answer["error"].as_str()) {
        (200, _) => Ok(answer),
        (404 | 405, None) => Err(failed(
            "its sidecar is older than this command, and cannot explain itself".to_owned(),
            "heddle rollout restart  replaces it; or explain from files with -f",
        )),
        (status, reason) => Err(Failed {
            error: match reason {
                Some(reason) => reason.to_owned(),
                None => format!("its sidecar answers {status}"),
            },
            advice: None,
        }),
    }
}

/// Status and body of an answer; a body that is no JSON is null.
async fn exchange(netns: &str, request: &str) -> std::io::Result<(u16, Value)> {
    let sockets = NodeSockets::open(netns).map_err(std::io::Error::other)?;
    let mut stream = sockets.connect(ADMIN).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}
