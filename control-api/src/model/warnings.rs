//! What is in force and still likely to be a mistake. Computed when someone asks, since it depends
//! on everything: a host that no service has, a subset without pods, a VirtualService that another
//! one hides, one that no sidecar uses, a policy that nobody here enforces.

mod delegates;
mod gateway;
mod policies;
mod redirects;
mod rules;
mod services;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use self::{gateway::Shadows, redirects::Tables};
use super::{Model, gateway::Ports, hosts::Host, sharded::ShardedMap};
use crate::{
    check::Code,
    name::{Kind, NsName, ObjectKey},
    resources::{
        at::At, destination_rule::DestinationRule, labels::Labels, virtual_service::VirtualService,
    },
    source::{Object, Refusal, Resource, decode::Problem, node::Position},
};

impl Model {
    /// Likely mistakes, by no order.
    pub fn warnings(&self) -> Vec<Refusal> {
        let (mut found, mut memo) = (Vec::new(), Memo::default());
        let several = [&self.authentications, &self.sidecars];
        let several = several.into_iter().flat_map(|map| map.iter());
        let routes = self.routes.iter().map(|(_, entry)| &entry.written);
        let rules = self.rules.iter().map(|(_, object)| object);
        let entries = self.entries.iter().map(|(_, object)| object);
        let services = self.services.iter().map(|(_, known)| &known.object);
        let policies = self.network_policies.iter().map(|(_, object)| object);
        let gateway = self.gateway_routes.iter().map(|(_, object)| object);
        let all = routes
            .chain(rules)
            .chain(entries)
            .chain(policies)
            .chain(gateway);
        let all = all.chain(several.flat_map(|(_, objects)| objects.iter()));
        let services = services.filter(|object| object.key.kind == Kind::Service);
        for object in all.chain(services) {
            self.of_object(object, &mut memo, &mut found);
        }
        found
    }

    /// Likely mistakes of one object, as it is in this picture.
    pub fn warnings_of(&self, key: &ObjectKey) -> Vec<Refusal> {
        let name = &key.name;
        let of_namespace = |map: &ShardedMap<Box<str>, Arc<[Arc<Object>]>>| {
            let objects = map.get(name.namespace());
            objects.and_then(|all| all.iter().find(|object| object.key == *key).cloned())
        };
        let object = match key.kind {
            Kind::VirtualService => self.routes.get(name).map(|entry| entry.written.clone()),
            Kind::DestinationRule => self.rules.get(name).cloned(),
            Kind::ServiceEntry => self.entries.get(name).cloned(),
            Kind::Service => self.services.get(name).map(|known| known.object.clone()),
            Kind::HttpRoute | Kind::GrpcRoute => self.gateway_routes.get(key).cloned(),
            Kind::NetworkPolicy => self.network_policies.get(name).cloned(),
            Kind::PeerAuthentication => of_namespace(&self.authentications),
            Kind::Sidecar => of_namespace(&self.sidecars),
            _ => None,
        };
        let mut found = Vec::new();
        if let Some(object) = object {
            self.of_object(&object, &mut Memo::default(), &mut found);
        }
        found
    }

    fn of_object<'a>(
        &'a self,
        object: &'a Arc<Object>,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        match &object.resource {
            Resource::VirtualService(spec) => self.of_route(object, spec, memo, found),
            Resource::DestinationRule(_) => self.of_rule(object, found),
            Resource::GatewayRoute(spec) => self.of_gateway_route(object, spec, memo, found),
            Resource::ServiceEntry(_) => self.of_entry(&object.key.name, object, found),
            Resource::PeerAuthentication(policy) => self.of_authentication(object, policy, found),
            Resource::Sidecar(sidecar) => self.of_sidecar(object, sidecar, found),
            Resource::Service(service) => self.of_ports(object, service, found),
            Resource::NetworkPolicy => {
                let reason = "NetworkPolicy is not enforced by the mesh".to_owned();
                let suggestion = "to keep out whoever has no certificate of the mesh, use a \
                                  PeerAuthentication with mode STRICT";
                let at = Position::default();
                found.push(warning(Code::NotEnforced, object, at, reason, suggestion));
            }
            _ => {}
        }
    }

    fn of_route<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a VirtualService,
        memo: &mut Memo<'a>,
        found: &mut Vec<Refusal>,
    ) {
        if !spec.is_for_mesh() {
            let at = spec
                .gateways
                .iter()
                .flatten()
                .next()
                .map(|gateway| gateway.at)
                .unwrap_or_default();
            let reason = "spec.gateways: gateways are not supported yet".to_owned();
            found.push(warning(
                Code::NotForSidecars,
                object,
                at,
                reason,
                "add `mesh` to use them in sidecars",
            ));
            return;
        }
        let own = spec.warnings().into_iter();
        found.extend(own.map(|problem| likely(object, problem)));
        self.of_delegation(object, spec, found);
        self.of_rules(object, spec, found);
        self.of_redirects_here(object, spec, memo, found);
        for (i, host) in spec.hosts.iter().enumerate() {
            let namespace = object.key.name.namespace();
            let name = match self.hosts().resolve(host, namespace) {
                Host::Pattern(_) => continue,
                Host::Service(name) => name,
                Host::External(name) => match self.external(&name, namespace) {
                    Some(name) => name,
                    None => {
                        let reason =
                            format!("spec.hosts[{i}]: no ServiceEntry has the host {name}");
                        let instead = "add a ServiceEntry with this host";
                        found.push(warning(
                            Code::HostOfNobody,
                            object,
                            host.at,
                            reason,
                            instead,
                        ));
                        continue;
                    }
                },
            };
            if self.service(&name).is_none() {
                let reason = format!("spec.hosts[{i}]: there is no service {name}");
                found.push(warning(
                    Code::HostOfNobody,
                    object,
                    host.at,
                    reason,
                    &self.nearest_service(&name),
                ));
                continue;
            }
            let path = format!("spec.hosts[{i}]");
            self.of_unmeshed(object, host.at, &path, &name, memo, found);
            self.of_route_beside(object, spec, (i, host), &name, found);
            if let Some(winner) = self
                .route_for(&name, namespace)
                .filter(|winner| winner.key != object.key)
            {
                self.hidden(object, host, i, winner, found);
            }
        }
    }

    fn hidden(
        &self,
        object: &Arc<Object>,
        host: &At<String>,
        i: usize,
        winner: &Arc<Object>,
        found: &mut Vec<Refusal>,
    ) {
        let in_force = self
            .routes
            .get(&object.key.name)
            .is_some_and(|entry| entry.in_force.is_some());
        if in_force {
            let place = format!("{}:{}", winner.origin.file_text(), winner.origin.at.line);
            let reason = format!(
                "spec.hosts[{i}]: {} ({place}) routes this host already and is older or first by name",
                winner.key
            );
            found.push(warning(
                Code::HiddenHost,
                object,
                host.at,
                reason,
                "merge the two",
            ));
        }
    }

    fn of_rule(&self, object: &Arc<Object>, found: &mut Vec<Refusal>) {
        let Some(rule) = object.rule() else { return };
        let own = rule.warnings().into_iter();
        found.extend(own.map(|problem| likely(object, problem)));
        let namespace = object.key.name.namespace();
        let name = match self.hosts().resolve(&rule.host, namespace) {
            Host::Pattern(_) => return,
            Host::Service(name) => name,
            Host::External(host) => match self.external(&host, namespace) {
                Some(name) => name,
                None => {
                    let reason = format!("spec.host: no ServiceEntry has the host {host}");
                    let instead = "add a ServiceEntry with this host";
                    let at = rule.host.at;
                    let code = Code::HostOfNobody;
                    return found.push(warning(code, object, at, reason, instead));
                }
            },
        };
        if self.service(&name).is_none() {
            let reason = format!("spec.host: there is no service {name}");
            found.push(warning(
                Code::HostOfNobody,
                object,
                rule.host.at,
                reason,
                &self.nearest_service(&name),
            ));
            return;
        }
        self.second_policy(object, rule, &name, found);
        self.of_tls(object, rule, &name, found);
        for (i, subset) in rule.subsets.iter().enumerate() {
            if self.subset_size(&name, &Labels::from(&subset.labels)) == 0 {
                found.push(self.empty_subset(object, i, &subset.name, &name));
            }
        }
    }

    fn of_entry(&self, name: &NsName, object: &Arc<Object>, found: &mut Vec<Refusal>) {
        let Some(entry) = object.entry() else { return };
        let own = entry.warnings().into_iter();
        found.extend(own.map(|problem| likely(object, problem)));
        for (i, host) in entry.hosts.iter().enumerate() {
            let resolved = self.hosts().resolve(host, name.namespace());
            if let Host::Service(service) = resolved {
                let reason = format!("spec.hosts[{i}]: this is the name of the Service {service}");
                found.push(warning(
                    Code::HiddenHost,
                    object,
                    host.at,
                    reason,
                    "take it out",
                ));
                continue;
            }
            let service = NsName::new(name.namespace(), &host.to_ascii_lowercase());
            let known = service.and_then(|service| self.services.get(&service));
            if let Some(winner) = known.filter(|known| known.object.key != object.key) {
                let winner = &winner.object;
                let place = format!("{}:{}", winner.origin.file_text(), winner.origin.at.line);
                let reason = format!(
                    "spec.hosts[{i}]: {} ({place}) has this host already and is older or first by name",
                    winner.key
                );
                found.push(warning(
                    Code::HiddenHost,
                    object,
                    host.at,
                    reason,
                    "merge the two",
                ));
            }
        }
    }

    /// Of several rules of one host in a namespace only one gives the policy of the service.
    fn second_policy(
        &self,
        object: &Arc<Object>,
        rule: &DestinationRule,
        service: &NsName,
        found: &mut Vec<Refusal>,
    ) {
        let Some(policy) = &rule.traffic_policy else {
            return;
        };
        let rules = self.rules_for(service, object.key.name.namespace());
        let has_policy = |rule: &DestinationRule| rule.traffic_policy.is_some();
        let first = rules.iter().find(|o| o.rule().is_some_and(has_policy));
        if let Some(first) = first.filter(|first| first.key != object.key) {
            let place = format!("{}:{}", first.origin.file_text(), first.origin.at.line);
            let reason = format!(
                "spec.trafficPolicy: {} ({place}) has the policy of {service} already and is older or \
                 first by name",
                first.key
            );
            found.push(warning(
                Code::HiddenPolicy,
                object,
                policy.at,
                reason,
                "merge the two",
            ));
        }
    }

    fn empty_subset(
        &self,
        object: &Arc<Object>,
        i: usize,
        subset: &At<String>,
        service: &NsName,
    ) -> Refusal {
        let reason = format!(
            "spec.subsets[{i}]: the subset `{}` selects no pod of {service}",
            subset.as_str()
        );
        warning(
            Code::EmptySubset,
            object,
            subset.at,
            reason,
            "compare its labels with those of the pods",
        )
    }
}

/// What is worked out once for all objects that it concerns.
#[derive(Default)]
struct Memo<'a> {
    shadows: HashMap<(NsName, Box<str>), Rc<Shadows<'a>>>,
    tables: Tables,
    /// Rules whose circle is told, by their origins.
    circles: HashSet<String>,
    /// Whether a service has pods, and none of them a sidecar.
    bare: HashMap<NsName, bool>,
    ports: Ports,
}

impl<'a> Memo<'a> {
    fn shadows(&mut self, model: &'a Model, service: &NsName, namespace: &str) -> Rc<Shadows<'a>> {
        let known = self.shadows.entry((service.clone(), namespace.into()));
        let make = || Rc::new(model.shadows(service, namespace));
        known.or_insert_with(make).clone()
    }
}

fn warning(code: Code, object: &Object, at: Position, reason: String, suggestion: &str) -> Refusal {
    likely(object, Problem::new(code, at, reason).suggest(suggestion))
}

fn likely(object: &Object, problem: Problem) -> Refusal {
    Refusal::of(&object.key, &object.origin, problem)
}
