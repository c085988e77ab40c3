//! Headless services at the addresses of their pods. Their names stand for these addresses, so it is by
//! what is called there, and by the host that is named, that they are told apart. A client is told of
//! those alone of which routes or policies say something to it: without them the pod is the pod.

use std::net::IpAddr;

use heddle_proto::mesh::{Headless, InboundPort};

use super::{Client, Model, workload::target_number};
use crate::{
    name::NsName,
    resources::{pod::Pod, service::Service},
};

/// A port of a headless service, as a number at a pod's address.
struct Place<'a> {
    number: u32,
    service: &'a NsName,
    port: u32,
    target: u32,
}

impl Model {
    /// The headless services behind a pod's address of which something is said.
    pub(super) fn headless_services(&self, ip: IpAddr, client: &Client) -> Vec<NsName> {
        let pod = self
            .pod_at(ip)
            .and_then(|name| Some((name, self.pod(name)?)));
        let Some((name, pod)) = pod else {
            return Vec::new();
        };
        let services = self.seen_headless(name, pod, client).into_iter();
        let said = services.filter(|(service, _)| self.is_said(service, client));
        let there = said.filter(|(name, service)| !self.targets(name, service, pod, ip).is_empty());
        there.map(|(name, _)| name.clone()).collect()
    }

    /// The same, number by number.
    pub(super) fn headless(
        &self,
        ip: IpAddr,
        name: &NsName,
        pod: &Pod,
        inbound: &[InboundPort],
        client: &Client,
    ) -> Vec<Headless> {
        let services = self.seen_headless(name, pod, client);
        if services.iter().all(|(name, _)| !self.is_said(name, client)) {
            return Vec::new();
        }
        let mut places: Vec<Place<'_>> = Vec::new();
        for (name, service) in services {
            let mut targets = self.targets(name, service, pod, ip);
            // Of two ports that lead to one of the pod's, that of the same number speaks for it.
            targets.sort_by_key(|(port, target)| port != target);
            for (port, target) in &targets {
                let (port, target) = (u32::from(*port), u32::from(*target));
                let place = |number| Place {
                    number,
                    service: name,
                    port,
                    target,
                };
                let same = |known: &Place<'_>| known.service == name && known.number == target;
                if !places.iter().any(same) {
                    places.push(place(target));
                }
                // Nothing listens where the name and the service's own number lead, but for a rule.
                let is_own = inbound.iter().any(|known| known.number == port)
                    || targets.iter().any(|(_, other)| u32::from(*other) == port);
                if !is_own {
                    places.push(place(port));
                }
            }
        }
        let only = |place: &Place<'_>| {
            let others = places.iter().filter(|other| other.number == place.number);
            others.count() == 1
        };
        let said = places
            .iter()
            .filter(|place| self.is_said(place.service, client));
        let mut wire: Vec<Headless> = said
            .map(|place| Headless {
                number: place.number,
                service: place.service.to_string(),
                service_port: place.port,
                target_port: place.target,
                only: only(place),
                own: *place.service.namespace() == *client.namespace,
            })
            .collect();
        wire.sort_by(|a, b| (a.number, &a.service).cmp(&(b.number, &b.service)));
        wire
    }

    /// Addresses of every pod of a headless service, ready or not.
    pub(super) fn headless_addresses(&self, name: &NsName) -> Vec<IpAddr> {
        let service = self.service(name).filter(|service| service.headless);
        service.map_or_else(Vec::new, |service| self.every_address(name, service))
    }

    /// Headless services of a pod that a client sees, by name.
    fn seen_headless<'a>(
        &'a self,
        name: &'a NsName,
        pod: &'a Pod,
        client: &Client,
    ) -> Vec<(&'a NsName, &'a Service)> {
        let sliced = self.slice_pods.get(name);
        let sliced = sliced.into_iter().flat_map(|services| services.iter());
        let all = self.services_of(name, pod).chain(sliced);
        let headless = all.filter_map(|name| {
            let service = self.service(name).filter(|service| service.headless)?;
            Some((name, service))
        });
        let mut seen: Vec<_> = headless
            .filter(|(name, _)| self.sees(client, name))
            .collect();
        seen.sort_by_key(|(name, _)| *name);
        seen.dedup_by_key(|(name, _)| *name);
        seen
    }

    /// Whether routes or policies say something of a service to clients in a namespace.
    fn is_said(&self, service: &NsName, client: &Client) -> bool {
        let namespace = &*client.namespace;
        let has_policy = || {
            let rules = self.rules_for(service, namespace);
            let mut rules = rules.iter().filter_map(|object| object.rule());
            rules.any(|rule| rule.traffic_policy.is_some())
        };
        self.route_for(service, namespace).is_some()
            || self.has_gateway_routes(service, namespace)
            || has_policy()
    }

    /// The pod's own number of each of the service's ports that it has, at an address.
    fn targets(&self, name: &NsName, service: &Service, pod: &Pod, ip: IpAddr) -> Vec<(u16, u16)> {
        let ports = service.ports.iter();
        let Some(slices) = self.slices.get(name) else {
            let targets = ports.map(|port| Some((port.number, target_number(port, pod)?)));
            return targets.flatten().collect();
        };
        let slices = slices.values().filter_map(|object| object.slice());
        let slices: Vec<_> = slices
            .filter(|slice| slice.endpoints.iter().any(|one| one.address == ip))
            .collect();
        let target = |name: &str| {
            let mut ports = slices.iter().flat_map(|slice| slice.ports.iter());
            let found = ports.find(|(known, _)| **known == *name);
            found.map(|(_, number)| *number)
        };
        let targets = ports.map(|port| Some((port.number, target(&port.name)?)));
        targets
            .flatten()
            .filter(|(_, number)| *number > 0)
            .collect()
    }
}
