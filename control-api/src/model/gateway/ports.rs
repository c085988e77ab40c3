//! What is the same for every route at a port of a Service: worked out once in one look at many routes, since
//! each of these is a walk over all routes of the Service.

use std::collections::HashMap;

use super::super::Model;
use crate::name::{Kind, NsName, ObjectKey};

/// A port, and the namespace whose routes or clients are asked about.
type Place = (NsName, u16, Box<str>);

/// Of one look: made anew for each, so that it never outlives the picture that it is of.
#[derive(Default)]
pub(in crate::model) struct Ports {
    opaque: HashMap<Place, Option<&'static str>>,
    rivals: HashMap<Place, Option<ObjectKey>>,
}

impl Ports {
    /// How a port of which no requests are read says so.
    pub(in crate::model) fn opaque(
        &mut self,
        model: &Model,
        service: &NsName,
        port: u16,
        namespace: &str,
    ) -> Option<&'static str> {
        let place = (service.clone(), port, namespace.into());
        let known = self.opaque.entry(place);
        *known.or_insert_with(|| model.opaque(service, port, namespace))
    }

    /// A GRPCRoute that has a port, to which this route is attached too.
    pub(super) fn rival(
        &mut self,
        model: &Model,
        route: &ObjectKey,
        service: &NsName,
        port: u16,
    ) -> Option<&ObjectKey> {
        if route.kind != Kind::HttpRoute {
            return None;
        }
        let namespace = route.name.namespace();
        let known = self.rivals.entry((service.clone(), port, namespace.into()));
        let rival = || model.grpc_route_at(service, port, namespace).cloned();
        known.or_insert_with(rival).as_ref()
    }
}
