//! Mistakes that a traffic policy shows by itself: values out of range, two algorithms, keys or
//! tables at once, shares that do not make a whole, TLS without its certificates.

use std::collections::HashSet;

use super::{
    ClientTls, ConnectionPool, ConsistentHash, LoadBalancer, LocalitySetting, OutlierDetection,
    RetryBudget, TlsMode, TrafficPolicy, UpgradePolicy,
};
use crate::{
    check::Code,
    resources::{
        at::At,
        duration::Span,
        header::{is_cookie_path, is_token},
    },
    source::{decode::Problem, node::Position},
};

/// Largest ring and table: a few MiB for each worker of a sidecar.
const MAX_RING: u64 = 128 * 1024;
const MAX_MAGLEV: u64 = 1 << 20;

struct Found<'a> {
    path: &'a str,
    found: &'a mut Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, code: Code, at: Position, what: &str, suggestion: &str) {
        let reason = format!("{}.{what}", self.path);
        self.found
            .push(Problem::new(code, at, reason).suggest(suggestion));
    }

    fn percent(&mut self, field: &str, value: Option<&At<u32>>) {
        if let Some(value) = value.filter(|value| value.value > 100) {
            let what = format!("{field}: {} is not from 0 to 100", value.value);
            self.add(Code::BadPercentage, value.at, &what, "write a percentage");
        }
    }

    fn not_zero(&mut self, field: &str, value: Option<&At<Span>>) {
        if let Some(value) = value.filter(|value| value.millis() == 0) {
            let what = format!("{field}: it must be at least 1ms");
            self.add(
                Code::TooShort,
                value.at,
                &what,
                "leave it out for the default",
            );
        }
    }
}

pub(super) fn problems(policy: &TrafficPolicy, path: &str, found: &mut Vec<Problem>) {
    let mut all = Found { path, found };
    if let Some(balancer) = &policy.load_balancer {
        load_balancer(&mut all, balancer);
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(&mut all, pool);
    }
    if let Some(detection) = &policy.outlier_detection {
        outlier_detection(&mut all, detection);
    }
    if let Some(tls) = &policy.tls {
        client_tls(&mut all, tls);
    }
    if let Some(budget) = &policy.retry_budget {
        retry_budget(&mut all, budget);
    }
    let mut ports = HashSet::new();
    for (i, of_port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        let mut all = Found { path: &path, found };
        if of_port.port.number == 0 {
            all.add(
                Code::BadPort,
                of_port.port.at,
                "port.number: 0 is no port",
                "",
            );
        } else if !ports.insert(of_port.port.number) {
            let what = format!("port.number: port {} is there twice", of_port.port.number);
            all.add(Code::Repeated, of_port.port.at, &what, "merge the two");
        }
        if let Some(balancer) = &of_port.load_balancer {
            load_balancer(&mut all, balancer);
        }
        if let Some(pool) = &of_port.connection_pool {
            connection_pool(&mut all, pool);
        }
        if let Some(detection) = &of_port.outlier_detection {
            outlier_detection(&mut all, detection);
        }
        if let Some(tls) = &of_port.tls {
            client_tls(&mut all, tls);
        }
    }
}

fn load_balancer(found: &mut Found<'_>, balancer: &At<LoadBalancer>) {
    if balancer.simple.is_some() && balancer.consistent_hash.is_some() {
        let what = "loadBalancer: only one of simple and consistentHash may be given";
        found.add(Code::Exclusive, balancer.at, what, "take one of them out");
    }
    if let Some(hash) = &balancer.consistent_hash {
        consistent_hash(found, hash);
    }
    let warmup = balancer.warmup.as_ref();
    if let (Some(older), Some(_)) = (&balancer.warmup_duration_secs, warmup) {
        let what = "loadBalancer.warmupDurationSecs: `warmup` says the same";
        found.add(Code::Exclusive, older.at, what, "take this one out");
    }
    found.not_zero(
        "loadBalancer.warmupDurationSecs",
        balancer.warmup_duration_secs.as_ref(),
    );
    found.not_zero(
        "loadBalancer.warmup.duration",
        warmup.map(|warmup| &warmup.duration),
    );
    if let Some(setting) = &balancer.locality_lb_setting {
        locality(found, setting);
    }
}

fn consistent_hash(found: &mut Found<'_>, hash: &At<ConsistentHash>) {
    let keys = [
        hash.http_header_name.is_some(),
        hash.http_cookie.is_some(),
        hash.use_source_ip == Some(true),
        hash.http_query_parameter_name.is_some(),
    ];
    if keys.into_iter().filter(|given| *given).count() != 1 {
        let what = "loadBalancer.consistentHash: it needs exactly one key";
        let suggestion = "write one of httpHeaderName, httpCookie, useSourceIp: true and \
                          httpQueryParameterName";
        found.add(Code::BadHash, hash.at, what, suggestion);
    }
    if let Some(name) = hash.http_header_name.as_ref().filter(|n| !is_token(n)) {
        let what = "loadBalancer.consistentHash.httpHeaderName: this is no header name";
        found.add(Code::BadHeaderName, name.at, what, "");
    }
    let cookie = hash.http_cookie.as_ref();
    if let Some(cookie) = cookie.filter(|cookie| !is_token(&cookie.name)) {
        let what = "loadBalancer.consistentHash.httpCookie.name: this is no cookie's name";
        found.add(Code::BadHash, cookie.name.at, what, "");
    }
    let path = cookie.and_then(|cookie| cookie.path.as_ref());
    if let Some(path) = path.filter(|path| !is_cookie_path(path)) {
        let what = "loadBalancer.consistentHash.httpCookie.path: this is no cookie's path";
        found.add(Code::BadPath, path.at, what, "write `/`, for example");
    }
    let parameter = hash.http_query_parameter_name.as_ref();
    if let Some(name) = parameter.filter(|name| name.is_empty()) {
        let what = "loadBalancer.consistentHash.httpQueryParameterName: it is empty";
        found.add(Code::BadHash, name.at, what, "");
    }
    let ring = hash.ring_hash.as_ref();
    let sizes = [
        hash.minimum_ring_size.as_ref(),
        ring.and_then(|ring| ring.minimum_ring_size.as_ref()),
    ];
    let tables = [
        hash.minimum_ring_size.is_some(),
        ring.is_some(),
        hash.maglev.is_some(),
    ];
    if tables.into_iter().filter(|given| *given).count() > 1 {
        let what = "loadBalancer.consistentHash: only one of ringHash, maglev and minimumRingSize may be given";
        found.add(Code::Exclusive, hash.at, what, "keep one of them");
    }
    for size in sizes.into_iter().flatten().filter(|s| s.value > MAX_RING) {
        let what = format!(
            "loadBalancer.consistentHash.ringHash.minimumRingSize: {} is above {MAX_RING}",
            size.value
        );
        found.add(Code::BadTable, size.at, &what, "1024 is the default");
    }
    let size = hash.maglev.as_ref().and_then(|m| m.table_size.as_ref());
    if let Some(size) = size.filter(|size| size.value > MAX_MAGLEV || !is_prime(size.value)) {
        let what = format!(
            "loadBalancer.consistentHash.maglev.tableSize: {} is not a prime up to {MAX_MAGLEV}",
            size.value
        );
        found.add(Code::BadTable, size.at, &what, "65537 is the default");
    }
}

/// Of numbers up to `MAX_MAGLEV`.
fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

fn locality(found: &mut Found<'_>, setting: &At<LocalitySetting>) {
    const PATH: &str = "loadBalancer.localityLbSetting";
    let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    if fails_over && !setting.distribute.is_empty() {
        let what = format!("{PATH}: only one of distribute and failover may be given");
        found.add(Code::Exclusive, setting.at, &what, "take one of them out");
    }
    for (i, one) in setting.distribute.iter().enumerate() {
        let path = format!("{PATH}.distribute[{i}]");
        if !is_place(&one.from) {
            let what = format!("{path}.from: \"{}\" is no place", one.from.escape_debug());
            found.add(
                Code::BadPlace,
                one.from.at,
                &what,
                "write `region/zone/*`, for example",
            );
        }
        for (place, share) in &one.to {
            if !is_place(place) {
                let what = format!("{path}.to: \"{}\" is no place", place.escape_debug());
                found.add(
                    Code::BadPlace,
                    share.at,
                    &what,
                    "write `region/zone/*`, for example",
                );
            }
        }
        let total: u64 = one.to.values().map(|share| u64::from(share.value)).sum();
        if total != 100 {
            let what = format!("{path}.to: the shares total {total}, not 100");
            found.add(
                Code::BadShares,
                one.at,
                &what,
                "write percentages of the whole",
            );
        }
    }
    for (i, one) in setting.failover.iter().enumerate() {
        let is_region = |name: &str| !name.is_empty() && !name.contains(['/', '*']);
        let path = format!("{PATH}.failover[{i}]");
        for (field, region) in [("from", &one.from), ("to", &one.to)] {
            if !is_region(region) {
                let what = format!("{path}.{field}: \"{}\" is no region", region.escape_debug());
                found.add(
                    Code::BadPlace,
                    region.at,
                    &what,
                    "write the name of a region alone",
                );
            }
        }
        if one.from == one.to {
            let what = format!("{path}: it goes from a region to itself");
            found.add(Code::BadPlace, one.at, &what, "");
        }
    }
    for (i, label) in setting.failover_priority.iter().enumerate() {
        let key = label.split('=').next().unwrap_or_default();
        if key.is_empty() {
            let what = format!("{PATH}.failoverPriority[{i}]: a label's name is missing");
            found.add(
                Code::BadPlace,
                label.at,
                &what,
                "write `KEY` or `KEY=VALUE`",
            );
        }
    }
}

/// "REGION/ZONE/SUBZONE", of which the tail may be left out or `*`.
fn is_place(place: &str) -> bool {
    let parts: Vec<&str> = place.split('/').collect();
    let named = parts.iter().take_while(|part| !part.contains('*')).count();
    parts.len() <= 3
        && parts.iter().all(|part| !part.is_empty())
        && (named == parts.len() || (named + 1 == parts.len() && parts[named] == "*"))
}

fn connection_pool(found: &mut Found<'_>, pool: &At<ConnectionPool>) {
    const TCP: &str = "connectionPool.tcp";
    let tcp = &pool.tcp;
    found.not_zero(
        &format!("{TCP}.connectTimeout"),
        tcp.connect_timeout.as_ref(),
    );
    found.not_zero(
        &format!("{TCP}.maxConnectionDuration"),
        tcp.max_connection_duration.as_ref(),
    );
    if let Some(keepalive) = &tcp.tcp_keepalive {
        for (field, span) in [("time", &keepalive.time), ("interval", &keepalive.interval)] {
            // The kernel counts whole seconds.
            if let Some(span) = span.as_ref().filter(|span| span.millis() < 1000) {
                let what = format!("{TCP}.tcpKeepalive.{field}: it must be at least 1s");
                found.add(
                    Code::TooShort,
                    span.at,
                    &what,
                    "leave it out for the default",
                );
            }
        }
    }
    let http = &pool.http;
    found.not_zero(
        "connectionPool.http.idleTimeout",
        http.idle_timeout.as_ref(),
    );
    let upgrade = http.h2_upgrade_policy.as_ref();
    if let Some(upgrade) = upgrade.filter(|policy| policy.value == UpgradePolicy::Upgrade) {
        let what = "connectionPool.http.h2UpgradePolicy: UPGRADE is not supported yet";
        let suggestion = "take it out: HTTP/1.1 stays HTTP/1.1";
        found.add(Code::UnsupportedValue, upgrade.at, what, suggestion);
    }
    if let Some(keep) = http.use_client_protocol.as_ref().filter(|keep| !keep.value) {
        let what = "connectionPool.http.useClientProtocol: false is not supported";
        let suggestion = "take it out: the client's protocol is always kept";
        found.add(Code::UnsupportedValue, keep.at, what, suggestion);
    }
}

fn outlier_detection(found: &mut Found<'_>, detection: &At<OutlierDetection>) {
    const PATH: &str = "outlierDetection";
    found.percent(
        &format!("{PATH}.maxEjectionPercent"),
        detection.max_ejection_percent.as_ref(),
    );
    found.percent(
        &format!("{PATH}.minHealthPercent"),
        detection.min_health_percent.as_ref(),
    );
    found.not_zero(&format!("{PATH}.interval"), detection.interval.as_ref());
    found.not_zero(
        &format!("{PATH}.baseEjectionTime"),
        detection.base_ejection_time.as_ref(),
    );
    let local = detection.consecutive_local_origin_failures.as_ref();
    if let Some(local) =
        local.filter(|_| detection.split_external_local_origin_errors != Some(true))
    {
        let what = format!(
            "{PATH}.consecutiveLocalOriginFailures: it counts only beside \
             splitExternalLocalOriginErrors: true"
        );
        found.add(
            Code::Meaningless,
            local.at,
            &what,
            "add that, or take this out",
        );
    }
}

fn client_tls(found: &mut Found<'_>, tls: &At<ClientTls>) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
    ];
    for (field, file) in files {
        let own = field != "caCertificates";
        match (file, tls.mode.value) {
            (None, TlsMode::Mutual) if own => {
                let what = format!("tls.{field}: mode MUTUAL needs it");
                found.add(
                    Code::TlsFiles,
                    tls.at,
                    &what,
                    "write the path of the file in the pod",
                );
            }
            (Some(file), TlsMode::Disable | TlsMode::IstioMutual) => {
                let what = format!("tls.{field}: it has no meaning in this mode");
                found.add(
                    Code::TlsFiles,
                    file.at,
                    &what,
                    "take it out, or use SIMPLE or MUTUAL",
                );
            }
            (Some(file), TlsMode::Simple) if own => {
                let what = format!("tls.{field}: mode SIMPLE shows no certificate");
                found.add(Code::TlsFiles, file.at, &what, "use MUTUAL, or take it out");
            }
            (Some(file), _) if !file.starts_with('/') => {
                let what = format!("tls.{field}: it is no path from `/`");
                found.add(
                    Code::TlsFiles,
                    file.at,
                    &what,
                    "write the path of the file in the pod",
                );
            }
            _ => {}
        }
    }
}

fn retry_budget(found: &mut Found<'_>, budget: &At<RetryBudget>) {
    if let Some(percent) = budget.percent.as_ref() {
        let (at, value) = (percent.at, percent.value);
        if !(value > 0.0 && value <= 100.0) {
            let what = format!("retryBudget.percent: {value} is not above 0 and up to 100");
            found.add(
                Code::BadPercentage,
                at,
                &what,
                "20 is the default; `retries: {attempts: 0}` of a route is none",
            );
        }
    }
    let least = budget.min_retry_concurrency.as_ref();
    if let Some(least) = least.filter(|least| least.value == 0) {
        let what = "retryBudget.minRetryConcurrency: it must be at least 1";
        found.add(Code::OutOfRange, least.at, what, "3 is the default");
    }
}
