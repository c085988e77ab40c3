//! What is spoken at a port of a Service. What it declares by appProtocol holds; else a GRPCRoute of
//! the Service's own namespace that names the port says that it speaks gRPC, and to the clients of a
//! consumer's namespace one of theirs. One that is attached to
//! all ports only keeps a port that is called `http` from being held to HTTP/1.1.

use heddle_proto::mesh::Protocol;

use super::{
    super::{Model, protocol},
    attach::{Attached, backend_named},
};
use crate::{
    name::{Kind, NsName},
    resources::{
        gateway::{ParentRef, Route},
        service::{ServicePort, TargetPort},
    },
};

impl Model {
    /// `target`: the pod's number; `namespace`: of the clients.
    pub(in crate::model) fn port_protocol(
        &self,
        service: &NsName,
        port: &ServicePort,
        target: u16,
        namespace: &str,
    ) -> Protocol {
        let app_protocol = port.app_protocol.as_deref();
        let by_name = protocol::of_port(app_protocol, &port.name, &[port.number, target]);
        if protocol::declared(app_protocol, "").is_some() {
            return by_name;
        }
        let keys = self.gateway_mentions.get(service).into_iter();
        let keys = keys.flat_map(|keys| keys.iter()).filter(|key| {
            let of = key.name.namespace();
            key.kind == Kind::GrpcRoute && (of == service.namespace() || of == namespace)
        });
        let mut result = by_name;
        for key in keys {
            let object = self.gateway_routes.get(key);
            let Some(spec) = object.and_then(|object| object.gateway_route()) else {
                continue;
            };
            let parents = spec.parents.iter();
            let mut parents =
                parents.filter(|p| self.is_attached(&key.name, p, service, port.number));
            let is_named =
                |parent: &ParentRef| parent.port.is_some() || parent.section_name.is_some();
            if parents.clone().any(|parent| is_named(parent))
                || is_backend(&key.name, spec, service, port.number)
            {
                return Protocol::Grpc;
            }
            if by_name == Protocol::Http1 && parents.next().is_some() {
                result = Protocol::Unspecified;
            }
        }
        result
    }

    /// Whether clients of a namespace have GRPCRoutes of their own that name a service of another.
    pub(in crate::model) fn has_own_grpc_routes(&self, service: &NsName, namespace: &str) -> bool {
        let keys = self.gateway_mentions.get(service).into_iter();
        let mut keys = keys.flat_map(|keys| keys.iter());
        namespace != service.namespace()
            && keys.any(|key| key.kind == Kind::GrpcRoute && key.name.namespace() == namespace)
    }

    /// A port of which no requests are read, and how it says so.
    pub(super) fn opaque(
        &self,
        service: &NsName,
        number: u16,
        namespace: &str,
    ) -> Option<&'static str> {
        let known = self.service(service)?;
        let port = known.ports.iter().find(|port| port.number == number)?;
        let target = match port.target {
            TargetPort::Number(number) => number,
            TargetPort::Name(_) => port.number,
        };
        match self.port_protocol(service, port, target, namespace) {
            Protocol::Tcp => Some("TCP"),
            Protocol::Tls => Some("TLS of the application's own"),
            _ => None,
        }
    }

    fn is_attached(&self, route: &NsName, parent: &ParentRef, service: &NsName, port: u16) -> bool {
        match self.attached(route, parent) {
            Attached::To(to, ports) => to == *service && ports.contains(&port),
            _ => false,
        }
    }
}

fn is_backend(route: &NsName, spec: &Route, service: &NsName, port: u16) -> bool {
    let backends = spec.rules.iter().flat_map(|rule| &rule.backends);
    let mut backends = backends.map(|backend| &backend.to);
    backends.any(|to| to.port == Some(port) && backend_named(route, to).as_ref() == Some(service))
}
