//! A service and its endpoints as they are sent: those that are ready, and, marked as such, those that
//! are on their way out and still serve.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use heddle_proto::mesh::{self, Endpoint, Health};

use super::{
    Client, Encoded, Model, candidates::Candidate, entries::resolution, workload::shown_labels,
};
use crate::{
    name::NsName,
    resources::{
        labels::Labels,
        service::{Service, ServicePort, TargetPort},
    },
};

impl Model {
    /// The service itself, with the policies that the client sees.
    pub fn service_resource(&self, name: &NsName, client: &Client) -> Option<Arc<Encoded>> {
        let entry = self.services.get(name)?;
        let service = &*entry.service;
        let (own, namespace) = self.rules_variant(name, client);
        Some(entry.wire.get(own, || {
            Arc::new(Encoded::new(&self.wire_service(name, service, &namespace)))
        }))
    }

    /// Its endpoints, with the subsets that the client sees.
    pub fn endpoints(&self, name: &NsName, client: &Client) -> Option<Arc<Encoded>> {
        let entry = self.services.get(name)?;
        let service = &*entry.service;
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
        let pods = pods.filter(|pod| pod.labels.has_all(labels)).count();
        let listed = service.entry.iter().flat_map(|entry| &entry.endpoints);
        pods + listed
            .filter(|endpoint| endpoint.labels.has_all(labels))
            .count()
    }

    /// Whose DestinationRules and GRPCRoutes the client sees: those of its own namespace (then it is a
    /// variant of its own), else those of the service's.
    fn rules_variant(&self, name: &NsName, client: &Client) -> (Option<Arc<str>>, Arc<str>) {
        let namespace = &client.namespace;
        if self.sees_own_rules(name, namespace) || self.has_own_grpc_routes(name, namespace) {
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
            let protocol = self.port_protocol(name, port, target, namespace);
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
            resolution: resolution(service).into(),
        }
    }

    fn wire_endpoints(&self, name: &NsName, service: &Service, namespace: &str) -> mesh::Endpoints {
        let subsets = self.subsets(name, namespace);
        let priorities = self.priority_keys(name, namespace);
        let mut candidates = self.candidates(name, service);
        candidates.retain(|c| c.is_up(service) || c.is_draining());
        let is_external = service
            .entry
            .as_ref()
            .is_some_and(|entry| !entry.is_internal);
        let selected = candidates.into_iter().map(|candidate| {
            let mut endpoint = self.wire_endpoint(candidate, &subsets, &priorities);
            if is_external {
                endpoint.identity.clear();
            }
            endpoint
        });
        let mut endpoints: Vec<Endpoint> = selected.collect();
        if let Some(entry) = &service.entry {
            endpoints.extend(self.listed(name, service, entry, &subsets, &priorities));
        }
        mesh::Endpoints {
            service_ports: service
                .ports
                .iter()
                .map(|port| port.number.into())
                .collect(),
            subset_names: subsets.iter().map(|(name, _)| (*name).to_owned()).collect(),
            endpoints,
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
        let health = match candidate.is_draining() {
            true => Health::Draining,
            false => Health::Unspecified,
        };
        let mut endpoint = Endpoint {
            address: candidate.address.to_string(),
            locality: candidate.place(),
            target_ports: candidate.target_ports,
            health: health.into(),
            ..Endpoint::default()
        };
        if let Some((name, pod)) = pod {
            endpoint.identity = self.expected_identity(name.namespace(), pod);
            endpoint.plain_ports = self.plain_ports(name.namespace(), pod);
            endpoint.workload = name.to_string();
            endpoint.labels = shown_labels(pod);
            endpoint.owner = pod.owner.as_ref().into();
            let place = self.locality(pod);
            if !place.is_empty() {
                endpoint.locality = place;
            }
            endpoint.priority_labels =
                self.priority_labels(&pod.labels, &endpoint.locality, priorities);
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
}
