//! A merged policy to its wire form. What a policy does not say stays unsaid: defaults are the proxy's.

use heddle_proto::mesh::{
    self, LoadBalancer, Millis,
    client_tls::Mode,
    connection_pool::Keepalive,
    consistent_hash::{Key, Table},
    load_balancer::{Algorithm, Simple as WireSimple},
    locality_policy,
};

use crate::resources::{
    at::At,
    duration::Span,
    traffic_policy::{
        self as written, ClientTls, Components, ConnectionPool, ConsistentHash, LocalitySetting,
        OutlierDetection, Simple, TlsMode,
    },
};

pub(super) fn traffic_policy(policy: Components<'_>, origin: String) -> mesh::TrafficPolicy {
    let has_outliers = policy.outlier_detection.is_some();
    let budget = |budget: &written::RetryBudget| mesh::RetryBudget {
        // Rounded up: less than one percent is not none.
        percent: budget.percent.as_ref().map_or(0, |p| p.value.ceil() as u32),
        min_retries: number(&budget.min_retry_concurrency),
    };
    mesh::TrafficPolicy {
        origin,
        load_balancer: load_balancer(policy.load_balancer, has_outliers),
        connection_pool: policy.connection_pool.map(connection_pool),
        outlier_detection: policy.outlier_detection.map(outlier_detection),
        tls: policy.tls.map(client_tls),
        retry_budget: policy.retry_budget.map(budget),
    }
}

/// Whoever watches endpoints prefers near ones, unless told otherwise: the mesh's default in Istio.
fn load_balancer(
    balancer: Option<&written::LoadBalancer>,
    has_outliers: bool,
) -> Option<LoadBalancer> {
    let setting = balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref());
    let near = mesh::LocalityPolicy {
        failover_enabled: true,
        ..Default::default()
    };
    let locality = match setting {
        Some(setting) => Some(locality(setting)),
        None => has_outliers.then_some(near),
    };
    let Some(balancer) = balancer else {
        return locality.map(|locality| LoadBalancer {
            locality: Some(locality),
            ..Default::default()
        });
    };
    let simple = balancer.simple.as_ref().map(|simple| match simple.value {
        Simple::Unspecified => WireSimple::Unspecified,
        Simple::Random => WireSimple::Random,
        Simple::Passthrough => WireSimple::Passthrough,
        Simple::RoundRobin => WireSimple::RoundRobin,
        Simple::LeastRequest | Simple::LeastConn => WireSimple::LeastRequest,
    });
    let hash = balancer.consistent_hash.as_ref();
    let hash = hash.map(|hash| Algorithm::ConsistentHash(consistent_hash(hash)));
    let warmup = balancer.warmup.as_ref().map(|warmup| &warmup.duration);
    let warmup = warmup.or(balancer.warmup_duration_secs.as_ref());
    Some(LoadBalancer {
        algorithm: hash.or(simple.map(|simple| Algorithm::Simple(simple.into()))),
        warmup: warmup.map(|span| millis(span.value)),
        locality,
        panic_percent: 0,
    })
}

fn consistent_hash(hash: &ConsistentHash) -> mesh::ConsistentHash {
    let text = |text: &At<String>| text.value.clone();
    let key = if let Some(name) = &hash.http_header_name {
        Some(Key::Header(name.to_ascii_lowercase()))
    } else if let Some(cookie) = &hash.http_cookie {
        Some(Key::Cookie(mesh::Cookie {
            name: text(&cookie.name),
            path: cookie.path.as_ref().map(text).unwrap_or_default(),
            ttl: cookie.ttl.map(millis),
        }))
    } else if let Some(name) = &hash.http_query_parameter_name {
        Some(Key::QueryParameter(text(name)))
    } else {
        Some(Key::SourceIp(true))
    };
    let ring = hash.ring_hash.as_ref();
    let ring = ring.and_then(|ring| ring.minimum_ring_size.as_ref());
    let ring = ring.or(hash.minimum_ring_size.as_ref());
    let maglev = hash.maglev.as_ref().map(|maglev| {
        let size = maglev.table_size.as_ref().map_or(0, |size| size.value);
        Table::MaglevSize(size)
    });
    mesh::ConsistentHash {
        key,
        table: maglev.or(ring.map(|size| Table::MinimumRingSize(size.value))),
    }
}

fn locality(setting: &LocalitySetting) -> mesh::LocalityPolicy {
    if setting.enabled == Some(false) {
        return mesh::LocalityPolicy::default();
    }
    let distribute = |one: &At<written::Distribute>| locality_policy::Distribute {
        from: one.from.value.clone(),
        to: one
            .to
            .iter()
            .map(|(to, share)| (to.clone(), share.value))
            .collect(),
    };
    let failover = |one: &At<written::Failover>| locality_policy::Failover {
        from: one.from.value.clone(),
        to: one.to.value.clone(),
    };
    mesh::LocalityPolicy {
        failover_enabled: setting.distribute.is_empty(),
        distribute: setting.distribute.iter().map(distribute).collect(),
        failover: setting.failover.iter().map(failover).collect(),
        failover_priority: setting
            .failover_priority
            .iter()
            .map(|label| label.value.clone())
            .collect(),
    }
}

fn connection_pool(pool: &ConnectionPool) -> mesh::ConnectionPool {
    let (tcp, http) = (&pool.tcp, &pool.http);
    mesh::ConnectionPool {
        max_connections: number(&tcp.max_connections),
        connect_timeout: span(&tcp.connect_timeout),
        tcp_keepalive: tcp.tcp_keepalive.as_ref().map(|keepalive| Keepalive {
            time: span(&keepalive.time),
            interval: span(&keepalive.interval),
            probes: number(&keepalive.probes),
        }),
        max_pending_requests: number(&http.http1_max_pending_requests),
        max_requests: number(&http.http2_max_requests),
        max_requests_per_connection: number(&http.max_requests_per_connection),
        max_retries: number(&http.max_retries),
        idle_timeout: span(&http.idle_timeout),
        max_connection_duration: span(&tcp.max_connection_duration),
    }
}

fn outlier_detection(detection: &OutlierDetection) -> mesh::OutlierDetection {
    let number_of = |number: &Option<At<u32>>| number.as_ref().map(|number| number.value);
    mesh::OutlierDetection {
        consecutive_5xx: number_of(&detection.consecutive_5xx_errors),
        consecutive_gateway_errors: number_of(&detection.consecutive_gateway_errors),
        consecutive_local_failures: number_of(&detection.consecutive_local_origin_failures),
        split_local_failures: detection.split_external_local_origin_errors == Some(true),
        interval: span(&detection.interval),
        base_ejection_time: span(&detection.base_ejection_time),
        max_ejection_percent: number_of(&detection.max_ejection_percent),
        min_health_percent: number(&detection.min_health_percent),
    }
}

fn client_tls(tls: &ClientTls) -> mesh::ClientTls {
    let text = |text: &Option<At<String>>| {
        let text = text.as_ref().map(|text| text.value.clone());
        text.unwrap_or_default()
    };
    let mode = match tls.mode.value {
        TlsMode::Disable => Mode::Disable,
        TlsMode::Simple => Mode::Simple,
        TlsMode::Mutual => Mode::Mutual,
        TlsMode::IstioMutual => Mode::Mesh,
    };
    if matches!(mode, Mode::Disable | Mode::Mesh) {
        // The mesh's own names say who must be there.
        return mesh::ClientTls {
            mode: mode.into(),
            ..Default::default()
        };
    }
    mesh::ClientTls {
        mode: mode.into(),
        sni: text(&tls.sni),
        subject_alt_names: tls.subject_alt_names.clone(),
        client_certificate: text(&tls.client_certificate),
        private_key: text(&tls.private_key),
        ca_certificates: text(&tls.ca_certificates),
        insecure_skip_verify: tls.insecure_skip_verify == Some(true),
    }
}

fn number(number: &Option<At<u32>>) -> u32 {
    number.as_ref().map_or(0, |number| number.value)
}

fn span(span: &Option<At<Span>>) -> Option<Millis> {
    span.as_ref().map(|span| millis(span.value))
}

fn millis(span: Span) -> Millis {
    Millis {
        millis: span.millis(),
    }
}
