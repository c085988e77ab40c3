//! Who may be an endpoint of a service: the union of its EndpointSlices, or, where it has a selector
//! and no slice, the pods that it selects, as the EndpointSlice controller would make them.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Model, workload::target_number};
use crate::{
    name::NsName,
    resources::{
        endpoint_slice::SliceEndpoint,
        service::{Service, ServicePort},
    },
};

/// Before it is known who is ready.
pub(super) struct Candidate<'a> {
    pub(super) address: IpAddr,
    pub(super) pod: Option<&'a NsName>,
    pub(super) target_ports: Vec<u32>,
    ready: bool,
    serving: bool,
    terminating: bool,
    /// Hostname below the service's name.
    hostname: Option<&'a str>,
    zone: Option<&'a str>,
}

impl Candidate<'_> {
    /// Whether it is chosen.
    pub(super) fn is_up(&self, service: &Service) -> bool {
        !self.terminating && (self.ready || service.publish_not_ready)
    }

    /// Whether it is on its way out and still answers.
    pub(super) fn is_draining(&self) -> bool {
        self.terminating && self.serving
    }

    /// Where it is, if only its slice says so.
    pub(super) fn place(&self) -> String {
        self.zone.map(|zone| format!("/{zone}")).unwrap_or_default()
    }
}

impl Model {
    /// By address, so that equal sets are equal messages.
    pub(super) fn candidates<'a>(
        &'a self,
        name: &NsName,
        service: &'a Service,
    ) -> Vec<Candidate<'a>> {
        one_family(self.all_candidates(name, service), service)
    }

    /// Addresses of those that are chosen, of both families; of a hostname alone.
    pub(super) fn ready_addresses(
        &self,
        name: &NsName,
        service: &Service,
        hostname: Option<&str>,
    ) -> Vec<IpAddr> {
        let all = self.all_candidates(name, service).into_values();
        let up = all.filter(|c| c.is_up(service));
        let wanted = up.filter(|c| hostname.is_none() || c.hostname == hostname);
        wanted.map(|candidate| candidate.address).collect()
    }

    /// Addresses of all, of both families.
    pub(super) fn every_address(&self, name: &NsName, service: &Service) -> Vec<IpAddr> {
        self.all_candidates(name, service).into_keys().collect()
    }

    fn all_candidates<'a>(
        &'a self,
        name: &NsName,
        service: &'a Service,
    ) -> BTreeMap<IpAddr, Candidate<'a>> {
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
                    self.of_pod(pod_name, name, service)
                        .into_iter()
                        .for_each(|candidate| merge(&mut found, candidate));
                }
            }
        }
        found
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
            hostname: endpoint.hostname.as_deref(),
            zone: endpoint.zone.as_deref(),
        }
    }

    fn of_pod<'a>(
        &'a self,
        name: &'a NsName,
        of: &NsName,
        service: &Service,
    ) -> Vec<Candidate<'a>> {
        let Some(pod) = self.pod(name) else {
            return Vec::new();
        };
        let number = |port| target_number(port, pod).map_or(0, u32::from);
        let target_ports: Vec<u32> = service.ports.iter().map(number).collect();
        let hostname = pod.hostname.as_deref();
        let hostname = hostname.and_then(|host| host.strip_suffix(of.name())?.strip_suffix('.'));
        let candidate = |address: &IpAddr| Candidate {
            address: *address,
            pod: Some(name),
            target_ports: target_ports.clone(),
            ready: pod.ready,
            serving: pod.ready,
            terminating: pod.terminating,
            hostname,
            zone: None,
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
            known.hostname = known.hostname.or(new.hostname);
            known.zone = known.zone.or(new.zone);
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
