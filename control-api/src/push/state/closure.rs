//! Which services a proxy needs: those behind its addresses (behind a pod's, its headless ones of
//! which something is said), and every one that the routes of a needed one name. Kept as edges, so that a change looks only at what it touched.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    model::{Client, Model},
    name::NsName,
};

#[derive(Default)]
pub(super) struct Closure {
    /// Subscribed addresses, how often, and the services behind.
    targets: HashMap<IpAddr, (usize, Box<[NsName]>)>,
    /// Needed services and those that their routes name.
    names: HashMap<NsName, Box<[NsName]>>,
    changed_addresses: HashSet<IpAddr>,
    changed_services: HashSet<NsName>,
    /// Edges may have changed.
    stale: bool,
}

impl Closure {
    pub(super) fn add_address(&mut self, ip: IpAddr) {
        self.targets.entry(ip).or_default().0 += 1;
        self.changed_addresses.insert(ip);
    }

    pub(super) fn remove_address(&mut self, ip: IpAddr) {
        if let Some((count, _)) = self.targets.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.targets.remove(&ip);
                self.stale = true;
            }
        }
    }

    pub(super) fn address_changed(&mut self, ip: IpAddr) {
        if self.targets.contains_key(&ip) {
            self.changed_addresses.insert(ip);
        }
    }

    /// What any of its addresses stands for may have changed.
    pub(super) fn look_at_all(&mut self) {
        self.changed_addresses.extend(self.targets.keys());
    }

    pub(super) fn service_changed(&mut self, service: &NsName) {
        if self.names.contains_key(service) {
            self.changed_services.insert(service.clone());
        }
    }

    pub(super) fn needs(&self, service: &NsName) -> bool {
        self.names.contains_key(service)
    }

    pub(super) fn needed(&self) -> impl Iterator<Item = &NsName> {
        self.names.keys()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.stale && self.changed_addresses.is_empty() && self.changed_services.is_empty()
    }

    /// Brings the edges up to date. Returns services that are needed from now on, and those that are
    /// no more.
    pub(super) fn update(&mut self, model: &Model, client: &Client) -> (Vec<NsName>, Vec<NsName>) {
        for ip in std::mem::take(&mut self.changed_addresses) {
            let target = model.services_behind(ip, client);
            if let Some((_, known)) = self
                .targets
                .get_mut(&ip)
                .filter(|(_, known)| *known != target)
            {
                *known = target;
                self.stale = true;
            }
        }
        for service in std::mem::take(&mut self.changed_services) {
            let now = model
                .route_table(&service, client)
                .map(|view| view.names.clone());
            match (now, self.names.get_mut(&service)) {
                (Some(now), Some(known)) if *known == now => {}
                (Some(now), Some(known)) => {
                    *known = now;
                    self.stale = true;
                }
                // It is gone; whether it is still needed is found out below.
                _ => self.stale = true,
            }
        }
        if !std::mem::take(&mut self.stale) {
            return (Vec::new(), Vec::new());
        }
        let mut reached: HashSet<NsName> = HashSet::new();
        let mut new = Vec::new();
        let mut open: Vec<NsName> = self
            .targets
            .values()
            .flat_map(|(_, target)| target.iter().cloned())
            .collect();
        while let Some(service) = open.pop() {
            if reached.contains(&service) || model.service(&service).is_none() {
                continue;
            }
            if !self.names.contains_key(&service) {
                let Some(view) = model.route_table(&service, client) else {
                    continue;
                };
                self.names.insert(service.clone(), view.names.clone());
                new.push(service.clone());
            }
            open.extend(
                self.names
                    .get(&service)
                    .iter()
                    .flat_map(|names| names.iter().cloned()),
            );
            reached.insert(service);
        }
        let gone: Vec<NsName> = self
            .names
            .keys()
            .filter(|name| !reached.contains(*name))
            .cloned()
            .collect();
        for service in &gone {
            self.names.remove(service);
        }
        (new, gone)
    }
}
