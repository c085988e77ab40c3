//! Routes of Gateway API that are in force and hardly meant, those that are attached to nothing here, and
//! VirtualServices that lose ports to them.

use std::sync::Arc;

use super::warning;
use crate::{
    check::Code,
    model::Model,
    name::NsName,
    resources::{
        at::At,
        gateway::{GROUP, ParentRef, Route},
        virtual_service::VirtualService,
    },
    source::{Object, Refusal},
};

impl Model {
    pub(super) fn of_gateway_route(
        &self,
        object: &Arc<Object>,
        spec: &Route,
        found: &mut Vec<Refusal>,
    ) {
        of_parents(object, spec, found);
        for (i, rule) in spec.rules.iter().enumerate() {
            let Some(first) = rule.backends.first() else {
                continue;
            };
            if rule.backends.iter().all(|backend| backend.weight == 0) {
                let reason = format!("spec.rules[{i}].backendRefs: the weights total 0");
                let instead = "give at least one of them a weight";
                found.push(warning(Code::NoShare, object, first.at, reason, instead));
            }
        }
    }

    /// Whether routes of Gateway API have ports at which a VirtualService routes this host.
    pub(super) fn of_route_beside(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        (i, host): (usize, &At<String>),
        service: &NsName,
        found: &mut Vec<Refusal>,
    ) {
        let mut taken = self.gateway_ports(service, object.key.name.namespace());
        taken.retain(|port, _| speaks_of(spec, *port));
        let Some(first) = taken.values().next() else {
            return;
        };
        let ports: Vec<String> = taken.keys().map(u16::to_string).collect();
        let place = match &*first.origin.file_text() {
            "" => String::new(),
            file => format!(" ({file}:{})", first.origin.at.line),
        };
        let reason = format!(
            "spec.hosts[{i}]: {}{place} is attached to {} of {service}",
            first.key,
            match &*ports {
                [port] => format!("port {port}"),
                ports => format!("ports {}", ports.join(", ")),
            }
        );
        let instead = "write all routes of a port in one of the two languages";
        let at = host.at;
        found.push(warning(Code::RouteBeside, object, at, reason, instead));
    }
}

/// Routes that sidecars have nothing to do with.
fn of_parents(object: &Arc<Object>, spec: &Route, found: &mut Vec<Refusal>) {
    let is_gateway = |parent: &ParentRef| parent.group == GROUP && parent.kind == "Gateway";
    // A Service in a group that it is not of is told as an error.
    if spec.parents.iter().any(|parent| parent.kind == "Service") {
        return;
    }
    let at = spec.parents.first().map(|parent| parent.at);
    let at = at.unwrap_or_default();
    let service =
        "to route what is sent to a Service, write `group: \"\"`, `kind: Service` and its name";
    let (code, reason) = match spec.parents.iter().find(|parent| !is_gateway(parent)) {
        None if spec.parents.is_empty() => (
            Code::ParentOfNobody,
            "spec.parentRefs: there are none".to_owned(),
        ),
        None => (
            Code::ForGateways,
            "spec.parentRefs: all of them are Gateways".to_owned(),
        ),
        Some(parent) if spec.parents.iter().any(|parent| is_gateway(parent)) => (
            Code::ForGateways,
            format!(
                "spec.parentRefs: beside Gateways there is a {}, to which no sidecar attaches routes",
                parent.kind.escape_debug()
            ),
        ),
        Some(parent) => (
            Code::ParentOfNobody,
            format!(
                "spec.parentRefs: routes are attached to Services, not to a {}",
                parent.kind.escape_debug()
            ),
        ),
    };
    found.push(warning(code, object, at, reason, service));
}

/// Whether it says anything of what is sent to a port.
fn speaks_of(spec: &VirtualService, port: u16) -> bool {
    let mut rules = spec.http.iter();
    rules.any(|rule| {
        let mut matches = rule.matches.iter();
        rule.matches.is_empty()
            || matches.any(|one| one.port.as_ref().is_none_or(|of| of.value == port))
    })
}
