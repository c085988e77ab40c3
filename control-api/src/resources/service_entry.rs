//! Istio's ServiceEntry (networking.istio.io): services that the mesh does not run, or that no
//! Service stands for. Each of its hosts becomes a service of the model, so that routes and rules
//! apply to it.

mod check;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Deserialize;

use super::{
    at::{At, Unsupported},
    labels::Labels,
    network::Network,
    service::{Entry, EntryAddress, EntryEndpoint, Resolved, Service, ServicePort, TargetPort},
};
use crate::source::decode::Problem;

/// `spec:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Its names: each is a service.
    pub hosts: Vec<At<String>>,
    /// IPs, and ranges of them, under which it is called.
    #[serde(default)]
    pub addresses: Vec<At<String>>,
    /// Ports.
    #[serde(default)]
    pub ports: Vec<At<Port>>,
    /// Whether it is part of the mesh.
    #[serde(default)]
    pub location: Location,
    /// Where its endpoints come from.
    #[serde(default)]
    pub resolution: At<Resolution>,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<At<Endpoint>>,
    /// Pods that are its endpoints.
    pub workload_selector: Option<At<WorkloadSelector>>,
    /// Namespaces that see it: `*` or `.`.
    #[serde(default)]
    pub export_to: Vec<At<String>>,
    subject_alt_names: Option<Unsupported>,
}

/// `ports[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its number.
    pub number: At<u16>,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What is spoken there.
    pub protocol: Option<At<String>>,
    /// Of the endpoints; the same number when absent.
    pub target_port: Option<At<u16>>,
}

/// `location:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Plain, as far as the mesh is concerned.
    #[default]
    MeshExternal,
    /// Its endpoints may have sidecars.
    MeshInternal,
}

/// `resolution:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The address that was called.
    #[default]
    None,
    /// The endpoints, by address.
    Static,
    /// The endpoints' names, or the host's, are resolved.
    Dns,
    /// The same.
    DnsRoundRobin,
}

/// `endpoints[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// An IP, or with resolution DNS a name.
    pub address: At<String>,
    /// By name of the port.
    #[serde(default)]
    pub ports: BTreeMap<String, At<u16>>,
    /// Labels that subsets select by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// "REGION/ZONE/SUBZONE".
    #[serde(default)]
    pub locality: String,
    /// Relative.
    pub weight: Option<At<u32>>,
    /// Of a sidecar that is there.
    #[serde(default)]
    pub service_account: String,
    network: Option<Unsupported>,
}

/// `workloadSelector:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct WorkloadSelector {
    /// All of these.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl ServiceEntry {
    /// Whether a host needs an address of the mesh's own, so that calls of it can be told.
    pub fn needs_address(&self, host: &str) -> bool {
        self.addresses.is_empty() && *self.resolution != Resolution::None && !host.starts_with('*')
    }

    /// The service that a host of it is; `allotted` are its addresses where it names none.
    pub fn service(&self, host: &str, allotted: &[IpAddr]) -> Service {
        let written = self
            .addresses
            .iter()
            .filter_map(|text| Network::parse(text));
        let mut addresses: Vec<IpAddr> = written.clone().filter_map(Network::single).collect();
        if self.addresses.is_empty() {
            addresses = allotted.to_vec();
        }
        let networks = written.filter(|network| network.single().is_none());
        let mut ports: Vec<ServicePort> = self.ports.iter().map(|port| port.build()).collect();
        ports.sort_by_key(|port| port.number);
        let labels = self.workload_selector.as_ref();
        let endpoints = match (self.resolution.value, self.endpoints.as_slice()) {
            (Resolution::Dns | Resolution::DnsRoundRobin, []) if labels.is_none() => {
                vec![EntryEndpoint::named(host)]
            }
            (_, endpoints) => endpoints.iter().map(|endpoint| endpoint.build()).collect(),
        };
        Service {
            addresses,
            ports,
            selector: labels.map(|selector| Labels::from(&selector.labels)),
            entry: Some(Arc::new(Entry {
                resolved: match self.resolution.value {
                    Resolution::None => Resolved::Called,
                    Resolution::Static => Resolved::Listed,
                    Resolution::Dns | Resolution::DnsRoundRobin => Resolved::Names,
                },
                is_internal: self.location == Location::MeshInternal,
                export_to: self.export_to.as_slice().into(),
                networks: networks.collect(),
                endpoints,
            })),
            ..Service::default()
        }
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        check::problems(self)
    }

    /// What is in force of it and hardly meant.
    pub fn warnings(&self) -> Vec<Problem> {
        check::warnings(self)
    }
}

impl Port {
    fn build(&self) -> ServicePort {
        let target = self.target_port.as_ref().unwrap_or(&self.number);
        let protocol = self.protocol.as_ref();
        ServicePort {
            number: self.number.value,
            name: self.name.as_str().into(),
            target: TargetPort::Number(target.value),
            app_protocol: protocol.map(|protocol| protocol.to_ascii_lowercase().into()),
        }
    }
}

impl Endpoint {
    fn build(&self) -> EntryEndpoint {
        let address = match self.address.parse() {
            Ok(ip) => EntryAddress::Ip(ip),
            Err(_) => EntryAddress::Name(self.address.to_ascii_lowercase().into()),
        };
        let ports = self.ports.iter();
        EntryEndpoint {
            address,
            ports: ports
                .map(|(name, number)| (name.as_str().into(), number.value))
                .collect(),
            labels: Labels::from(&self.labels),
            locality: self.locality.as_str().into(),
            weight: self.weight.as_ref().map_or(0, |weight| weight.value),
            service_account: self.service_account.as_str().into(),
        }
    }
}
