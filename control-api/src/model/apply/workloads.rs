//! Changes of services, pods and slices: who has which address, who selects whom.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::Touched;
use crate::{
    model::{Known, Model, address::Owners, encoded::Cell, hosts::filed, workload::selector_key},
    name::NsName,
    resources::{endpoint_slice::EndpointSlice, network::Network, pod::Pod, service::Service},
    source::{Object, Resource},
};

impl Model {
    pub(super) fn change_service(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let new = new.and_then(|object| match &object.resource {
            Resource::Service(service) => Some((object.clone(), service.clone())),
            _ => None,
        });
        self.put_service(name, new, touched);
    }

    /// A service and where it is written, or none any more.
    pub(super) fn put_service(
        &mut self,
        name: NsName,
        new: Option<(Arc<Object>, Arc<Service>)>,
        touched: &mut Touched,
    ) {
        let old = self.services.get(&name).map(|known| known.service.clone());
        let before = old.as_deref();
        let after = new.as_ref().map(|(_, service)| &**service);
        if before.is_none() && after.is_none() {
            return;
        }
        if before == after {
            return self.keep_service(&name, new);
        }
        let networks = |service: Option<&Service>| -> Vec<Network> {
            let entry = service.and_then(|service| service.entry.as_ref());
            entry
                .map(|entry| entry.networks.clone())
                .unwrap_or_default()
        };
        let (from, to) = (networks(before), networks(after));
        self.move_networks(&from, &to, &name);
        touched.dirty.networks.extend(from.into_iter().chain(to));
        let headless = [before, after].into_iter().flatten().any(|s| s.headless);
        touched.touch_names(&name, &self.settings.cluster_domain, headless);
        let called = self.headless_addresses(&name);
        touched.dirty.addresses.extend(called);
        let addresses =
            |service: Option<&Service>| service.map(|s| s.addresses.clone()).unwrap_or_default();
        self.move_addresses(
            &addresses(before),
            &addresses(after),
            &name,
            |owners| &mut owners.services,
            touched,
        );

        self.touch_members(&name, touched);
        let selectors = (
            before.and_then(|s| s.selector.as_ref()),
            after.and_then(|s| s.selector.as_ref()),
        );
        if selectors.0 != selectors.1 {
            for (selector, add) in [(selectors.0, false), (selectors.1, true)] {
                let Some((key, value)) = selector.and_then(|selector| selector.entries().first())
                else {
                    continue;
                };
                let index: Box<str> = selector_key(name.namespace(), key, value).into();
                if add {
                    self.selectors.add(index, name.clone());
                } else {
                    self.selectors.take(&index, &name);
                }
            }
            self.members.remove(&name);
            if let Some(selector) = selectors.1 {
                let here = self
                    .pods
                    .iter()
                    .filter(|(pod, _)| pod.namespace() == name.namespace());
                let selected = here.filter(|(_, object)| {
                    object.pod().is_some_and(|pod| pod.labels.has_all(selector))
                });
                let members: std::collections::BTreeSet<_> =
                    selected.map(|(pod, _)| pod.clone()).collect();
                if !members.is_empty() {
                    self.members.insert(name.clone(), Arc::new(members));
                }
            }
            self.touch_members(&name, touched);
        }
        match new {
            Some((object, service)) => {
                let known = Known {
                    object,
                    service,
                    wire: Cell::default(),
                    endpoints: Cell::default(),
                    routes: Cell::default(),
                };
                self.services.insert(name.clone(), Arc::new(known));
            }
            None => {
                self.services.remove(&name);
            }
        }
        let mentions = self.mentions.get(&filed(&name)).cloned();
        for route in mentions.iter().flat_map(|routes| routes.iter()) {
            touched.judge.insert(route.clone());
            self.touch_route_hosts(route, touched);
        }
        self.touch_gateway_parents(&name, touched);
        touched.dirty.services.insert(name);
    }

    /// The same contents from another place.
    fn keep_service(&mut self, name: &NsName, new: Option<(Arc<Object>, Arc<Service>)>) {
        if let Some(((object, service), known)) = new.zip(self.services.get(name)) {
            let known = Known {
                object,
                service,
                wire: known.wire.clone(),
                endpoints: known.endpoints.clone(),
                routes: known.routes.clone(),
            };
            self.services.insert(name.clone(), Arc::new(known));
        }
    }

    /// The pods of a service show its ports as theirs.
    pub(super) fn touch_members(&self, service: &NsName, touched: &mut Touched) {
        for pod in self
            .members
            .get(service)
            .iter()
            .flat_map(|pods| pods.iter())
        {
            touched.dirty.own.pods.insert(pod.clone());
            touched
                .dirty
                .addresses
                .extend(self.pod(pod).iter().flat_map(|pod| pod.addresses.iter()));
        }
    }

    pub(super) fn change_pod(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let old = self.pods.get(&name).cloned();
        let before = old.as_deref().and_then(Object::pod);
        let after = new.as_deref().and_then(Object::pod);
        if before.is_some() && before == after {
            if let Some(object) = new {
                self.pods.insert(name, object);
            }
            return;
        }
        let addresses =
            |pod: Option<&Pod>| pod.map(|pod| pod.addresses.to_vec()).unwrap_or_default();
        self.move_addresses(
            &addresses(before),
            &addresses(after),
            &name,
            |owners| &mut owners.pods,
            touched,
        );

        let services = |pod: Option<&Pod>| -> Vec<NsName> {
            pod.map(|pod| self.services_of(&name, pod).cloned().collect())
                .unwrap_or_default()
        };
        let (left, joined) = (services(before), services(after));
        for service in left.iter().filter(|service| !joined.contains(service)) {
            let Some(mut members) = self.members.remove(service) else {
                continue;
            };
            Arc::make_mut(&mut members).remove(&name);
            if !members.is_empty() {
                self.members.insert(service.clone(), members);
            }
        }
        for service in joined.iter().filter(|service| !left.contains(service)) {
            let mut members = self.members.remove(service).unwrap_or_default();
            Arc::make_mut(&mut members).insert(name.clone());
            self.members.insert(service.clone(), members);
        }
        touched.endpoints.extend(left);
        touched.endpoints.extend(joined);
        touched.endpoints.extend(
            self.slice_pods
                .get(&name)
                .iter()
                .flat_map(|services| services.iter().cloned()),
        );
        touched.dirty.own.pods.insert(name.clone());
        match new {
            Some(object) => self.pods.insert(name, object),
            None => self.pods.remove(&name),
        };
    }

    pub(super) fn change_slice(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let new_service = new
            .as_deref()
            .and_then(Object::slice)
            .map(|slice| slice.service.clone());
        let old_service = self.slice_service.remove(&name);
        if let Some(service) = &old_service {
            let mut slices = self.slices.remove(service).unwrap_or_default();
            let old = Arc::make_mut(&mut slices).remove(&name);
            touch_addresses(old.as_deref(), new.as_deref(), touched);
            let kept: HashSet<&NsName> = match new_service == old_service {
                true => pods_of(new.as_deref()).collect(),
                false => HashSet::new(),
            };
            let elsewhere = |pod: &NsName| {
                slices
                    .values()
                    .any(|slice| pods_of(Some(slice)).any(|known| known == pod))
            };
            let left = pods_of(old.as_deref()).filter(|pod| !kept.contains(pod) && !elsewhere(pod));
            for pod in left.cloned().collect::<Vec<_>>() {
                self.slice_pods.take(&pod, service);
            }
            if !slices.is_empty() {
                self.slices.insert(service.clone(), slices);
            }
            touched.endpoints.insert(service.clone());
        }
        let Some((object, service)) = new.zip(new_service) else {
            return;
        };
        if old_service.is_none() {
            touch_addresses(None, Some(&object), touched);
        }
        for pod in pods_of(Some(&object)) {
            self.slice_pods.add(pod.clone(), service.clone());
        }
        let mut slices: Arc<BTreeMap<_, _>> = self.slices.remove(&service).unwrap_or_default();
        Arc::make_mut(&mut slices).insert(name.clone(), object);
        self.slices.insert(service.clone(), slices);
        self.slice_service.insert(name, service.clone());
        touched.endpoints.insert(service);
    }

    fn move_addresses(
        &mut self,
        from: &[IpAddr],
        to: &[IpAddr],
        name: &NsName,
        list: impl Fn(&mut Owners) -> &mut Vec<NsName>,
        touched: &mut Touched,
    ) {
        for ip in from.iter().filter(|ip| !to.contains(ip)) {
            let Some(owners) = self.addresses.remove(ip) else {
                continue;
            };
            let mut owners = Arc::unwrap_or_clone(owners);
            list(&mut owners).retain(|owner| owner != name);
            if owners != Owners::default() {
                self.addresses.insert(*ip, Arc::new(owners));
            }
        }
        for ip in to.iter().filter(|ip| !from.contains(ip)) {
            let mut owners = self
                .addresses
                .get(ip)
                .map(|owners| (**owners).clone())
                .unwrap_or_default();
            let owned = list(&mut owners);
            if let Err(place) = owned.binary_search(name) {
                owned.insert(place, name.clone());
            }
            self.addresses.insert(*ip, Arc::new(owners));
        }
        touched.dirty.addresses.extend(from.iter().chain(to));
    }
}

/// Who comes or goes, or has other ports, may be called for another headless service.
fn touch_addresses(old: Option<&Object>, new: Option<&Object>, touched: &mut Touched) {
    let [old, new] = [old, new].map(|object| object.and_then(Object::slice));
    let same = old
        .zip(new)
        .is_some_and(|(old, new)| (&old.service, &old.ports) == (&new.service, &new.ports));
    let addresses = |slice: Option<&EndpointSlice>| -> HashSet<IpAddr> {
        let endpoints = slice.into_iter().flat_map(|slice| &slice.endpoints);
        endpoints.map(|endpoint| endpoint.address).collect()
    };
    let (old, new) = (addresses(old), addresses(new));
    let dirty = &mut touched.dirty.addresses;
    match same {
        true => dirty.extend(old.symmetric_difference(&new)),
        false => dirty.extend(old.union(&new)),
    }
}

fn pods_of(slice: Option<&Object>) -> impl Iterator<Item = &NsName> {
    let slice = slice.and_then(Object::slice);
    slice
        .into_iter()
        .flat_map(|slice| &slice.endpoints)
        .filter_map(|endpoint| endpoint.pod.as_ref())
}
