//! Asks a sidecar's loopback admin, from inside its pod's network: what certificate it shows, which
//! configuration it holds, and what it would do with a request. A sidecar that does not answer in
//! time is shown without the former, and the latter says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};

use crate::api::{Failed, Question};
use crate::node::NodeSockets;

/// The admin listener of every sidecar.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ADMIN_PORT);
/// Its port.
pub(crate) const ADMIN_PORT: u16 = 15000;
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
    let asked = async { exchange(connect(netns).await?, request).await };
    let (_, answer) = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    serde_json::from_value(answer).ok()
}

async fn connect(netns: &str) -> std::io::Result<TcpStream> {
    let sockets = NodeSockets::open(netns).map_err(std::io::Error::other)?;
    sockets.connect(ADMIN).await
}

/// Asks the sidecar in a network namespace what it would do.
pub(crate) async fn explain(netns: &str, question: &Question) -> Result<Value, Failed> {
    explain_over(connect(netns), question).await
}

/// Asks the sidecar at the other end of a stream what it would do.
pub(crate) async fn explain_over<S: AsyncRead + AsyncWrite + Unpin>(
    connected: impl Future<Output = std::io::Result<S>>,
    question: &Question,
) -> Result<Value, Failed> {
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
    let asked = async { exchange(connected.await?, &request).await };
    let answered = tokio::time::timeout(EXPLAIN_PATIENCE, asked).await;
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

/// Status and body of an answer; a body that is no JSON is null. Where the answer says how long it is, its
/// end is not waited for: not every forwarder passes that on.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> std::io::Result<(u16, Value)> {
    stream.write_all(request.as_bytes()).await?;
    let mut stream = stream.take(MAX_ANSWER);
    let mut answer = Vec::new();
    while !is_whole(&answer) && stream.read_buf(&mut answer).await? > 0 {}
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

fn is_whole(answer: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|bytes| bytes == END) else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut length = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    length
        .next()
        .is_some_and(|length| answer.len() >= end + END.len() + length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_answer_is_whole_by_its_length_or_by_its_end() {
        for (answer, stays_open) in [
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}",
                true,
            ),
            ("HTTP/1.0 200 OK\r\n\r\n{\"a\": 1}", false),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let sidecar = tokio::spawn(async move {
                let mut asked = [0; 4];
                theirs.read_exact(&mut asked).await.unwrap();
                // In pieces, as it may come.
                for piece in answer.as_bytes().chunks(5) {
                    theirs.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                stays_open.then_some(theirs)
            });
            let answered = exchange(ours, "GET ").await.unwrap();
            assert_eq!(answered, (200, serde_json::json!({"a": 1})));
            sidecar.await.unwrap();
        }
    }
}
