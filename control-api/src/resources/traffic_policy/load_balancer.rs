//! `loadBalancer:`: an algorithm, slow start, and where traffic goes by place.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::resources::{
    at::{At, Unsupported},
    duration::Span,
};

/// `loadBalancer:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// An algorithm without a key.
    pub simple: Option<At<Simple>>,
    /// One that keeps equal keys together.
    pub consistent_hash: Option<At<ConsistentHash>>,
    /// Where traffic goes by place.
    pub locality_lb_setting: Option<At<LocalitySetting>>,
    /// The older spelling of `warmup.duration`.
    pub warmup_duration_secs: Option<At<Span>>,
    /// Slow start.
    pub warmup: Option<At<Warmup>>,
}

/// `simple:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Simple {
    /// As if absent.
    Unspecified,
    /// Any.
    Random,
    /// The address that was called.
    Passthrough,
    /// In turn.
    RoundRobin,
    /// The one with fewer requests of two.
    LeastRequest,
    /// The older name of the same.
    LeastConn,
}

/// `warmup:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// Until a new endpoint has its whole share.
    pub duration: At<Span>,
    minimum_percent: Option<Unsupported>,
    aggression: Option<Unsupported>,
}

/// `consistentHash:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistentHash {
    /// Key: a header's value.
    pub http_header_name: Option<At<String>>,
    /// Key: a cookie's value.
    pub http_cookie: Option<At<HttpCookie>>,
    /// Key: the client's IP.
    pub use_source_ip: Option<bool>,
    /// Key: a query parameter's value.
    pub http_query_parameter_name: Option<At<String>>,
    /// Table: a ring.
    pub ring_hash: Option<At<RingHash>>,
    /// Table: Maglev's.
    pub maglev: Option<At<Maglev>>,
    /// The older spelling of `ringHash.minimumRingSize`.
    pub minimum_ring_size: Option<At<u64>>,
}

/// `httpCookie:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HttpCookie {
    /// Its name.
    pub name: At<String>,
    /// Its path.
    pub path: Option<At<String>>,
    /// How long it is kept; 0: for a session; absent: it is never set.
    pub ttl: Option<Span>,
}

/// `ringHash:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// Points on the ring.
    pub minimum_ring_size: Option<At<u64>>,
}

/// `maglev:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maglev {
    /// A prime.
    pub table_size: Option<At<u64>>,
}

/// `localityLbSetting:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalitySetting {
    /// Shares by place.
    #[serde(default)]
    pub distribute: Vec<At<Distribute>>,
    /// Where to when a region has nothing left.
    #[serde(default)]
    pub failover: Vec<At<Failover>>,
    /// Labels that an endpoint should share with its client, in order.
    #[serde(default)]
    pub failover_priority: Vec<At<String>>,
    /// Whether it is on; it is.
    pub enabled: Option<bool>,
}

/// `distribute[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Distribute {
    /// "REGION/ZONE/SUBZONE" of clients; its tail may be `*`.
    pub from: At<String>,
    /// Percent by place.
    pub to: BTreeMap<String, At<u32>>,
}

/// `failover[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Failover {
    /// A region.
    pub from: At<String>,
    /// Another.
    pub to: At<String>,
}
