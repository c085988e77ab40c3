//! Changes of Gateway API's routes: which Services they are attached to and which they name.

use std::{collections::BTreeSet, sync::Arc};

use super::Touched;
use crate::{
    model::{
        Model,
        gateway::{parents_named, services_named},
    },
    name::{Kind, NsName, ObjectKey},
    source::Object,
};

impl Model {
    pub(super) fn change_gateway_route(
        &mut self,
        key: ObjectKey,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let old = match new.clone() {
            Some(object) => self.gateway_routes.insert(key.clone(), object),
            None => self.gateway_routes.remove(&key),
        };
        for (object, add) in [(old, false), (new, true)] {
            let Some(spec) = object.as_deref().and_then(Object::gateway_route) else {
                continue;
            };
            for parent in parents_named(&key.name, spec) {
                match add {
                    true => self.gateway_of.add(parent.clone(), key.clone()),
                    false => self.gateway_of.take(&parent, &key),
                }
                touched.routes.insert(parent);
            }
            for service in services_named(&key.name, spec) {
                match add {
                    true => self.gateway_mentions.add(service.clone(), key.clone()),
                    false => self.gateway_mentions.take(&service, &key),
                }
                // What it says of a port's protocol is told with the Service, and to its pods.
                if key.kind == Kind::GrpcRoute {
                    self.touch_members(&service, touched);
                    touched.policies.insert(service);
                }
            }
        }
    }

    /// The tables that may name a service by a route.
    pub(super) fn touch_gateway_parents(&self, service: &NsName, touched: &mut Touched) {
        let keys = self.gateway_mentions.get(service).into_iter();
        let routes = keys
            .flat_map(|keys| keys.iter())
            .filter_map(|key| Some((key, self.gateway_routes.get(key)?.gateway_route()?)));
        let parents: BTreeSet<NsName> = routes
            .flat_map(|(key, spec)| parents_named(&key.name, spec))
            .collect();
        touched.routes.extend(parents);
    }
}
