//! Destinations, policies and times in the words of the cases.

use std::time::Duration;

use heddle_proxy_config::snapshot::{
    Algorithm, ClientTls, Destination, HashKey, HashTable, RetryOn, TrafficPolicy,
};

/// `reviews subset v1 port 9081`: what is of the namespace `default`, or has dots, by its name alone;
/// else `NAME.NAMESPACE`. The port that was called is not said.
pub(super) fn destination(to: &Destination, called: u16) -> String {
    let mut words = place(to.service.as_str());
    if let Some(subset) = &to.subset {
        words += &format!(" subset {subset}");
    }
    if let Some(port) = to.port.filter(|port| *port != called) {
        words += &format!(" port {port}");
    }
    words
}

pub(super) fn place(service: &str) -> String {
    match service.split_once('/') {
        Some(("default", name)) => name.to_owned(),
        Some((_, name)) if name.contains('.') => name.to_owned(),
        Some((namespace, name)) => format!("{name}.{namespace}"),
        None => "nowhere".to_owned(),
    }
}

pub(super) fn time(time: Duration) -> String {
    format!("{time:?}")
}

pub(super) fn percent(ppm: u32) -> f64 {
    f64::from(ppm) / 10_000.0
}

pub(super) fn key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(cookie) => {
            let mut words = format!("cookie {}", cookie.name);
            if !cookie.path.is_empty() {
                words += &format!(" path {}", cookie.path);
            }
            if let Some(ttl) = cookie.ttl {
                words += &format!(" for {}", time(ttl));
            }
            words
        }
        HashKey::SourceIp => "source".to_owned(),
        HashKey::QueryParameter(name) => format!("query parameter {name}"),
    }
}

/// Conditions in a fixed order, whatever the order in which they were written.
pub(super) fn retry_on(on: &RetryOn) -> Vec<String> {
    let named = [
        ("5xx", on.server_errors),
        ("gateway-error", on.gateway_errors),
        ("reset", on.resets),
        ("retriable-4xx", on.conflicts),
    ];
    let named = named.into_iter().filter(|(_, set)| *set);
    let mut words: Vec<String> = named.map(|(name, _)| name.to_owned()).collect();
    words.extend(on.statuses.iter().map(|status| status.as_u16().to_string()));
    words.extend(on.grpc.iter().map(|code| format!("grpc {}", code.number())));
    words
}

/// What a policy says under a name, in words; None: there is no such name.
pub(super) fn policy(policy: &TrafficPolicy, name: &str) -> Option<String> {
    let number = |number: Option<u32>| number.map_or("none".to_owned(), |n| n.to_string());
    let long = |span: Option<Duration>| span.map_or("none".to_owned(), time);
    let outlier = policy.outlier.as_ref();
    Some(match name {
        "balance" => match &policy.algorithm {
            Algorithm::LeastRequest => "least request".to_owned(),
            Algorithm::RoundRobin => "round robin".to_owned(),
            Algorithm::Random => "random".to_owned(),
            Algorithm::Passthrough => "passthrough".to_owned(),
            Algorithm::Hash(by, HashTable::Ring(size)) => format!("ring of {size} by {}", key(by)),
            Algorithm::Hash(by, HashTable::Maglev(size)) => {
                format!("maglev of {size} by {}", key(by))
            }
        },
        "warmup" => long(policy.warmup),
        "tls" => match &policy.tls {
            ClientTls::Auto => "auto".to_owned(),
            ClientTls::Disable => "none".to_owned(),
            ClientTls::Mesh => "mesh".to_owned(),
            ClientTls::Originate(origin) => match &origin.own {
                Some(_) => format!("mutual {}", origin.sni),
                None => format!("simple {}", origin.sni),
            },
        },
        "connections" => number(policy.pool.max_connections),
        "connect timeout" => long(policy.pool.connect_timeout),
        "pending" => number(policy.pool.max_pending_requests),
        "requests" => number(policy.pool.max_requests),
        "requests per connection" => number(policy.pool.max_requests_per_connection),
        "retries" => number(policy.pool.max_retries),
        "idle" => long(policy.pool.idle_timeout),
        "5xx to eject" => number(outlier.map(|o| o.consecutive_5xx)),
        "gateway errors to eject" => number(outlier.map(|o| o.consecutive_gateway_errors)),
        "interval" => long(outlier.map(|o| o.interval)),
        "ejected for" => long(outlier.map(|o| o.base_ejection_time)),
        "ejected at most" => number(outlier.map(|o| o.max_ejection_percent)),
        "panic below" => policy.panic_percent.to_string(),
        "retry budget" => policy.retry_budget.map_or("none".to_owned(), |budget| {
            format!("{}% or {}", budget.percent, budget.min_retries)
        }),
        "locality" => match &policy.locality {
            None => "none".to_owned(),
            Some(locality) if !locality.distribute.is_empty() => "distribute".to_owned(),
            Some(locality) if !locality.priority_labels.is_empty() => "labels".to_owned(),
            Some(locality) if !locality.failover.is_empty() => "failover".to_owned(),
            Some(locality) if locality.failover_enabled => "near first".to_owned(),
            Some(_) => "none".to_owned(),
        },
        _ => return None,
    })
}
