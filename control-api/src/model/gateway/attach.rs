//! To which ports of which Services a route is attached, and which routes are in force at a port for
//! a client. A route in the Service's namespace (a producer's) is for every client; one in another (a
//! consumer's) for the clients of its own namespace, where it stands in the place of the producer's.
//! A port has routes of one kind: GRPCRoute before HTTPRoute.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::Model;
use crate::{
    name::{Kind, NsName, ObjectKey},
    resources::gateway::{BackendRef, Filter, ParentRef, Route},
    source::Object,
};

/// What a parentRef comes to.
pub(in crate::model) enum Attached {
    /// It is none of the mesh's: a Gateway, say.
    Elsewhere,
    /// To these ports, one or more.
    To(NsName, Vec<u16>),
    /// To nothing: why, and what to write.
    Nowhere(String, String),
}

/// The Service that a parentRef names, whether there is one or not.
fn parent_named(route: &NsName, parent: &ParentRef) -> Option<NsName> {
    if !parent.group.is_empty() || parent.kind != "Service" {
        return None;
    }
    let namespace = parent.namespace.as_deref();
    NsName::new(namespace.unwrap_or_else(|| route.namespace()), &parent.name)
}

/// The Service that a backendRef names.
pub(super) fn backend_named(route: &NsName, to: &BackendRef) -> Option<NsName> {
    let namespace = to.namespace.as_deref();
    let name = || NsName::new(namespace.unwrap_or_else(|| route.namespace()), &to.name);
    to.is_service().then(name).flatten()
}

/// Services that a route names as its parents.
pub(in crate::model) fn parents_named(route: &NsName, spec: &Route) -> BTreeSet<NsName> {
    let parents = spec.parents.iter();
    parents
        .filter_map(|parent| parent_named(route, parent))
        .collect()
}

/// Services that a route names anywhere.
pub(in crate::model) fn services_named(route: &NsName, spec: &Route) -> BTreeSet<NsName> {
    let mut all = parents_named(route, spec);
    for rule in &spec.rules {
        let backends = rule.backends.iter().map(|backend| &backend.to);
        let mirrors = rule
            .filters
            .iter()
            .filter_map(|filter| match &filter.value {
                Filter::Mirror(mirror) => Some(&mirror.to),
                _ => None,
            });
        let named = backends.chain(mirrors);
        all.extend(named.filter_map(|to| backend_named(route, to)));
    }
    all
}

impl Model {
    pub(in crate::model) fn attached(&self, route: &NsName, parent: &ParentRef) -> Attached {
        if !parent.group.is_empty() && parent.kind == "Service" {
            let what = format!(
                "there is no kind Service in the group \"{}\"",
                parent.group.escape_debug()
            );
            return Attached::Nowhere(what, "write `group: \"\"`".to_owned());
        }
        if !parent.group.is_empty() || parent.kind != "Service" {
            return Attached::Elsewhere;
        }
        let nowhere = |what: String, instead: String| Attached::Nowhere(what, instead);
        let Some(name) = parent_named(route, parent) else {
            let what = format!("\"{}\" is no name of a Service", parent.name.escape_debug());
            return nowhere(what, String::new());
        };
        let known = self
            .service(&name)
            .filter(|service| service.entry.is_none());
        let Some(service) = known else {
            return nowhere(
                format!("there is no Service {name}"),
                self.nearest_service(&name),
            );
        };
        if service.external_name {
            let what = format!(
                "Service {name} is of type ExternalName, and its name stands for no address of the mesh"
            );
            return nowhere(
                what,
                "attach the route to a Service of type ClusterIP".to_owned(),
            );
        }
        let fits = |number: u16, name: &str| {
            parent.port.is_none_or(|port| port == number)
                && parent
                    .section_name
                    .as_deref()
                    .is_none_or(|section| section == name)
        };
        let ports = service.ports.iter();
        let ports = ports.filter(|port| fits(port.number, &port.name));
        let numbers: Vec<u16> = ports.map(|port| port.number).collect();
        if numbers.is_empty() {
            let all = service.ports.iter();
            let all = all.map(|port| match &*port.name {
                "" => port.number.to_string(),
                name => format!("{} ({name})", port.number),
            });
            let all: Vec<String> = all.collect();
            let what = format!("Service {name} has no such port");
            return nowhere(what, format!("its ports: {}", all.join(", ")));
        }
        Attached::To(name, numbers)
    }

    /// Ports of a service that a route is attached to.
    fn ports_attached(&self, object: &Object, service: &NsName) -> BTreeSet<u16> {
        let route = &object.key.name;
        let parents = object.gateway_route().map(|spec| spec.parents.iter());
        let attached = parents
            .into_iter()
            .flatten()
            .map(|p| self.attached(route, p));
        let ports = attached.filter_map(|attached| match attached {
            Attached::To(to, ports) if to == *service => Some(ports),
            _ => None,
        });
        ports.flatten().collect()
    }

    /// Routes that are attached to a service.
    pub(super) fn routes_at(&self, service: &NsName) -> impl Iterator<Item = &Arc<Object>> {
        let keys = self.gateway_of.get(service).into_iter();
        keys.flat_map(|keys| keys.iter())
            .filter_map(|key| self.gateway_routes.get(key))
    }

    /// Whether clients of different namespaces may see different routes of a service.
    pub(in crate::model) fn has_consumer_routes(&self, service: &NsName) -> bool {
        let keys = self.gateway_of.get(service).into_iter();
        let mut keys = keys.flat_map(|keys| keys.iter());
        keys.any(|key| key.name.namespace() != service.namespace())
    }

    /// Whether any are in force for clients in a namespace.
    pub(in crate::model) fn has_gateway_routes(&self, service: &NsName, namespace: &str) -> bool {
        self.gateway_of.get(service).is_some()
            && !self.routes_in_force(service, namespace).is_empty()
    }

    /// The routes in force for clients in a namespace, by port; ports without any are left out.
    pub(super) fn routes_in_force(
        &self,
        service: &NsName,
        namespace: &str,
    ) -> BTreeMap<u16, Vec<&Arc<Object>>> {
        let mut consumers: BTreeMap<u16, Vec<&Arc<Object>>> = BTreeMap::new();
        let mut producers: BTreeMap<u16, Vec<&Arc<Object>>> = BTreeMap::new();
        for object in self.routes_at(service) {
            let of = object.key.name.namespace();
            let side = match of {
                _ if of == service.namespace() => &mut producers,
                _ if of == namespace => &mut consumers,
                _ => continue,
            };
            for port in self.ports_attached(object, service) {
                side.entry(port).or_default().push(object);
            }
        }
        let mut all = producers;
        all.extend(consumers);
        for routes in all.values_mut() {
            if routes
                .iter()
                .any(|object| object.key.kind == Kind::GrpcRoute)
            {
                routes.retain(|object| object.key.kind == Kind::GrpcRoute);
            }
        }
        all
    }

    /// The ports of a service that routes of Gateway API have, for clients in a namespace, each with one
    /// of these routes.
    pub(in crate::model) fn gateway_ports(
        &self,
        service: &NsName,
        namespace: &str,
    ) -> BTreeMap<u16, &Arc<Object>> {
        let by_port = self.routes_in_force(service, namespace).into_iter();
        by_port
            .filter_map(|(port, routes)| Some((port, *routes.first()?)))
            .collect()
    }

    /// The first GRPCRoute of a namespace that is attached to a port.
    pub(super) fn grpc_route_at(
        &self,
        service: &NsName,
        port: u16,
        namespace: &str,
    ) -> Option<&ObjectKey> {
        let keys = self.gateway_of.get(service).into_iter();
        let mut keys = keys
            .flat_map(|keys| keys.iter())
            .filter(|key| key.kind == Kind::GrpcRoute && key.name.namespace() == namespace);
        keys.find(|key| {
            let object = self.gateway_routes.get(*key);
            object.is_some_and(|object| self.ports_attached(object, service).contains(&port))
        })
    }
}
