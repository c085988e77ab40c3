//! `connectionPool:`, `outlierDetection:` and `retryBudget:`.

use serde::Deserialize;

use crate::resources::{
    at::{At, Unsupported},
    duration::Span,
};

/// `connectionPool:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ConnectionPool {
    /// Of connections.
    #[serde(default)]
    pub tcp: TcpPool,
    /// Of requests.
    #[serde(default)]
    pub http: HttpPool,
}

/// `connectionPool.tcp:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpPool {
    /// To all endpoints together.
    pub max_connections: Option<At<u32>>,
    /// For each.
    pub connect_timeout: Option<At<Span>>,
    /// Probes on silent connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// After which a connection is not used again.
    pub max_connection_duration: Option<At<Span>>,
    idle_timeout: Option<Unsupported>,
}

/// `tcpKeepalive:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TcpKeepalive {
    /// Until a connection is given up.
    pub probes: Option<At<u32>>,
    /// Silence before the first.
    pub time: Option<At<Span>>,
    /// Between two.
    pub interval: Option<At<Span>>,
}

/// `connectionPool.http:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPool {
    /// That wait for a connection.
    pub http1_max_pending_requests: Option<At<u32>>,
    /// Under way.
    pub http2_max_requests: Option<At<u32>>,
    /// After which a connection is not used again.
    pub max_requests_per_connection: Option<At<u32>>,
    /// Under way at once.
    pub max_retries: Option<At<u32>>,
    /// Of connections without requests.
    pub idle_timeout: Option<At<Span>>,
    /// Whether HTTP/1.1 becomes HTTP/2; only "no" is supported.
    pub h2_upgrade_policy: Option<At<UpgradePolicy>>,
    /// A mesh keeps the client's protocol anyway.
    pub use_client_protocol: Option<At<bool>>,
    max_concurrent_streams: Option<Unsupported>,
}

/// `h2UpgradePolicy:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpgradePolicy {
    /// No.
    Default,
    /// No.
    DoNotUpgrade,
    /// Not supported.
    Upgrade,
}

/// `outlierDetection:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// In a row; 0: off; 5 when absent.
    pub consecutive_5xx_errors: Option<At<u32>>,
    /// 502, 503 and 504 in a row; off when absent.
    pub consecutive_gateway_errors: Option<At<u32>>,
    /// Failures to connect in a row, when they are counted apart.
    pub consecutive_local_origin_failures: Option<At<u32>>,
    /// Whether they are.
    pub split_external_local_origin_errors: Option<bool>,
    /// Between two looks.
    pub interval: Option<At<Span>>,
    /// Times how often.
    pub base_ejection_time: Option<At<Span>>,
    /// Of all endpoints.
    pub max_ejection_percent: Option<At<u32>>,
    /// Below which nobody is left out.
    pub min_health_percent: Option<At<u32>>,
    consecutive_errors: Option<Unsupported>,
}

/// `retryBudget:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Of requests under way.
    pub percent: Option<At<f64>>,
    /// Always allowed.
    pub min_retry_concurrency: Option<At<u32>>,
}
