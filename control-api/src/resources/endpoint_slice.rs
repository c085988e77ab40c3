//! EndpointSlices: only what the mesh uses.

use std::net::IpAddr;

use serde::Deserialize;

use super::metadata::Metadata;
use crate::name::NsName;

/// The label that names the service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The document but for its metadata, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceDocument {
    endpoints: Option<Vec<EndpointSpec>>,
    ports: Option<Vec<PortSpec>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointSpec {
    #[serde(default)]
    addresses: Vec<String>,
    conditions: Option<Conditions>,
    target_ref: Option<TargetRef>,
    hostname: Option<String>,
    zone: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct TargetRef {
    kind: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct PortSpec {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

/// A slice, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Whose endpoints these are.
    pub service: NsName,
    /// Name of the service's port, and the number behind it.
    pub ports: Box<[(Box<str>, u16)]>,
    /// Endpoints.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    /// Its address; of several only the first counts, as everywhere in Kubernetes.
    pub address: IpAddr,
    /// The pod, where it is one.
    pub pod: Option<NsName>,
    /// Nil is ready.
    pub ready: bool,
    /// Nil is as ready.
    pub serving: bool,
    /// Being deleted.
    pub terminating: bool,
    /// Its name below the service's.
    pub hostname: Option<Box<str>>,
    /// Where it is.
    pub zone: Option<Box<str>>,
}

impl SliceDocument {
    /// Keeps what is used; None when it belongs to no service.
    pub fn build(self, namespace: &str, metadata: &Metadata) -> Option<EndpointSlice> {
        let service = metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
        let service = NsName::new(namespace, service)?;
        let ports = self.ports.unwrap_or_default();
        let ports = ports
            .into_iter()
            .filter(|port| {
                port.protocol
                    .as_deref()
                    .is_none_or(|protocol| protocol == "TCP")
            })
            .filter_map(|port| Some((port.name.unwrap_or_default().into(), port.port?)))
            .collect();
        let endpoints = self.endpoints.unwrap_or_default();
        let endpoints = endpoints
            .into_iter()
            .filter_map(|endpoint| endpoint.build(namespace))
            .collect();
        Some(EndpointSlice {
            service,
            ports,
            endpoints,
        })
    }
}

impl EndpointSpec {
    fn build(self, namespace: &str) -> Option<SliceEndpoint> {
        let address = self.addresses.first()?.parse().ok()?;
        let conditions = self.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let pod = self
            .target_ref
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .and_then(|target| {
                NsName::new(
                    target.namespace.as_deref().unwrap_or(namespace),
                    target.name.as_deref()?,
                )
            });
        Some(SliceEndpoint {
            address,
            pod,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            hostname: self.hostname.map(Into::into),
            zone: self.zone.map(Into::into),
        })
    }
}
