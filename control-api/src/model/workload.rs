//! What a pod is: its identity, what it shows of itself, and its inbound ports from the services
//! that select it, then from the port names of its containers.

use std::collections::BTreeMap;

use heddle_identity::SpiffeId;
use heddle_proto::mesh::{InboundPort, MtlsMode, Protocol, Workload};

use super::{Encoded, Model, protocol};
use crate::{
    name::NsName,
    resources::{
        labels::Labels,
        pod::Pod,
        service::{ServicePort, TargetPort},
    },
};

/// Labels that telemetry shows.
const SHOWN_LABELS: [&str; 2] = ["app", "version"];
const NAME_LABEL: &str = "app.kubernetes.io/name";
const VERSION_LABEL: &str = "app.kubernetes.io/version";

impl Model {
    /// What the proxy of this pod must know of it.
    pub fn workload(&self, name: &NsName) -> Option<Encoded> {
        let pod = self.pod(name)?;
        let modes = self.modes(name.namespace(), pod);
        let mut ports = self.inbound_ports(name, pod);
        for (number, _) in &modes.ports {
            if ports.iter().all(|port| port.number != u32::from(*number)) {
                ports.push(InboundPort {
                    number: (*number).into(),
                    ..InboundPort::default()
                });
            }
        }
        for port in &mut ports {
            let number = u16::try_from(port.number).unwrap_or_default();
            let decided = modes.of(number);
            port.set_mtls(decided.mode);
            port.mtls_origin.clone_from(&decided.origin);
        }
        ports.sort_by_key(|port| port.number);
        let locality = self.locality(pod);
        Some(Encoded::new(&Workload {
            namespace: name.namespace().into(),
            name: name.name().into(),
            identity: self.identity(name.namespace(), pod),
            ports,
            mtls: modes.default.mode.into(),
            mtls_origin: modes.default.origin,
            labels: shown_labels(pod),
            owner: pod.owner.as_ref().into(),
            priority_labels: self.all_labels(pod, &locality),
            locality,
            outbound: self.outbound(name.namespace(), pod).into(),
        }))
    }

    /// The pod's SPIFFE id, sidecar or not. Empty when its names fit into none.
    pub(super) fn identity(&self, namespace: &str, pod: &Pod) -> String {
        SpiffeId::for_service_account(&self.settings.trust_domain, namespace, &pod.service_account)
            .map(|id| id.as_str().to_owned())
            .unwrap_or_default()
    }

    /// Whom to expect at the pod; empty: nobody who speaks mesh TLS.
    pub(super) fn expected_identity(&self, namespace: &str, pod: &Pod) -> String {
        if pod.meshed && self.modes(namespace, pod).default.mode != MtlsMode::Disable {
            self.identity(namespace, pod)
        } else {
            String::new()
        }
    }

    /// Ports of the pod where no mesh TLS is spoken, though there is an identity to expect.
    pub(super) fn plain_ports(&self, namespace: &str, pod: &Pod) -> Vec<u32> {
        let modes = self.modes(namespace, pod);
        if !pod.meshed || modes.default.mode == MtlsMode::Disable {
            return Vec::new();
        }
        let plain = modes.ports.iter();
        let plain = plain.filter(|(_, decided)| decided.mode == MtlsMode::Disable);
        plain.map(|(port, _)| (*port).into()).collect()
    }

    /// Services that select the pod, by name.
    pub(super) fn services_of<'a>(
        &'a self,
        name: &'a NsName,
        pod: &'a Pod,
    ) -> impl Iterator<Item = &'a NsName> {
        let mut found: Vec<&NsName> = pod
            .labels
            .entries()
            .iter()
            .filter_map(|(key, value)| {
                self.selectors
                    .get(selector_key(name.namespace(), key, value).as_str())
            })
            .flat_map(|services| services.iter())
            .filter(|service| {
                let selector = self
                    .service(service)
                    .and_then(|service| service.selector.as_ref());
                selector.is_some_and(|selector| pod.labels.has_all(selector))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter()
    }

    /// Ports without their mode; those of services first, a declared protocol before none.
    pub(super) fn inbound_ports(&self, name: &NsName, pod: &Pod) -> Vec<InboundPort> {
        let mut ports: Vec<InboundPort> = Vec::new();
        for service_name in self.services_of(name, pod) {
            let Some(service) = self.service(service_name) else {
                continue;
            };
            for port in &service.ports {
                let Some(number) = target_number(port, pod) else {
                    continue;
                };
                let protocol = self.port_protocol(service_name, port, number, name.namespace());
                let new = InboundPort {
                    number: number.into(),
                    protocol: protocol.into(),
                    mtls: MtlsMode::Unspecified.into(),
                    service: service_name.to_string(),
                    mtls_origin: String::new(),
                };
                match ports.iter_mut().find(|known| known.number == new.number) {
                    None => ports.push(new),
                    Some(known) if known.protocol() == Protocol::Unspecified => *known = new,
                    Some(_) => {}
                }
            }
        }
        for port in pod.ports.iter() {
            let number = u32::from(port.number);
            let protocol = protocol::of_port(None, &port.name, &[port.number]);
            match ports.iter_mut().find(|known| known.number == number) {
                Some(known) if known.protocol() == Protocol::Unspecified => {
                    known.set_protocol(protocol)
                }
                Some(_) => {}
                None => ports.push(InboundPort {
                    number,
                    protocol: protocol.into(),
                    mtls: MtlsMode::Unspecified.into(),
                    service: String::new(),
                    mtls_origin: String::new(),
                }),
            }
        }
        ports
    }
}

/// Key of `Model::selectors`.
pub(super) fn selector_key(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}/{key}={value}")
}

/// The pod's number of a service's port.
pub(super) fn target_number(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod
            .ports
            .iter()
            .find(|port| port.name == *name)
            .map(|port| port.number),
    }
}

/// The few labels that telemetry shows; the recommended names stand in for the customary ones.
pub(super) fn shown_labels(pod: &Pod) -> BTreeMap<String, String> {
    shown_of(&pod.labels)
}

/// The same of any labels.
pub(super) fn shown_of(labels: &Labels) -> BTreeMap<String, String> {
    let instead = [NAME_LABEL, VERSION_LABEL];
    SHOWN_LABELS
        .iter()
        .zip(instead)
        .filter_map(|(label, instead)| {
            let value = labels.get(label).or_else(|| labels.get(instead))?;
            Some(((*label).to_owned(), value.to_owned()))
        })
        .collect()
}
