//! Traffic policies: what a DestinationRule says, with the defaults of the API filled in.

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::mesh;
use http::HeaderName;

use super::routes::duration;
use super::{Problem, Refusal, each, optional_port};
use crate::snapshot::{
    Algorithm, ClientTls, ConnectionPool, Cookie, Distribute, HashKey, HashTable, Keepalive,
    Locality, LocalityPolicy, OutlierDetection, RetryBudget, ScopedPolicy, TlsOrigin,
    TrafficPolicy,
};

/// Points of a ring when nothing is said (Istio's default).
const RING: u32 = 1024;
/// Most points: 2 MiB for each worker.
const MAX_RING: u32 = 128 * 1024;
/// Places of a Maglev table when nothing is said (Envoy's default).
const MAGLEV: u32 = 65_537;
/// Most places: 4 MiB for each worker.
const MAX_MAGLEV: u32 = 1 << 20;

/// Runs a conversion, whose refusal names the field.
fn field<T, U>(
    name: &str,
    value: T,
    convert: impl FnOnce(T) -> Result<U, Refusal>,
) -> Result<U, Refusal> {
    convert(value).map_err(|refusal| refusal.within(name))
}

pub(super) fn scoped(wire: mesh::ScopedPolicy) -> Result<ScopedPolicy, Refusal> {
    Ok(ScopedPolicy {
        subset: (!wire.subset.is_empty()).then(|| Arc::from(wire.subset)),
        port: field("port", wire.port, optional_port)?,
        policy: Arc::new(field(
            "policy",
            wire.policy.unwrap_or_default(),
            traffic_policy,
        )?),
    })
}

fn traffic_policy(wire: mesh::TrafficPolicy) -> Result<TrafficPolicy, Refusal> {
    let balancer = wire.load_balancer.unwrap_or_default();
    let min_health = wire
        .outlier_detection
        .as_ref()
        .map_or(0, |o| o.min_health_percent);
    let panic = field(
        "load_balancer.panic_percent",
        balancer.panic_percent,
        percent,
    )?;
    let min_health = field("outlier_detection.min_health_percent", min_health, percent)?;
    Ok(TrafficPolicy {
        origin: Arc::from(wire.origin),
        algorithm: field("load_balancer", balancer.algorithm, algorithm)?,
        warmup: field("load_balancer.warmup", balancer.warmup, duration)?,
        locality: balancer
            .locality
            .map(|locality| field("load_balancer.locality", locality, locality_policy))
            .transpose()?,
        panic_percent: panic.max(min_health),
        pool: field(
            "connection_pool",
            wire.connection_pool.unwrap_or_default(),
            pool,
        )?,
        outlier: wire
            .outlier_detection
            .map(|outlier| field("outlier_detection", outlier, outlier_detection))
            .transpose()?,
        tls: field("tls", wire.tls.unwrap_or_default(), client_tls)?,
        retry_budget: wire
            .retry_budget
            .map(|budget| field("retry_budget", budget, retry_budget))
            .transpose()?,
    })
}

fn percent(percent: u32) -> Result<u32, Refusal> {
    match percent {
        0..=100 => Ok(percent),
        _ => Err(Problem::Percent(percent).into()),
    }
}

/// 0 is no bound.
fn bound(most: u32) -> Option<u32> {
    (most > 0).then_some(most)
}

fn algorithm(wire: Option<mesh::load_balancer::Algorithm>) -> Result<Algorithm, Refusal> {
    use mesh::load_balancer::{Algorithm as Wire, Simple};
    Ok(match wire {
        None => Algorithm::LeastRequest,
        Some(Wire::Simple(number)) => {
            let simple = Simple::try_from(number).map_err(|_| Problem::Enum {
                number,
                of: "LoadBalancer.Simple",
            });
            match simple.map_err(|problem| Refusal::from(problem).within("simple"))? {
                Simple::Unspecified | Simple::LeastRequest => Algorithm::LeastRequest,
                Simple::RoundRobin => Algorithm::RoundRobin,
                Simple::Random => Algorithm::Random,
                Simple::Passthrough => Algorithm::Passthrough,
            }
        }
        Some(Wire::ConsistentHash(hash)) => field("consistent_hash", hash, consistent_hash)?,
    })
}

fn consistent_hash(wire: mesh::ConsistentHash) -> Result<Algorithm, Refusal> {
    use mesh::consistent_hash::{Key, Table};
    let key = match wire.key {
        Some(Key::Header(name)) => HashKey::Header(
            HeaderName::try_from(name.as_str())
                .map_err(|_| Refusal::from(Problem::HeaderName(name)).within("header"))?,
        ),
        Some(Key::Cookie(wire)) => HashKey::Cookie(field("cookie", wire, cookie)?),
        Some(Key::SourceIp(true)) => HashKey::SourceIp,
        Some(Key::QueryParameter(name)) => HashKey::QueryParameter(Arc::from(name)),
        Some(Key::SourceIp(false)) | None => {
            return Err(Refusal::from(Problem::Missing).within("key"));
        }
    };
    let table = match wire.table {
        None | Some(Table::MinimumRingSize(0)) => HashTable::Ring(RING),
        Some(Table::MinimumRingSize(size)) => match u32::try_from(size) {
            Ok(size) if size <= MAX_RING => HashTable::Ring(size),
            _ => {
                let problem = Problem::Ring(size, MAX_RING);
                return Err(Refusal::from(problem).within("minimum_ring_size"));
            }
        },
        Some(Table::MaglevSize(0)) => HashTable::Maglev(MAGLEV),
        Some(Table::MaglevSize(size)) => match u32::try_from(size) {
            Ok(size) if size <= MAX_MAGLEV && is_prime(size) => HashTable::Maglev(size),
            _ => {
                let problem = Problem::Maglev(size, MAX_MAGLEV);
                return Err(Refusal::from(problem).within("maglev_size"));
            }
        },
    };
    Ok(Algorithm::Hash(key, table))
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// What may stand in a Set-Cookie header as it is.
pub(super) fn cookie(wire: mesh::Cookie) -> Result<Cookie, Refusal> {
    let token = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_graphic() && !b"=;,\"".contains(&b))
    };
    if wire.name.is_empty() || !token(&wire.name) {
        return Err(Refusal::from(Problem::CookieName(wire.name)).within("name"));
    }
    if !token(&wire.path) {
        return Err(Refusal::from(Problem::CookieName(wire.path)).within("path"));
    }
    Ok(Cookie {
        name: Arc::from(wire.name),
        path: Arc::from(wire.path),
        ttl: match wire.ttl {
            None => None,
            Some(ttl) => Some(field("ttl", Some(ttl), duration)?.unwrap_or(Duration::ZERO)),
        },
    })
}

fn locality_policy(wire: mesh::LocalityPolicy) -> Result<LocalityPolicy, Refusal> {
    Ok(LocalityPolicy {
        failover_enabled: wire.failover_enabled,
        distribute: each(wire.distribute, "distribute", |wire| {
            let to: Vec<_> = wire
                .to
                .into_iter()
                .map(|(place, share)| (Locality::new(place), share))
                .collect();
            if to.iter().all(|(_, share)| *share == 0) {
                return Err(Refusal::from(Problem::NoWeight).within("to"));
            }
            Ok(Distribute {
                from: Locality::new(wire.from),
                to,
            })
        })?,
        failover: wire
            .failover
            .into_iter()
            .map(|pair| (Arc::from(pair.from), Arc::from(pair.to)))
            .collect(),
        priority_labels: wire
            .failover_priority
            .iter()
            .map(|label| match label.split_once('=') {
                Some((key, value)) => (Arc::from(key), Some(Arc::from(value))),
                None => (Arc::from(label.as_str()), None),
            })
            .collect(),
    })
}

fn pool(wire: mesh::ConnectionPool) -> Result<ConnectionPool, Refusal> {
    Ok(ConnectionPool {
        max_connections: bound(wire.max_connections),
        connect_timeout: field("connect_timeout", wire.connect_timeout, duration)?,
        keepalive: wire
            .tcp_keepalive
            .map(|keepalive| field("tcp_keepalive", keepalive, tcp_keepalive))
            .transpose()?,
        max_pending_requests: bound(wire.max_pending_requests),
        max_requests: bound(wire.max_requests),
        max_requests_per_connection: bound(wire.max_requests_per_connection),
        max_retries: bound(wire.max_retries),
        idle_timeout: field("idle_timeout", wire.idle_timeout, duration)?,
        max_connection_duration: field(
            "max_connection_duration",
            wire.max_connection_duration,
            duration,
        )?,
    })
}

fn tcp_keepalive(wire: mesh::connection_pool::Keepalive) -> Result<Keepalive, Refusal> {
    Ok(Keepalive {
        time: field("time", wire.time, duration)?,
        interval: field("interval", wire.interval, duration)?,
        probes: bound(wire.probes),
    })
}

fn outlier_detection(wire: mesh::OutlierDetection) -> Result<OutlierDetection, Refusal> {
    let default = OutlierDetection::default();
    let consecutive_5xx = wire.consecutive_5xx.unwrap_or(default.consecutive_5xx);
    let most = wire
        .max_ejection_percent
        .unwrap_or(default.max_ejection_percent);
    Ok(OutlierDetection {
        consecutive_5xx,
        consecutive_gateway_errors: wire.consecutive_gateway_errors.unwrap_or(0),
        consecutive_local_failures: wire
            .split_local_failures
            .then(|| wire.consecutive_local_failures.unwrap_or(consecutive_5xx)),
        interval: field("interval", wire.interval, duration)?.unwrap_or(default.interval),
        base_ejection_time: field("base_ejection_time", wire.base_ejection_time, duration)?
            .unwrap_or(default.base_ejection_time),
        max_ejection_percent: field("max_ejection_percent", most, percent)?,
    })
}

fn client_tls(wire: mesh::ClientTls) -> Result<ClientTls, Refusal> {
    use mesh::client_tls::Mode;
    let mode = Mode::try_from(wire.mode).map_err(|_| {
        let number = wire.mode;
        let of = "ClientTls.Mode";
        Refusal::from(Problem::Enum { number, of }).within("mode")
    })?;
    let text = |text: String| (!text.is_empty()).then(|| Arc::<str>::from(text));
    let own = match (text(wire.client_certificate), text(wire.private_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if mode != Mode::Mutual => None,
        _ => return Err(Problem::HalfCertificate.into()),
    };
    Ok(match mode {
        Mode::Unspecified => ClientTls::Auto,
        Mode::Disable => ClientTls::Disable,
        Mode::Mesh => ClientTls::Mesh,
        Mode::Simple | Mode::Mutual => ClientTls::Originate(Arc::new(TlsOrigin {
            sni: Arc::from(wire.sni),
            subject_alt_names: wire.subject_alt_names.into_iter().map(Arc::from).collect(),
            roots: text(wire.ca_certificates),
            skip_verify: wire.insecure_skip_verify,
            own: own.filter(|_| mode == Mode::Mutual),
        })),
    })
}

fn retry_budget(wire: mesh::RetryBudget) -> Result<RetryBudget, Refusal> {
    let default = RetryBudget::default();
    Ok(RetryBudget {
        percent: field("percent", wire.percent, percent)
            .map(bound)?
            .unwrap_or(default.percent),
        min_retries: bound(wire.min_retries).unwrap_or(default.min_retries),
    })
}
