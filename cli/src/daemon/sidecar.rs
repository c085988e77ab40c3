//! Asks a sidecar's loopback admin, from inside its pod's network: what certificate it shows and
//! which configuration it holds. A sidecar that does not answer in time is shown without that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinError, JoinSet};

use crate::node::NodeSockets;

/// The admin listener of every sidecar.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// It answers from memory.
const PATIENCE: Duration = Duration::from_millis(300);
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
    let answer = tokio::time::timeout(PATIENCE, exchange(netns))
        .await
        .ok()?
        .ok()?;
    serde_json::from_value(answer).ok()
}

async fn exchange(netns: &str) -> std::io::Result<Value> {
    let sockets = NodeSockets::open(netns).map_err(std::io::Error::other)?;
    let mut stream = sockets.connect(ADMIN).await?;
    stream
        .write_all(b"GET /status HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(serde_json::from_str(body)?)
}
