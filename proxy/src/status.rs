//! What the sidecar tells people of itself, on its loopback admin endpoint.

use std::time::Instant;

use heddle_identity::tls::rfc3339;
use heddle_identity::workload::Workload;
use heddle_proxy_config::snapshot::{Address, Snapshot};
use heddle_proxy_config::store::ConfigStore;
use serde_json::{Value, json};

/// `GET /status`: certificate and configuration at a glance.
pub(crate) fn status(
    store: &ConfigStore,
    identity: &Workload,
    own: &str,
    started: Instant,
) -> Value {
    let config = store.status();
    let certificate = identity.status().borrow().clone();
    let validity = identity.tls().validity();
    json!({
        "identity": own,
        "certificate_expiry": validity.map(|v| rfc3339(&v.not_after)),
        "config_version": config.version,
        "pid": std::process::id(),
        "uptime_seconds": started.elapsed().as_secs(),
        "certificate": {
            "generation": certificate.generation,
            "not_before": validity.map(|v| rfc3339(&v.not_before)),
            "last_error": certificate.last_error.as_deref(),
        },
        "config": {
            "connected": config.connected,
            "resources": config.resources,
            "nacks": config.nacks.iter().map(|(kind, name, reason)| json!({
                "type": kind,
                "name": name,
                "reason": reason,
            })).collect::<Vec<_>>(),
        },
    })
}

/// `GET /config_dump`: everything that the data path would decide by.
pub(crate) fn config_dump(store: &ConfigStore) -> Value {
    let snapshot: &Snapshot = &store.snapshot().load_full();
    let addresses: serde_json::Map<String, Value> = snapshot
        .addresses
        .iter()
        .map(|(ip, address)| {
            let meaning = match &**address {
                Address::Service(name) => json!({"service": name.as_str()}),
                Address::Workload(pod) => json!({
                    "workload": pod.endpoint.workload.as_str(),
                    "headless": pod.headless.iter()
                        .map(|at| format!("{} is port {} of {}", at.number, at.port, at.service))
                        .collect::<Vec<_>>(),
                }),
                Address::Unknown => json!("unknown"),
                Address::Hidden(hidden) => json!({
                    "hidden": hidden.service.as_str(),
                    "by": &*hidden.by,
                }),
            };
            (ip.to_string(), meaning)
        })
        .collect();
    let endpoints: serde_json::Map<String, Value> = snapshot
        .endpoints
        .iter()
        .map(|(name, endpoints)| {
            let list: Vec<Value> = endpoints
                .endpoints
                .iter()
                .map(|e| {
                    json!({
                        "ip": e.ip,
                        "ports": e.target_ports,
                        "workload": e.workload.as_str(),
                        "identity": e.identity.as_ref().map(ToString::to_string),
                        "subsets": e.subsets.iter()
                            .filter_map(|i| endpoints.subset_names.get(*i))
                            .collect::<Vec<_>>(),
                    })
                })
                .collect();
            (name.to_string(), Value::Array(list))
        })
        .collect();
    let routes: serde_json::Map<String, Value> = snapshot
        .routes
        .iter()
        .map(|(name, table)| {
            let rules: Vec<Value> = table
                .http
                .rules()
                .iter()
                .map(|rule| {
                    json!({
                        "origin": rule.origin,
                        "destinations": rule.destinations.iter().map(|d| json!({
                            "service": d.service.as_str(),
                            "subset": d.subset,
                            "port": d.port,
                            "weight": d.weight,
                        })).collect::<Vec<_>>(),
                    })
                })
                .collect();
            (name.to_string(), Value::Array(rules))
        })
        .collect();
    json!({
        "version": &*snapshot.version,
        "addresses": addresses,
        "endpoints": endpoints,
        "routes": routes,
        "workload": snapshot.workload.as_ref().map(|w| json!({
            "name": w.name.as_str(),
            "mtls": format!("{:?}", w.mtls).to_uppercase(),
            "ports": w.ports.iter().map(|(number, port)| json!({
                "number": number,
                "protocol": format!("{:?}", port.protocol),
                "mtls": format!("{:?}", port.mtls).to_uppercase(),
                "service": port.service.as_ref().map(|s| s.as_str()),
            })).collect::<Vec<_>>(),
        })),
        "sampling_ppm": snapshot.telemetry.sampling_ppm,
    })
}
