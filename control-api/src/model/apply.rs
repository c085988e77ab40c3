//! One batch of changes, applied: indexes first, then the routes that may or may no longer be in
//! force are judged, then the cells of what was touched are replaced. Returns what may have
//! changed for proxies.

mod policies;
mod workloads;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use tracing::{info, warn};

use super::{Dirty, Model, RouteEntry, ServiceEntry, encoded::Cell, hosts::Host};
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
    judge: BTreeSet<NsName>,
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
        self.judge_routes(&mut touched);
        self.renew_cells(&touched);
        if !self.last_good.is_empty() {
            self.last_good = Arc::default();
        }
        touched.dirty.services.extend(touched.endpoints);
        touched.dirty.services.extend(touched.routes);
        touched.dirty
    }

    fn change(&mut self, key: ObjectKey, object: Option<Arc<Object>>, touched: &mut Touched) {
        let ObjectKey { kind, name } = key;
        match kind {
            Kind::Namespace | Kind::ServiceAccount => {}
            Kind::Service => self.change_service(name, object, touched),
            Kind::Pod => self.change_pod(name, object, touched),
            Kind::EndpointSlice => self.change_slice(name, object, touched),
            Kind::DestinationRule => self.change_rule(name, object, touched),
            Kind::VirtualService => self.change_route(name, object, touched),
            Kind::PeerAuthentication => self.change_authentication(name, object, touched),
            Kind::Telemetry => self.change_telemetry(name, object, touched),
            Kind::NetworkPolicy => {
                match object {
                    Some(object) => self.network_policies.insert(name, object),
                    None => self.network_policies.remove(&name),
                };
            }
        }
    }

    fn judge_routes(&mut self, touched: &mut Touched) {
        for name in std::mem::take(&mut touched.judge) {
            let Some(entry) = self.routes.get(&name) else {
                continue;
            };
            let (written, before) = (entry.written.clone(), entry.in_force.clone());
            let Some(spec) = written.route() else {
                continue;
            };
            let refusals = self.judge(&written, spec, before.is_some());
            for refusal in refusals
                .iter()
                .filter(|refusal| !entry.refusals.contains(refusal))
            {
                warn!("refused: {refusal}");
            }
            if refusals.is_empty() && !entry.refusals.is_empty() {
                info!("{} is in force as it is written now", written.key);
            }
            let in_force = match (refusals.is_empty(), spec.is_for_mesh()) {
                (true, true) => Some(written.clone()),
                (true, false) => None,
                (false, _) => before.clone(),
            };
            let same = match (&before, &in_force) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            let held_back = in_force
                .as_ref()
                .is_some_and(|object| !Arc::ptr_eq(object, &written));
            self.hold_back(&written.key, held_back);
            let entry = RouteEntry {
                written: written.clone(),
                in_force: in_force.clone(),
                refusals: refusals.into(),
            };
            self.routes.insert(name.clone(), Arc::new(entry));
            if !same {
                self.index_route(&name, before.as_ref(), in_force.as_ref(), touched);
            }
        }
    }

    /// Notes whether another version of an object is in force than what is written.
    fn hold_back(&mut self, key: &ObjectKey, is_held: bool) {
        if self.held_back.contains(key) != is_held {
            let keys = Arc::make_mut(&mut self.held_back);
            match is_held {
                true => _ = keys.insert(key.clone()),
                false => _ = keys.remove(key),
            }
        }
    }

    fn renew_cells(&mut self, touched: &Touched) {
        let touched_services: HashSet<&NsName> = touched.endpoints.union(&touched.routes).collect();
        for name in touched_services {
            let Some(entry) = self.services.get(name) else {
                continue;
            };
            let renewed = ServiceEntry {
                object: entry.object.clone(),
                wire: entry.wire.clone(),
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
            Host::Foreign => Vec::new(),
        }
    }
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Namespace | Kind::ServiceAccount | Kind::NetworkPolicy => 0,
        Kind::Service => 1,
        Kind::Pod => 2,
        Kind::EndpointSlice => 3,
        Kind::PeerAuthentication | Kind::Telemetry => 4,
        Kind::DestinationRule => 5,
        Kind::VirtualService => 6,
    }
}
