//! Pods: only what the mesh uses, interned; there may be 100,000.

use std::{net::IpAddr, sync::Arc};

use serde::Deserialize;

use super::{
    labels::{Interner, Labels},
    metadata::Metadata,
};

/// The annotation that the injector leaves: the pod has a sidecar.
pub const STATUS_ANNOTATION: &str = "heddle.io/status";

/// `spec:` and `status:` as written.
#[derive(Debug, Default, Deserialize)]
pub struct PodDocument {
    /// `spec:`.
    #[serde(default)]
    pub spec: PodSpec,
    /// `status:`.
    #[serde(default)]
    pub status: PodStatus,
}

/// `spec:`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    service_account_name: Option<String>,
    service_account: Option<String>,
    host_network: Option<bool>,
    node_name: Option<String>,
    hostname: Option<String>,
    subdomain: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
}

/// A container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    ports: Option<Vec<ContainerPortSpec>>,
}

/// A container's port.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPortSpec {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

/// `status:`.
#[derive(Debug, Default, Deserialize)]
pub struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
    conditions: Option<Vec<Condition>>,
}

/// One of the pod's addresses.
#[derive(Debug, Default, Deserialize)]
pub struct PodIp {
    #[serde(default)]
    ip: String,
}

/// A condition.
#[derive(Debug, Default, Deserialize)]
pub struct Condition {
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    status: String,
}

/// A pod, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its addresses; none before it has one, after it has ended, and on the host's network.
    pub addresses: Box<[IpAddr]>,
    /// All labels.
    pub labels: Labels,
    /// Its service account.
    pub service_account: Arc<str>,
    /// Whether it has a sidecar.
    pub meshed: bool,
    /// Its Ready condition.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// TCP ports that its containers name.
    pub ports: Arc<[ContainerPort]>,
    /// Name of the Deployment or the like.
    pub owner: Arc<str>,
    /// Name of its node.
    pub node: Option<Arc<str>>,
    /// "HOSTNAME.SERVICE" of a headless service, as pods of a StatefulSet have it.
    pub hostname: Option<Arc<str>>,
}

/// A port that a container names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// Its number.
    pub number: u16,
    /// Its name, or nothing.
    pub name: Box<str>,
}

impl PodDocument {
    /// Keeps what is used.
    pub fn build(self, metadata: &Metadata, interner: &mut Interner) -> Pod {
        let ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let mut addresses: Vec<IpAddr> = Vec::new();
        if !ended && self.spec.host_network != Some(true) {
            let listed = self
                .status
                .pod_ips
                .iter()
                .flatten()
                .map(|ip| ip.ip.as_str());
            for ip in listed
                .chain(self.status.pod_ip.as_deref())
                .filter_map(|ip| ip.parse().ok())
            {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
        }
        let hostname = self
            .spec
            .hostname
            .as_ref()
            .zip(self.spec.subdomain.as_ref());
        let hostname = hostname.map(|(host, service)| format!("{host}.{service}").into());
        let node = self
            .spec
            .node_name
            .as_deref()
            .map(|node| interner.string(node));
        let account = self.spec.service_account_name.or(self.spec.service_account);
        let account = account.filter(|name| !name.is_empty());
        let containers = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        let ports = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter(|port| {
                port.protocol
                    .as_deref()
                    .is_none_or(|protocol| protocol == "TCP")
            })
            .map(|port| ContainerPort {
                number: port.container_port,
                name: port.name.as_deref().unwrap_or_default().into(),
            })
            .collect();
        let ready = self
            .status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        Pod {
            addresses: addresses.into(),
            labels: interner.labels(metadata.labels.as_ref().unwrap_or(&Default::default())),
            service_account: interner.string(account.as_deref().unwrap_or("default")),
            meshed: metadata.annotation(STATUS_ANNOTATION).is_some(),
            ready: ready && !ended,
            terminating: metadata.deletion_timestamp.is_some(),
            ports,
            owner: interner.string(metadata.owner().as_deref().unwrap_or_default()),
            node,
            hostname,
        }
    }
}
