//! Asks a sidecar's loopback admin, from inside its pod's network: what certificate it shows and
//! which configuration it holds. A sidecar that does not answer in time is shown without that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::rfc3339;
use crate::node::NodeSockets;

/// The admin listener of every sidecar.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// It answers from memory.
const PATIENCE: Duration = Duration::from_millis(300);
/// Largest answer that is read, bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// What `heddle status` shows of a sidecar.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SidecarStatus {
    pub(crate) identity: Option<String>,
    certificate: Certificate,
    config: Config,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Certificate {
    not_after_unix: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Config {
    version: Option<String>,
}

impl SidecarStatus {
    /// When its certificate ends, RFC 3339.
    pub(crate) fn certificate_expiry(&self) -> Option<String> {
        let at = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(self.certificate.not_after_unix?))?;
        Some(rfc3339(at))
    }

    /// Of the configuration it holds, whether or not the control plane is there.
    pub(crate) fn config_version(&self) -> Option<String> {
        self.config.version.clone()
    }
}

/// Asks the sidecar in the network namespace `netns`.
pub(crate) async fn ask(netns: &str) -> Option<SidecarStatus> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_is_read_leniently() {
        let text = r#"{"identity": "spiffe://x/ns/a/sa/b", "pid": 7, "certificate": {"not_after_unix": 86400, "last_error": null},
            "config": {"connected": true, "version": "4"}}"#;
        let status: SidecarStatus = serde_json::from_str(text).unwrap();
        assert_eq!(status.certificate_expiry().unwrap(), "1970-01-02T00:00:00Z");
        assert_eq!(status.config_version().unwrap(), "4");
        assert!(
            serde_json::from_str::<SidecarStatus>("{}")
                .unwrap()
                .certificate_expiry()
                .is_none()
        );
    }
}
