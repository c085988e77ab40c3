//! Changes of nodes: only where they are matters, to the pods on them.

use std::sync::Arc;

use super::Touched;
use crate::{model::Model, name::NsName, source::Object};

impl Model {
    pub(super) fn change_node(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let place = |object: Option<&Arc<Object>>| {
            let node = object.and_then(|object| object.node());
            node.map(|node| node.locality.clone())
                .filter(|place| !place.is_empty())
        };
        let before = place(self.nodes.get(&name));
        let after = place(new.as_ref());
        let host = name.name().to_owned();
        match new {
            Some(object) => self.nodes.insert(name, object),
            None => self.nodes.remove(&name),
        };
        if before == after {
            return;
        }
        for (pod_name, object) in self.pods.iter() {
            let Some(pod) = object
                .pod()
                .filter(|pod| pod.node.as_deref() == Some(&*host))
            else {
                continue;
            };
            touched.dirty.own.pods.insert(pod_name.clone());
            touched.dirty.addresses.extend(pod.addresses.iter());
            touched
                .endpoints
                .extend(self.services_of(pod_name, pod).cloned());
            let of_slices = self.slice_pods.get(pod_name);
            touched.endpoints.extend(
                of_slices
                    .iter()
                    .flat_map(|services| services.iter().cloned()),
            );
        }
    }
}
