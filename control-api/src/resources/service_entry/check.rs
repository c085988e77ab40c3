//! Mistakes that a ServiceEntry shows by itself: names that are none, endpoints that its resolution
//! cannot have, ranges of addresses, protocols that no sidecar speaks.

use std::collections::HashSet;

use super::{Endpoint, Resolution, ServiceEntry};
use crate::{
    check::Code,
    resources::{at::At, export::bad_exports, network::Network, virtual_service::bad_host},
    source::{decode::Problem, node::Position, suggest},
};

/// Protocols of `ports[].protocol`.
const PROTOCOLS: [&str; 10] = [
    "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS",
];

fn problem(code: Code, at: Position, reason: String, suggestion: &str) -> Problem {
    Problem::new(code, at, reason).suggest(suggestion)
}

pub(super) fn problems(spec: &ServiceEntry) -> Vec<Problem> {
    let mut found = Vec::new();
    hosts(spec, &mut found);
    for (i, text) in spec.addresses.iter().enumerate() {
        let shown = text.escape_debug();
        match Network::parse(text) {
            None => {
                let reason = format!("spec.addresses[{i}]: \"{shown}\" is no IP and no range");
                let instead = "write `10.0.0.1` or `10.0.0.0/8`";
                found.push(problem(Code::BadAddress, text.at, reason, instead));
            }
            Some(network) if network.single().is_none() && *spec.resolution != Resolution::None => {
                let reason = format!("spec.addresses[{i}]: {shown} is a range");
                let instead = "use resolution NONE, or single addresses";
                found.push(problem(Code::UnsupportedValue, text.at, reason, instead));
            }
            Some(_) => {}
        }
    }
    ports(spec, &mut found);
    found.extend(bad_exports(&spec.export_to));
    endpoints(spec, &mut found);
    found
}

pub(super) fn warnings(spec: &ServiceEntry) -> Vec<Problem> {
    let mut found = Vec::new();
    let first = spec.hosts.first().map(|host| host.at).unwrap_or_default();
    if spec.hosts.len() > 1 && !spec.addresses.is_empty() {
        let reason = "spec.hosts: several hosts share the addresses, so calls of these are those of \
                      the first host by name";
        let instead = "leave `addresses` out: each host is then given its own";
        found.push(problem(
            Code::SharedAddresses,
            first,
            reason.to_owned(),
            instead,
        ));
    }
    let is_static = *spec.resolution == Resolution::Static;
    if is_static && spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        let reason = "spec.resolution: STATIC without endpoints: every call fails".to_owned();
        let instead = "add `endpoints` or `workloadSelector`, or use DNS";
        found.push(problem(
            Code::NoEndpoints,
            spec.resolution.at,
            reason,
            instead,
        ));
    }
    if spec.ports.is_empty() {
        let reason = "spec.ports: there are none, so no call is one of it".to_owned();
        found.push(problem(Code::NoPorts, first, reason, "name the ports"));
    }
    found
}

fn hosts(spec: &ServiceEntry, found: &mut Vec<Problem>) {
    if spec.hosts.is_empty() {
        let reason = "spec.hosts: no host is named".into();
        found.push(problem(
            Code::Empty,
            Position::default(),
            reason,
            "name the service",
        ));
    }
    let mut known = HashSet::new();
    for (i, host) in spec.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{i}]");
        let shown = host.escape_debug();
        if let Some(reason) = bad_host(host, true) {
            found.push(problem(
                Code::BadHost,
                host.at,
                format!("{path}: {reason}"),
                "",
            ));
        } else if host.as_str() == "*" || !host.contains('.') {
            let reason = format!("{path}: \"{shown}\" is no full name");
            found.push(problem(
                Code::BadHost,
                host.at,
                reason,
                "write it with its domain",
            ));
        } else if !known.insert(host.to_ascii_lowercase()) {
            let reason = format!("{path}: \"{shown}\" is there twice");
            found.push(problem(
                Code::Repeated,
                host.at,
                reason,
                "take one of them out",
            ));
        } else if host.starts_with('*')
            && matches!(
                *spec.resolution,
                Resolution::Dns | Resolution::DnsRoundRobin
            )
            && spec.endpoints.is_empty()
        {
            let reason = format!("{path}: a pattern cannot be resolved");
            found.push(problem(
                Code::BadHost,
                host.at,
                reason,
                "use resolution NONE, or add endpoints",
            ));
        }
    }
}

fn ports(spec: &ServiceEntry, found: &mut Vec<Problem>) {
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    for (i, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        if port.number.value == 0 {
            let reason = format!("{path}.number: 0 is no port");
            found.push(problem(Code::BadPort, port.number.at, reason, ""));
        } else if !numbers.insert(port.number.value) {
            let reason = format!("{path}.number: {} is there twice", port.number.value);
            found.push(problem(
                Code::Repeated,
                port.number.at,
                reason,
                "take one of them out",
            ));
        }
        if !port.name.is_empty() && !names.insert(port.name.as_str()) {
            let reason = format!("{path}.name: `{}` is there twice", port.name.escape_debug());
            found.push(problem(
                Code::Repeated,
                port.at,
                reason,
                "rename one of them",
            ));
        }
        let protocol = port.protocol.as_ref();
        let unknown = |p: &&At<String>| !PROTOCOLS.contains(&p.to_ascii_uppercase().as_str());
        if let Some(protocol) = protocol.filter(unknown) {
            let reason = format!(
                "{path}.protocol: unknown protocol `{}`",
                protocol.escape_debug()
            );
            let instead = suggest::sentence(protocol, &PROTOCOLS);
            found.push(problem(Code::UnknownValue, protocol.at, reason, &instead));
        }
        if let Some(target) = port.target_port.as_ref().filter(|t| t.value == 0) {
            let reason = format!("{path}.targetPort: 0 is no port");
            found.push(problem(Code::BadPort, target.at, reason, ""));
        }
    }
}

fn endpoints(spec: &ServiceEntry, found: &mut Vec<Problem>) {
    if let Some(selector) = &spec.workload_selector {
        if !spec.endpoints.is_empty() {
            let reason = "spec.workloadSelector: endpoints are listed beside it".into();
            found.push(problem(
                Code::Exclusive,
                selector.at,
                reason,
                "take one of the two out",
            ));
        }
        if selector.labels.is_empty() {
            let reason = "spec.workloadSelector: it has no labels".into();
            found.push(problem(
                Code::Empty,
                selector.at,
                reason,
                "add `labels:` of the pods",
            ));
        }
        if *spec.resolution == Resolution::None {
            let reason = "spec.workloadSelector: with resolution NONE nobody is chosen".into();
            found.push(problem(
                Code::Meaningless,
                selector.at,
                reason,
                "use resolution STATIC",
            ));
        }
    }
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        one(spec, &format!("spec.endpoints[{i}]"), endpoint, found);
    }
}

fn one(spec: &ServiceEntry, path: &str, endpoint: &At<Endpoint>, found: &mut Vec<Problem>) {
    let text = &endpoint.address;
    let is_ip = text.parse::<std::net::IpAddr>().is_ok();
    let shown = text.escape_debug();
    match spec.resolution.value {
        Resolution::None => {
            let reason = format!("{path}: with resolution NONE the called address is used");
            found.push(problem(
                Code::Meaningless,
                endpoint.at,
                reason,
                "use resolution STATIC or DNS",
            ));
        }
        Resolution::Static if !is_ip => {
            let reason = format!("{path}.address: \"{shown}\" is no IP");
            found.push(problem(
                Code::BadAddress,
                text.at,
                reason,
                "use resolution DNS for names",
            ));
        }
        Resolution::Dns | Resolution::DnsRoundRobin if !is_ip => {
            if let Some(reason) = bad_host(text, false) {
                found.push(problem(
                    Code::BadHost,
                    text.at,
                    format!("{path}.address: {reason}"),
                    "",
                ));
            }
        }
        _ => {}
    }
    for (name, number) in &endpoint.ports {
        let path = format!("{path}.ports[\"{}\"]", name.escape_debug());
        if spec.ports.iter().all(|port| port.name != *name) {
            let names: Vec<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
            let reason = format!("{path}: there is no port of this name");
            found.push(problem(
                Code::BadHost,
                number.at,
                reason,
                &suggest::sentence(name, &names),
            ));
        }
        if number.value == 0 {
            found.push(problem(
                Code::BadPort,
                number.at,
                format!("{path}: 0 is no port"),
                "",
            ));
        }
    }
}
