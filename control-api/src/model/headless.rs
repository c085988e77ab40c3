//! Headless services at the addresses of their pods. Their names stand for these addresses, so it is by
//! what is called there, and by the host that is named, that they are told apart. A client is told of
//! those alone of which routes or policies say something to it: without them the pod is the pod.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use heddle_proto::mesh::{Headless, Hidden, InboundPort};

use super::{Client, Model, workload::target_number};
use crate::{
    name::NsName,
    resources::{pod::Pod, service::Service},
};

/// A port of a headless service, as a number at a pod's address.
struct Place<'a> {
    number: u32,
    service: &'a NsName,
    /// Whether routes or policies say something of the service.
    is_said: bool,
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
        let services = self.seen_headless(name, pod, client).into_iter();
        let services = services.map(|(name, service)| (name, service, self.is_said(name, client)));
        let services: Vec<_> = services.collect();
        if services.iter().all(|(.., is_said)| !is_said) {
            return Vec::new();
        }
        let inbound: HashSet<u32> = inbound.iter().map(|port| port.number).collect();
        let mut places: Vec<Place<'_>> = Vec::new();
        for (name, service, is_said) in services {
            let mut targets = self.targets(name, service, pod, ip);
            // Of two ports that lead to one of the pod's, that of the same number speaks for it.
            targets.sort_by_key(|(port, target)| port != target);
            let own: HashSet<u16> = targets.iter().map(|(_, target)| *target).collect();
            let mut taken = HashSet::new();
            for (port, target) in &targets {
                // Nothing listens where the name and the service's own number lead, but for a rule.
                let is_own = inbound.contains(&u32::from(*port)) || own.contains(port);
                let (port, target) = (u32::from(*port), u32::from(*target));
                let place = |number| Place {
                    number,
                    service: name,
                    is_said,
                    port,
                    target,
                };
                if taken.insert(target) {
                    places.push(place(target));
                }
                if !is_own {
                    taken.insert(port);
                    places.push(place(port));
                }
            }
        }
        let mut at: HashMap<u32, usize> = HashMap::new();
        for place in &places {
            *at.entry(place.number).or_default() += 1;
        }
        let only = |place: &Place<'_>| at.get(&place.number) == Some(&1);
        let said = places.iter().filter(|place| place.is_said);
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

    /// The first by name of those of a pod's headless services that a Sidecar hides from a client.
    pub(super) fn hidden_headless(
        &self,
        name: &NsName,
        pod: &Pod,
        client: &Client,
    ) -> Option<Hidden> {
        let all = self.headless_of(name, pod).map(|(name, _)| name);
        let visible = all.filter(|name| self.is_visible(name, &client.namespace));
        let hidden = visible.filter(|name| !self.sees(client, name));
        self.hidden_service(hidden.min()?, client)
    }

    /// Headless services of a pod that a client sees, by name.
    fn seen_headless<'a>(
        &'a self,
        name: &'a NsName,
        pod: &'a Pod,
        client: &Client,
    ) -> Vec<(&'a NsName, &'a Service)> {
        let headless = self.headless_of(name, pod);
        let mut seen: Vec<_> = headless
            .filter(|(name, _)| self.sees(client, name))
            .collect();
        seen.sort_by_key(|(name, _)| *name);
        seen.dedup_by_key(|(name, _)| *name);
        seen
    }

    /// Headless services of a pod, some of them twice.
    fn headless_of<'a>(
        &'a self,
        name: &'a NsName,
        pod: &'a Pod,
    ) -> impl Iterator<Item = (&'a NsName, &'a Service)> {
        let sliced = self.slice_pods.get(name);
        let sliced = sliced.into_iter().flat_map(|services| services.iter());
        let all = self.services_of(name, pod).chain(sliced);
        all.filter_map(|name| {
            let service = self.service(name).filter(|service| service.headless)?;
            Some((name, service))
        })
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
