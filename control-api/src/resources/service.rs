//! Services. Strict, since people write them: every field of the API is named.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Deserializer, de};

use super::{
    at::{At, Ignored},
    labels::{Interner, Labels},
    network::Network,
};
use crate::check::Code;
use crate::source::decode::Problem;

/// `spec:` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // fields exist so that their names are known
pub struct ServiceSpec {
    /// Ports.
    #[serde(default)]
    pub ports: Vec<ServicePortSpec>,
    /// Pods behind it.
    pub selector: Option<BTreeMap<String, String>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<At<String>>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<At<String>>>,
    publish_not_ready_addresses: Option<bool>,
    #[serde(rename = "type")]
    type_: Option<String>,
    external_name: Option<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Ignored>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<Ignored>,
    load_balancer_class: Option<Ignored>,
    load_balancer_source_ranges: Option<Ignored>,
    session_affinity: Option<Ignored>,
    session_affinity_config: Option<Ignored>,
    external_traffic_policy: Option<Ignored>,
    internal_traffic_policy: Option<Ignored>,
    health_check_node_port: Option<Ignored>,
    allocate_load_balancer_node_ports: Option<Ignored>,
    ip_families: Option<Vec<IpFamily>>,
    ip_family_policy: Option<Ignored>,
    traffic_distribution: Option<Ignored>,
}

/// `ports[]` as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct ServicePortSpec {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub port: At<u16>,
    /// TCP when absent.
    pub protocol: Option<String>,
    /// Of the pods; the same number when absent.
    pub target_port: Option<TargetPort>,
    /// What is spoken there.
    pub app_protocol: Option<String>,
    node_port: Option<Ignored>,
}

/// A number, or the name of a container's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This number.
    Number(u16),
    /// The container port of this name.
    Name(Box<str>),
}

impl<'de> Deserialize<'de> for TargetPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TargetPortVisitor;

        impl de::Visitor<'_> for TargetPortVisitor {
            type Value = TargetPort;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a port number or a port's name")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<TargetPort, E> {
                u16::try_from(n)
                    .map(TargetPort::Number)
                    .map_err(|_| de::Error::invalid_value(de::Unexpected::Unsigned(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TargetPort, E> {
                Ok(TargetPort::Name(text.into()))
            }
        }

        deserializer.deserialize_any(TargetPortVisitor)
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum IpFamily {
    /// 32 bits.
    IPv4,
    /// 128 bits.
    IPv6,
}

impl IpFamily {
    /// Whether an address is of it.
    pub fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::IPv4)
    }
}

/// A service, as it is kept. Only its TCP ports are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Service IPs; none when headless.
    pub addresses: Vec<IpAddr>,
    /// By number.
    pub ports: Vec<ServicePort>,
    /// Pods behind it; None: someone else writes its EndpointSlices.
    pub selector: Option<Labels>,
    /// Whether pods that are not ready count.
    pub publish_not_ready: bool,
    /// Whether it is meant to have no Service IP.
    pub headless: bool,
    /// Whether it only stands for a name of elsewhere.
    pub external_name: bool,
    /// The families that a headless one's names stand for; None: every one.
    pub families: Option<Vec<IpFamily>>,
    /// What a ServiceEntry says beyond that; None: it is a Service.
    pub entry: Option<Arc<Entry>>,
}

/// What only a ServiceEntry can say of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where its endpoints come from.
    pub resolved: Resolved,
    /// Whether its endpoints may have sidecars.
    pub is_internal: bool,
    /// Namespaces that see it.
    pub export_to: Box<[At<String>]>,
    /// Ranges of addresses under which it is called.
    pub networks: Vec<Network>,
    /// Those that are listed.
    pub endpoints: Vec<EntryEndpoint>,
}

/// Where the endpoints of a ServiceEntry come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// They are listed by address, or selected.
    Listed,
    /// They are names, or addresses.
    Names,
    /// There are none: the address that was called.
    Called,
}

/// A listed endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryEndpoint {
    /// Where it is.
    pub address: EntryAddress,
    /// Its numbers of ports, by name.
    pub ports: Vec<(Box<str>, u16)>,
    /// Labels that subsets select by.
    pub labels: Labels,
    /// "REGION/ZONE/SUBZONE", or nothing.
    pub locality: Box<str>,
    /// Relative; 0: 1.
    pub weight: u32,
    /// Of a sidecar that is there, or nothing.
    pub service_account: Box<str>,
}

/// Where a listed endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryAddress {
    /// At this IP.
    Ip(IpAddr),
    /// Wherever this name says.
    Name(Box<str>),
}

impl EntryEndpoint {
    /// Wherever a host is, and nothing else is known.
    pub fn named(host: &str) -> Self {
        Self {
            address: EntryAddress::Name(host.to_ascii_lowercase().into()),
            ports: Vec::new(),
            labels: Labels::default(),
            locality: "".into(),
            weight: 0,
            service_account: "".into(),
        }
    }
}

/// A port.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// Its number.
    pub number: u16,
    /// Its name, or nothing.
    pub name: Box<str>,
    /// Of the pods.
    pub target: TargetPort,
    /// What is declared to be spoken there.
    pub app_protocol: Option<Box<str>>,
}

impl ServiceSpec {
    /// Checks, and keeps what is used.
    pub fn build(self, interner: &mut Interner) -> Result<Service, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut service = Service {
            selector: self
                .selector
                .filter(|s| !s.is_empty())
                .map(|s| interner.labels(&s)),
            external_name: self.type_.as_deref() == Some("ExternalName"),
            publish_not_ready: self.publish_not_ready_addresses.unwrap_or(false),
            families: self.ip_families.filter(|families| !families.is_empty()),
            ..Service::default()
        };
        for ip in self
            .cluster_ips
            .into_iter()
            .flatten()
            .chain(self.cluster_ip)
        {
            match ip.parse::<IpAddr>() {
                Ok(ip) if !service.addresses.contains(&ip) => service.addresses.push(ip),
                Ok(_) => {}
                Err(_) if ip.as_str() == "None" => service.headless = true,
                Err(_) if ip.is_empty() => {}
                Err(_) => {
                    let reason =
                        format!("spec.clusterIP: \"{}\" is no IP address", ip.escape_debug());
                    let instead = "leave it out, or write `None` for a headless service";
                    problems.push(Problem::new(Code::BadAddress, ip.at, reason).suggest(instead));
                }
            }
        }
        for (i, port) in self.ports.into_iter().enumerate() {
            if port.port.value == 0 {
                let reason = format!("spec.ports[{i}].port: 0 is no port");
                problems.push(Problem::new(Code::BadPort, port.port.at, reason));
                continue;
            }
            if port.protocol.is_some_and(|protocol| protocol != "TCP") {
                continue;
            }
            service.ports.push(ServicePort {
                number: port.port.value,
                name: port.name.unwrap_or_default().into(),
                target: port
                    .target_port
                    .unwrap_or(TargetPort::Number(port.port.value)),
                app_protocol: port.app_protocol.map(Into::into),
            });
        }
        service.ports.sort_by_key(|port| port.number);
        service.ports.dedup_by_key(|port| port.number);
        if problems.is_empty() {
            Ok(service)
        } else {
            Err(problems)
        }
    }
}
