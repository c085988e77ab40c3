//! What an IP stands for: a Service IP, else a pod (and its headless services), else nothing the mesh
//! knows. Where several pods
//! claim one (an old pod that still lingers), the one that is alive and ready has it.

use std::net::IpAddr;

use heddle_proto::mesh::{self, Endpoint, Port, Protocol, address::Kind};

use super::{Client, Encoded, Model, hosts::is_external, workload::shown_labels};
use crate::name::NsName;

/// Who has an address, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners {
    pub(super) services: Vec<NsName>,
    pub(super) pods: Vec<NsName>,
}

impl Model {
    /// The service whose IP this is for a client that sees it: a Service's, else a ServiceEntry's,
    /// its own namespace's first. An address of a pod or of a Service, seen or not, is never that of
    /// another namespace's ServiceEntry, nor of a range.
    pub fn service_at(&self, ip: IpAddr, client: &Client) -> Option<&NsName> {
        let namespace = &*client.namespace;
        let owners = self.addresses.get(&ip);
        let services = owners.into_iter().flat_map(|owners| &owners.services);
        let is_taken = owners.is_some_and(|owners| {
            !owners.pods.is_empty() || owners.services.iter().any(|name| !is_external(name))
        });
        let is_foreign = |name: &NsName| is_external(name) && name.namespace() != namespace;
        let visible = services
            .filter(|name| self.is_visible(name, namespace) && self.sees(client, name))
            .filter(|name| !(is_taken && is_foreign(name)));
        let rank = |name| (is_external(name), self.claim(name, namespace));
        let found = visible.min_by(|a, b| rank(*a).cmp(&rank(*b)));
        let of_network = || {
            let network = self.network_at(ip, namespace).filter(|_| !is_taken);
            network.filter(|name| self.sees(client, name))
        };
        found.or_else(of_network)
    }

    /// The service at an address that its Sidecar hides from a client.
    fn hidden_at(&self, ip: IpAddr, client: &Client) -> Option<mesh::Hidden> {
        let namespace = &*client.namespace;
        let services = self.addresses.get(&ip).into_iter();
        let services = services.flat_map(|owners| &owners.services);
        let known = services.filter(|name| self.is_visible(name, namespace));
        let rank = |name| (is_external(name), self.claim(name, namespace));
        let first = known.min_by(|a, b| rank(*a).cmp(&rank(*b)));
        self.hidden_service(first.or_else(|| self.network_at(ip, namespace))?, client)
    }

    /// The pod whose IP this is.
    pub fn pod_at(&self, ip: IpAddr) -> Option<&NsName> {
        let pods = &self.addresses.get(&ip)?.pods;
        pods.iter().min_by_key(|name| {
            let pod = self.pod(name);
            (
                pod.is_none_or(|pod| pod.terminating),
                pod.is_none_or(|pod| !pod.ready),
            )
        })
    }

    /// The services that whoever calls an address may mean.
    pub fn services_behind(&self, ip: IpAddr, client: &Client) -> Box<[NsName]> {
        if let Some(service) = self.service_at(ip, client) {
            return Box::new([service.clone()]);
        }
        let mut services = self.headless_services(ip, client);
        services.sort_unstable();
        services.dedup();
        services.into()
    }

    /// The answer to a subscription to an address.
    pub fn address(&self, ip: IpAddr, client: &Client) -> Encoded {
        let of = |kind| mesh::Address {
            kind: Some(kind),
            ..mesh::Address::default()
        };
        if let Some(service) = self.service_at(ip, client) {
            return Encoded::new(&of(Kind::Service(service.to_string())));
        }
        let pod = self
            .pod_at(ip)
            .and_then(|name| Some((name, self.pod(name)?)));
        let Some((name, pod)) = pod else {
            return Encoded::new(&mesh::Address {
                hidden: self.hidden_at(ip, client),
                ..of(Kind::Unknown(mesh::Unknown {}))
            });
        };
        let endpoint = Endpoint {
            address: ip.to_string(),
            identity: self.expected_identity(name.namespace(), pod),
            plain_ports: self.plain_ports(name.namespace(), pod),
            workload: name.to_string(),
            labels: shown_labels(pod),
            owner: pod.owner.as_ref().into(),
            locality: self.locality(pod),
            ..Endpoint::default()
        };
        let inbound = self.inbound_ports(name, pod);
        let headless = self.headless(ip, name, pod, &inbound, client);
        let declared = inbound.iter();
        let declared = declared.filter(|port| port.protocol() != Protocol::Unspecified);
        let mut workload_ports: Vec<Port> = declared
            .map(|port| Port {
                number: port.number,
                name: String::new(),
                protocol: port.protocol,
            })
            .collect();
        workload_ports.sort_by_key(|port| port.number);
        Encoded::new(&mesh::Address {
            workload_ports,
            headless,
            hidden: self.hidden_headless(name, pod, client),
            ..of(Kind::Workload(endpoint))
        })
    }
}
