//! Changes of DestinationRules, VirtualServices, PeerAuthentications and Telemetries.

use std::sync::Arc;

use super::{Touched, judgement::RuleChange};
use crate::{
    model::{
        Model, RouteEntry,
        hosts::{Host, filed},
        routes::delegate_name,
    },
    name::NsName,
    resources::{peer_authentication::PeerAuthentication, virtual_service::VirtualService},
    source::Object,
};

impl Model {
    pub(super) fn change_rule(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let known = self.rules.get(&name).cloned();
        match new {
            None => {
                if let Some(object) = known {
                    self.hold_back(&object.key, false);
                }
                if self.held_rules.contains_key(&name) {
                    Arc::make_mut(&mut self.held_rules).remove(&name);
                }
                touched.rules.remove(&name);
                self.put_rule(&name, None, touched);
            }
            Some(written) => {
                let last_good = self.last_good.get(&written.key).cloned();
                if known.is_none() {
                    let first = last_good.clone().unwrap_or_else(|| written.clone());
                    self.put_rule(&name, Some(first), touched);
                }
                if let Some(before) = known.or(last_good) {
                    touched.rules.insert(name, RuleChange { before, written });
                }
            }
        }
    }

    /// Puts another version of a rule, or none, in force.
    pub(super) fn put_rule(
        &mut self,
        name: &NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let old = match new.clone() {
            Some(object) => self.rules.insert(name.clone(), object),
            None => self.rules.remove(name),
        };
        for (object, add) in [(old, false), (new, true)] {
            let Some(rule) = object.as_deref().and_then(Object::rule) else {
                continue;
            };
            let host = self.hosts().resolve(&rule.host, name.namespace());
            match (host.filed(), host) {
                (Some(place), _) if add => self.rules_of.add(place, name.clone()),
                (Some(place), _) => self.rules_of.take(&place, name),
                (None, Host::Pattern(suffix)) => {
                    let entries = Arc::make_mut(&mut self.wildcard_rules);
                    entries.retain(|(_, known)| known != name);
                    if add {
                        entries.push((suffix, name.clone()));
                    }
                }
                (None, _) => {}
            }
            for service in self.named_by(&rule.host, name.namespace()) {
                let mentions = self.mentions.get(&filed(&service));
                touched
                    .judge
                    .extend(mentions.iter().flat_map(|routes| routes.iter().cloned()));
                touched.endpoints.insert(service.clone());
                touched.policies.insert(service);
            }
        }
    }

    pub(super) fn change_route(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let old = self.routes.get(&name).cloned();
        let before = old.as_deref().and_then(|entry| entry.written.route());
        for service in before
            .map(|spec| self.mentioned(spec, &name))
            .unwrap_or_default()
        {
            self.mentions.take(&service, &name);
        }
        let in_force = old.as_ref().and_then(|entry| entry.in_force.clone());
        let Some(object) = new else {
            let key = old.map(|entry| entry.written.key.clone());
            self.routes.remove(&name);
            self.index_route(&name, in_force.as_ref(), None, touched);
            if let Some(key) = key {
                self.hold_back(&key, false);
            }
            // Rules that were held for its sake are judged again.
            touched.judge.insert(name);
            return;
        };
        let last_good = match old {
            Some(_) => None,
            None => self.last_good.get(&object.key).cloned(),
        };
        if last_good.is_some() {
            self.index_route(&name, None, last_good.as_ref(), touched);
        }
        let in_force = in_force.or(last_good);
        for service in object
            .route()
            .map(|spec| self.mentioned(spec, &name))
            .unwrap_or_default()
        {
            self.mentions.add(service, name.clone());
        }
        let entry = RouteEntry {
            written: object,
            in_force,
            refusals: old
                .map(|entry| entry.refusals.clone())
                .unwrap_or_else(|| Arc::new([])),
        };
        self.routes.insert(name.clone(), Arc::new(entry));
        touched.judge.insert(name);
    }

    /// Where the services that a VirtualService names, as host or as destination, are filed.
    fn mentioned(&self, spec: &VirtualService, name: &NsName) -> Vec<NsName> {
        let hosts = spec.hosts.iter().map(|host| host.as_str());
        let destinations = spec.destinations().map(|(_, to)| to.host.as_str());
        let resolved = hosts
            .chain(destinations)
            .map(|host| self.hosts().resolve(host, name.namespace()));
        resolved.filter_map(|host| host.filed()).collect()
    }

    /// Moves a VirtualService's place in the index of what is in force.
    pub(super) fn index_route(
        &mut self,
        name: &NsName,
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
        touched: &mut Touched,
    ) {
        for (object, add) in [(before, false), (after, true)] {
            let Some(spec) = object.and_then(|object| object.route()) else {
                continue;
            };
            for host in &spec.hosts {
                let resolved = self.hosts().resolve(host, name.namespace());
                match (resolved.filed(), resolved) {
                    (Some(place), _) if add => self.routes_of.add(place, name.clone()),
                    (Some(place), _) => self.routes_of.take(&place, name),
                    (None, Host::Pattern(suffix)) => {
                        let entries = Arc::make_mut(&mut self.wildcard_routes);
                        entries.retain(|entry| *entry != (suffix.clone(), name.clone()));
                        if add {
                            entries.push((suffix, name.clone()));
                        }
                    }
                    (None, _) => {}
                }
                touched.routes.extend(self.named_by(host, name.namespace()));
            }
            let delegates = spec.http.iter().filter_map(|rule| rule.delegate.as_ref());
            for to in delegates.filter_map(|to| delegate_name(to, name.namespace())) {
                match add {
                    true => self.delegating.add(to, name.clone()),
                    false => self.delegating.take(&to, name),
                }
            }
        }
        let delegating = self.delegating.get(name).cloned();
        for route in delegating.iter().flat_map(|routes| routes.iter()) {
            self.touch_route_hosts(route, touched);
        }
    }

    /// The tables that a VirtualService in force is part of.
    pub(super) fn touch_route_hosts(&self, route: &NsName, touched: &mut Touched) {
        let in_force = self
            .routes
            .get(route)
            .and_then(|entry| entry.in_force.as_ref());
        for host in in_force
            .and_then(|object| object.route())
            .iter()
            .flat_map(|spec| &spec.hosts)
        {
            touched
                .routes
                .extend(self.named_by(host, route.namespace()));
        }
    }

    pub(super) fn change_authentication(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let disables = |model: &Self| {
            let all = model
                .authentications
                .iter()
                .flat_map(|(_, objects)| objects.iter());
            all.filter_map(|object| object.authentication())
                .any(PeerAuthentication::disables)
        };
        let before = disables(self);
        replace(&mut self.authentications, &name, new);
        self.touch_scope(&name, touched);
        // Only DISABLE shows in what clients are told of a pod.
        if before || disables(self) {
            let of_mesh = name.namespace() == self.settings.system_namespace;
            let concerned = |other: &NsName| of_mesh || other.namespace() == name.namespace();
            touched
                .endpoints
                .extend(self.services.iter().map(|(service, _)| service.clone()));
            let pods = self
                .pods
                .iter()
                .filter(|(pod, _)| concerned(pod))
                .filter_map(|(_, object)| object.pod());
            touched
                .dirty
                .addresses
                .extend(pods.flat_map(|pod| pod.addresses.iter()));
        }
    }

    pub(super) fn change_telemetry(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        replace(&mut self.telemetries, &name, new);
        self.touch_scope(&name, touched);
    }

    pub(super) fn change_sidecar(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        replace(&mut self.sidecars, &name, new);
        self.touch_scope(&name, touched);
    }

    fn touch_scope(&self, name: &NsName, touched: &mut Touched) {
        if name.namespace() == self.settings.system_namespace {
            touched.dirty.own.all = true;
        } else {
            touched.dirty.own.namespaces.insert(name.namespace().into());
        }
    }
}

/// Replaces one of a namespace's objects, oldest first.
fn replace(
    map: &mut crate::model::sharded::ShardedMap<Box<str>, Arc<[Arc<Object>]>>,
    name: &NsName,
    new: Option<Arc<Object>>,
) {
    let old = map.remove(name.namespace()).unwrap_or_else(|| Arc::new([]));
    let mut objects: Vec<_> = old
        .iter()
        .filter(|object| object.key.name != *name)
        .cloned()
        .chain(new)
        .collect();
    objects.sort_by(|a, b| a.seniority().cmp(&b.seniority()));
    if !objects.is_empty() {
        map.insert(name.namespace().into(), objects.into());
    }
}
