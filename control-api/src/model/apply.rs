//! One batch of changes, applied: indexes first, then the routes and rules that may or may no longer
//! be in force are judged, then the cells of what was touched are replaced. Returns what may have
//! changed for proxies.

mod entries;
mod gateway;
mod judgement;
mod names;
mod nodes;
mod policies;
mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use self::judgement::{RouteBefore, RuleChange};
use super::{Dirty, Known, Model, encoded::Cell, hosts::Host};
use crate::{
    name::{Kind, NsName, ObjectKey},
    source::{Change, Object},
};

/// What one batch has touched so far.
#[derive(Default)]
struct Touched {
    dirty: Dirty,
    endpoints: HashSet<NsName>,
    routes: HashSet<NsName>,
    policies: HashSet<NsName>,
    /// Routes to be judged, or whose removal may free what others hold.
    judge: BTreeSet<NsName>,
    routes_before: BTreeMap<NsName, RouteBefore>,
    /// Rules that may or may not be in force as they are written.
    rules: BTreeMap<NsName, RuleChange>,
}

impl Model {
    /// Applies a batch.
    pub fn apply(&mut self, mut changes: Vec<Change>) -> Dirty {
        // Services before the pods that they select; what routes name before the routes.
        changes.sort_by_key(|change| match change {
            Change::Upsert(object) => rank(object.key.kind),
            Change::Remove(key) => rank(key.kind),
        });
        let mut touched = Touched::default();
        for change in changes {
            match change {
                Change::Upsert(object) => {
                    self.change(object.key.clone(), Some(object), &mut touched)
                }
                Change::Remove(key) => self.change(key, None, &mut touched),
            }
        }
        self.judge_all(&mut touched);
        self.touch_headless(&mut touched);
        self.renew_cells(&touched);
        if !self.last_good.is_empty() {
            self.last_good = Arc::default();
        }
        touched.dirty.services.extend(touched.endpoints);
        touched.dirty.services.extend(touched.routes);
        touched.dirty.services.extend(touched.policies);
        touched.dirty
    }

    fn change(&mut self, key: ObjectKey, object: Option<Arc<Object>>, touched: &mut Touched) {
        let ObjectKey { kind, name } = key;
        match kind {
            Kind::Namespace | Kind::ServiceAccount => {}
            Kind::Service => self.change_service(name, object, touched),
            Kind::Node => self.change_node(name, object, touched),
            Kind::Pod => self.change_pod(name, object, touched),
            Kind::EndpointSlice => self.change_slice(name, object, touched),
            Kind::ServiceEntry => self.change_entry(name, object, touched),
            Kind::DestinationRule => self.change_rule(name, object, touched),
            Kind::VirtualService => self.change_route(name, object, touched),
            Kind::HttpRoute | Kind::GrpcRoute => {
                self.change_gateway_route(ObjectKey { kind, name }, object, touched)
            }
            Kind::PeerAuthentication => self.change_authentication(name, object, touched),
            Kind::Telemetry => self.change_telemetry(name, object, touched),
            Kind::Sidecar => self.change_sidecar(name, object, touched),
            Kind::NetworkPolicy => {
                match object {
                    Some(object) => self.network_policies.insert(name, object),
                    None => self.network_policies.remove(&name),
                };
            }
        }
    }

    fn renew_cells(&mut self, touched: &Touched) {
        let named = touched.endpoints.iter().chain(&touched.routes);
        let touched_services: HashSet<&NsName> = named.chain(&touched.policies).collect();
        for name in touched_services {
            let Some(entry) = self.services.get(name) else {
                continue;
            };
            let renewed = Known {
                object: entry.object.clone(),
                service: entry.service.clone(),
                wire: if touched.policies.contains(name) {
                    Cell::default()
                } else {
                    entry.wire.clone()
                },
                endpoints: if touched.endpoints.contains(name) {
                    Cell::default()
                } else {
                    entry.endpoints.clone()
                },
                routes: if touched.routes.contains(name) {
                    Cell::default()
                } else {
                    entry.routes.clone()
                },
            };
            self.services.insert(name.clone(), Arc::new(renewed));
        }
    }

    /// The services that a host of a resource names now.
    fn named_by(&self, host: &str, namespace: &str) -> Vec<NsName> {
        match self.hosts().resolve(host, namespace) {
            Host::Service(name) => vec![name],
            Host::Pattern(suffix) => {
                let all = self.services.iter().map(|(name, _)| name);
                all.filter(|name| self.hosts().covers(&suffix, name))
                    .cloned()
                    .collect()
            }
            Host::External(host) => {
                let services = self.externals.get(&host);
                services
                    .map(|services| services.to_vec())
                    .unwrap_or_default()
            }
        }
    }
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Namespace | Kind::ServiceAccount | Kind::NetworkPolicy | Kind::Node => 0,
        Kind::Service => 1,
        Kind::Pod => 2,
        Kind::EndpointSlice | Kind::ServiceEntry => 3,
        Kind::PeerAuthentication | Kind::Telemetry | Kind::Sidecar => 4,
        Kind::DestinationRule => 5,
        Kind::VirtualService | Kind::HttpRoute | Kind::GrpcRoute => 6,
    }
}
