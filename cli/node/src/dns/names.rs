//! The names cluster DNS knows, as Kubernetes' DNS specification gives them to Services.
//!
//! A snapshot: whoever watches Services and pods builds a new one and sends it. Names are absolute,
//! lower-case, without the final dot.

use std::{collections::HashMap, net::IpAddr};

/// Every name, absolute, lower-case, without the final dot.
pub type Names = HashMap<String, Entry>;

/// What one name stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// A and AAAA records.
    pub addresses: Vec<IpAddr>,
    /// SRV records: target name and port.
    pub services: Vec<(String, u16)>,
    /// Another name that this one stands for (`type: ExternalName`).
    pub alias: Option<String>,
}

/// One pod behind a headless Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its `hostname` when it has one and the Service is its `subdomain`, else none.
    pub hostname: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A Service as DNS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNames<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its Service IPs; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ready pods; read for a headless Service only.
    pub members: Vec<Member>,
    /// Its ports: name, protocol (`TCP`), number.
    pub ports: Vec<(Option<&'a str>, &'a str, u16)>,
    /// Where an ExternalName Service points.
    pub external_name: Option<&'a str>,
}

/// Adds the names of one Service: its own, its ports' SRV names, its members'.
pub fn add_service(names: &mut Names, cluster_domain: &str, service: &ServiceNames<'_>) {
    let own = format!(
        "{}.{}.svc.{cluster_domain}",
        service.name, service.namespace
    )
    .to_ascii_lowercase();
    if let Some(target) = service.external_name {
        let alias = Some(target.trim_end_matches('.').to_ascii_lowercase());
        names.insert(
            own,
            Entry {
                alias,
                ..Entry::default()
            },
        );
        return;
    }
    let mut targets = Vec::new();
    let mut addresses = service.cluster_ips.clone();
    if addresses.is_empty() {
        for member in &service.members {
            addresses.extend(&member.addresses);
            let label = member
                .hostname
                .clone()
                .or_else(|| address_label(&member.addresses));
            if let Some(label) = label {
                let name = format!("{label}.{own}").to_ascii_lowercase();
                let entry = Entry {
                    addresses: member.addresses.clone(),
                    ..Entry::default()
                };
                names.insert(name.clone(), entry);
                targets.push(name);
            }
        }
    } else {
        targets.push(own.clone());
    }
    for (name, protocol, port) in &service.ports {
        if let Some(name) = name {
            let label = format!("_{name}._{protocol}.{own}").to_ascii_lowercase();
            let services = targets
                .iter()
                .map(|target| (target.clone(), *port))
                .collect();
            names.insert(
                label,
                Entry {
                    services,
                    ..Entry::default()
                },
            );
        }
    }
    names.insert(
        own,
        Entry {
            addresses,
            ..Entry::default()
        },
    );
}

/// A pod without a hostname is named after its address, as CoreDNS does.
fn address_label(addresses: &[IpAddr]) -> Option<String> {
    addresses
        .first()
        .map(|ip| ip.to_string().replace(['.', ':'], "-"))
}
