//! Domain types as they are told.

use std::time::Duration;

use super::{Copy, Faults, Head, Policy, Retries};
use crate::decision::Origin;
use crate::snapshot::{
    AbortStatus, Algorithm, Changes, ClientTls, Fault, HashKey, Mirror, RetryPolicy, TrafficPolicy,
};

/// Tries beyond the first where a route says nothing.
const DEFAULT_ATTEMPTS: u32 = 2;

/// Parts in a million, of a hundred.
pub(super) fn percent(ppm: u32) -> f64 {
    f64::from(ppm) / 10_000.0
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn faults(fault: &Fault) -> Option<Faults> {
    let (delay, abort) = (&fault.delay, &fault.abort);
    let status = abort.as_ref().map(|abort| abort.status);
    (delay.is_some() || abort.is_some()).then(|| Faults {
        delay_ms: delay.as_ref().map(|delay| millis(delay.fixed)),
        delay_percent: delay.as_ref().map(|delay| percent(delay.ppm)),
        abort_status: match status {
            Some(AbortStatus::Http(status)) => Some(status.as_u16()),
            _ => None,
        },
        abort_grpc_status: match status {
            Some(AbortStatus::Grpc(code)) => Some(code.number()),
            _ => None,
        },
        abort_percent: abort.as_ref().map(|abort| percent(abort.ppm)),
    })
}

pub(super) fn copy(mirror: &Mirror, called: u16) -> Copy {
    let to = &mirror.destination;
    Copy {
        service: to.service.to_string(),
        subset: to.subset.as_deref().map(str::to_owned),
        port: to.port.unwrap_or(called),
        percent: percent(mirror.ppm),
    }
}

pub(super) fn retries(policy: Option<&RetryPolicy>) -> Retries {
    let Some(policy) = policy else {
        return Retries {
            attempts: DEFAULT_ATTEMPTS,
            per_try_timeout_ms: None,
            on: Vec::new(),
        };
    };
    let on = &policy.retry_on;
    let named = [
        (on.server_errors, "5xx"),
        (on.gateway_errors, "gateway-error"),
        (on.resets, "reset"),
        (on.conflicts, "retriable-4xx"),
    ];
    let named = named.iter().filter(|(asked, _)| *asked);
    let named = named.map(|(_, name)| (*name).to_owned());
    let statuses = on.statuses.iter().map(|status| status.as_u16().to_string());
    let grpc = on.grpc.iter();
    let grpc = grpc.map(|code| format!("gRPC status {}", code.number()));
    Retries {
        attempts: policy.attempts,
        per_try_timeout_ms: policy.per_try_timeout.map(millis),
        on: named.chain(statuses).chain(grpc).collect(),
    }
}

pub(super) fn head(changes: &Changes) -> Head {
    let fields = |fields: &[(http::HeaderName, http::HeaderValue)]| {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    };
    Head {
        remove: changes.remove.iter().map(ToString::to_string).collect(),
        set: fields(&changes.set),
        add: fields(&changes.add),
    }
}

pub(super) fn key(by: &HashKey) -> String {
    match by {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(cookie) => format!("cookie {}", cookie.name),
        HashKey::SourceIp => "address of the caller".to_owned(),
        HashKey::QueryParameter(name) => format!("query parameter {name}"),
    }
}

pub(super) fn policy(policy: &TrafficPolicy) -> Policy {
    let mut says = vec![match &policy.algorithm {
        Algorithm::LeastRequest => "the less loaded of two is chosen".to_owned(),
        Algorithm::RoundRobin => "endpoints take turns".to_owned(),
        Algorithm::Random => "any endpoint is chosen".to_owned(),
        Algorithm::Passthrough => "the address that was called is kept".to_owned(),
        Algorithm::Hash(by, _) => format!("the same endpoint for the same {}", key(by)),
    }];
    if let Some(warmup) = policy.warmup {
        says.push(format!("a new endpoint warms up for {warmup:?}"));
    }
    if policy.locality.is_some() {
        says.push("places count".to_owned());
    }
    if let Some(outlier) = &policy.outlier {
        let (base, most) = (outlier.base_ejection_time, outlier.max_ejection_percent);
        says.push(format!(
            "outliers are ejected for {base:?}, at most {most}%"
        ));
    }
    let pool = &policy.pool;
    let bounds = [
        (pool.max_connections, "connections"),
        (pool.max_requests, "requests at a time"),
        (pool.max_pending_requests, "waiting requests"),
    ];
    for (most, of) in bounds {
        says.extend(most.map(|most| format!("at most {most} {of}")));
    }
    if let Some(timeout) = pool.connect_timeout {
        says.push(format!("connecting takes at most {timeout:?}"));
    }
    match &policy.tls {
        ClientTls::Auto => {}
        ClientTls::Disable => says.push("TLS is DISABLE".to_owned()),
        ClientTls::Mesh => says.push("only by the mesh's mutual TLS".to_owned()),
        ClientTls::Originate(_) => says.push("by TLS to a server outside the mesh".to_owned()),
    }
    Policy {
        origin: Origin::parse(&policy.origin),
        says,
    }
}
