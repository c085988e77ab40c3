//! The endpoints of a service: the union of its EndpointSlices, or, where it has a selector and no
//! slice, of the pods that it selects, as the EndpointSlice controller would make them. Only ready
//! ones; when all that are left are on their way out, those that still serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use heddle_proto::mesh::{self, Endpoint};

use super::{
    Client, Encoded, Model, protocol,
    workload::{shown_labels, target_number},
};
use crate::{
    name::NsName,
    resources::{
        endpoint_slice::SliceEndpoint,
        labels::Labels,
        service::{Service, ServicePort, TargetPort},
    },
};

/// Before it is known who is ready.
struct Candidate<'a> {
    address: IpAddr,
    pod: Option<&'a NsName>,
    target_ports: Vec<u32>,
    ready: bool,
    serving: bool,
    terminating: bool,
}

impl Model {
    /// The service itself, with the policies that the client sees.
    pub fn service_resource(&self, name: &NsName, client: &Client) -> Option<Arc<Encoded>> {
        let entry = self.services.get(name)?;
        let service = entry.object.service()?;
        let (own, namespace) = self.rules_variant(name, client);
        Some(entry.wire.get(own, || {
            Arc::new(Encoded::new(&self.wire_service(name, service, &namespace)))
        }))
    }

    /// Its endpoints, with the subsets that the client sees.
    pub fn endpoints(&self, name: &NsName, client: &Client) -> Option<Arc<Encoded>> {
        let entry = self.services.get(name)?;
        let service = entry.object.service()?;
        let (own, namespace) = self.rules_variant(name, client);
        Some(entry.endpoints.get(own, || {
            Arc::new(Encoded::new(
                &self.wire_endpoints(name, service, &namespace),
            ))
        }))
    }

    /// How many of the service's endpoints a subset has, ready or not.
    pub(super) fn subset_size(&self, name: &NsName, labels: &Labels) -> usize {
        let Some(service) = self.service(name) else {
            return 0;
        };
        let pods = self.candidates(name, service);
        let pods = pods.iter().filter_map(|candidate| self.pod(candidate.pod?));
        pods.filter(|pod| pod.labels.has_all(labels)).count()
    }

    /// Whose DestinationRules the client sees: those of its own namespace (then it is a variant of
    /// its own), else those of the service's.
    fn rules_variant(&self, name: &NsName, client: &Client) -> (Option<Arc<str>>, Arc<str>) {
        if self.sees_own_rules(name, &client.namespace) {
            (Some(client.namespace.clone()), client.namespace.clone())
        } else {
            (None, name.namespace().into())
        }
    }

    fn wire_service(&self, name: &NsName, service: &Service, namespace: &str) -> mesh::Service {
        let port = |port: &ServicePort| {
            let target = match port.target {
                TargetPort::Number(number) => number,
                TargetPort::Name(_) => port.number,
            };
            let protocol = protocol::of_port(
                port.app_protocol.as_deref(),
                &port.name,
                &[port.number, target],
            );
            mesh::Port {
                number: port.number.into(),
                name: port.name.as_ref().into(),
                protocol: protocol.into(),
            }
        };
        mesh::Service {
            namespace: name.namespace().into(),
            name: name.name().into(),
            addresses: service.addresses.iter().map(IpAddr::to_string).collect(),
            hosts: self.hosts().names(name),
            ports: service.ports.iter().map(port).collect(),
            policies: self.policies(name, namespace),
            ..mesh::Service::default()
        }
    }

    fn wire_endpoints(&self, name: &NsName, service: &Service, namespace: &str) -> mesh::Endpoints {
        let subsets = self.subsets(name, namespace);
        let priorities = self.priority_keys(name, namespace);
        let mut candidates = self.candidates(name, service);
        let is_up = |c: &Candidate<'_>| !c.terminating && (c.ready || service.publish_not_ready);
        if candidates.iter().any(is_up) {
            candidates.retain(is_up);
        } else {
            candidates.retain(|c| c.terminating && c.serving);
        }
        mesh::Endpoints {
            service_ports: service
                .ports
                .iter()
                .map(|port| port.number.into())
                .collect(),
            subset_names: subsets.iter().map(|(name, _)| (*name).to_owned()).collect(),
            endpoints: candidates
                .into_iter()
                .map(|c| self.wire_endpoint(c, &subsets, &priorities))
                .collect(),
        }
    }

    fn wire_endpoint(
        &self,
        candidate: Candidate<'_>,
        subsets: &[(&str, Labels)],
        priorities: &BTreeSet<&str>,
    ) -> Endpoint {
        let by_ip = || self.pod_at(candidate.address);
        let pod = candidate
            .pod
            .or_else(by_ip)
            .and_then(|name| Some((name, self.pod(name)?)));
        let mut endpoint = Endpoint {
            address: candidate.address.to_string(),
            target_ports: candidate.target_ports,
            ..Endpoint::default()
        };
        if let Some((name, pod)) = pod {
            endpoint.identity = self.expected_identity(name.namespace(), pod);
            endpoint.workload = name.to_string();
            endpoint.labels = shown_labels(pod);
            endpoint.owner = pod.owner.as_ref().into();
            endpoint.priority_labels = priorities
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), pod.labels.get(key)?.to_owned())))
                .collect();
            let within = subsets
                .iter()
                .enumerate()
                .filter(|(_, (_, labels))| pod.labels.has_all(labels));
            endpoint.subsets = within
                .filter_map(|(index, _)| u32::try_from(index).ok())
                .collect();
        }
        endpoint
    }

    /// By address, so that equal sets are equal messages.
    fn candidates<'a>(&'a self, name: &NsName, service: &'a Service) -> Vec<Candidate<'a>> {
        let mut found: BTreeMap<IpAddr, Candidate<'a>> = BTreeMap::new();
        match self.slices.get(name) {
            Some(slices) => {
                for slice in slices.values().filter_map(|object| object.slice()) {
                    let number = |port: &ServicePort| {
                        let found = slice.ports.iter().find(|(name, _)| *name == port.name);
                        found.map_or(0, |(_, number)| u32::from(*number))
                    };
                    let target_ports: Vec<u32> = service.ports.iter().map(number).collect();
                    for endpoint in &slice.endpoints {
                        merge(&mut found, self.of_slice(endpoint, target_ports.clone()));
                    }
                }
            }
            None => {
                for pod_name in self.members.get(name).iter().flat_map(|pods| pods.iter()) {
                    self.of_pod(pod_name, service)
                        .into_iter()
                        .for_each(|candidate| merge(&mut found, candidate));
                }
            }
        }
        one_family(found, service)
    }

    fn of_slice<'a>(&self, endpoint: &'a SliceEndpoint, target_ports: Vec<u32>) -> Candidate<'a> {
        // A pod that is gone or going says so sooner than its slice does.
        let terminating = endpoint
            .pod
            .as_ref()
            .and_then(|name| self.pod(name))
            .is_some_and(|pod| pod.terminating);
        Candidate {
            address: endpoint.address,
            pod: endpoint.pod.as_ref(),
            target_ports,
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating || terminating,
        }
    }

    fn of_pod<'a>(&'a self, name: &'a NsName, service: &Service) -> Vec<Candidate<'a>> {
        let Some(pod) = self.pod(name) else {
            return Vec::new();
        };
        let number = |port| target_number(port, pod).map_or(0, u32::from);
        let target_ports: Vec<u32> = service.ports.iter().map(number).collect();
        let candidate = |address: &IpAddr| Candidate {
            address: *address,
            pod: Some(name),
            target_ports: target_ports.clone(),
            ready: pod.ready,
            serving: pod.ready,
            terminating: pod.terminating,
        };
        pod.addresses.iter().map(candidate).collect()
    }
}

/// The same address twice (a slice for each port, two slices in a move) is one endpoint.
fn merge<'a>(found: &mut BTreeMap<IpAddr, Candidate<'a>>, new: Candidate<'a>) {
    match found.get_mut(&new.address) {
        None => {
            found.insert(new.address, new);
        }
        Some(known) => {
            for (port, other) in known.target_ports.iter_mut().zip(new.target_ports) {
                if *port == 0 {
                    *port = other;
                }
            }
            known.ready |= new.ready;
            known.serving |= new.serving;
            known.terminating &= new.terminating;
            known.pod = known.pod.or(new.pod);
        }
    }
}

/// A pod with an address of each family is still one endpoint: that of the service's first family.
fn one_family<'a>(found: BTreeMap<IpAddr, Candidate<'a>>, service: &Service) -> Vec<Candidate<'a>> {
    let mut all: Vec<_> = found.into_values().collect();
    let any_ipv4 = || all.iter().any(|c| c.address.is_ipv4());
    let wanted = service
        .addresses
        .first()
        .map_or_else(any_ipv4, IpAddr::is_ipv4);
    if all.iter().any(|c| c.address.is_ipv4() == wanted) {
        all.retain(|c| c.address.is_ipv4() == wanted);
    }
    all
}
