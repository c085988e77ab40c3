//! Services whose ports say nothing of what is spoken there, and routes of services without sidecars.

use std::sync::Arc;

use super::{Memo, warning};
use crate::{
    check::Code,
    model::{Model, protocol},
    name::NsName,
    resources::service::Service,
    source::{Object, Refusal, node::Position},
};

use heddle_proto::mesh::Protocol;

impl Model {
    pub(super) fn of_ports(
        &self,
        object: &Arc<Object>,
        service: &Service,
        found: &mut Vec<Refusal>,
    ) {
        for port in &service.ports {
            let numbers = [port.number];
            let declared = protocol::of_port(port.app_protocol.as_deref(), &port.name, &numbers);
            if declared == Protocol::Unspecified {
                let name = match &*port.name {
                    "" => "it has no name".to_owned(),
                    name => format!("`{}` does not begin with a protocol", name.escape_debug()),
                };
                let reason = format!(
                    "spec.ports: port {}: {name}, and it has no appProtocol",
                    port.number
                );
                let instead =
                    "write `appProtocol: http` (or http2, grpc, tcp), or a name such as `http-api`";
                let at = Position::default();
                found.push(warning(Code::UndeclaredPort, object, at, reason, instead));
            }
        }
    }

    /// Routes are the clients' sidecars' to follow; what needs one at the server is lost without.
    pub(super) fn of_unmeshed(
        &self,
        object: &Arc<Object>,
        at: Position,
        path: &str,
        name: &NsName,
        memo: &mut Memo<'_>,
        found: &mut Vec<Refusal>,
    ) {
        let is_bare = match memo.bare.get(name) {
            Some(known) => *known,
            None => {
                let is_bare = self.is_bare(name);
                memo.bare.insert(name.clone(), is_bare);
                is_bare
            }
        };
        if is_bare {
            let reason = format!("{path}: no pod of {name} has a sidecar");
            let instead = "inject its pods, if they are meant to be of the mesh";
            found.push(warning(Code::NotMeshed, object, at, reason, instead));
        }
    }

    /// Whether a service has pods, and none of them a sidecar.
    fn is_bare(&self, name: &NsName) -> bool {
        let Some(service) = self.service(name).filter(|service| service.entry.is_none()) else {
            return false;
        };
        let candidates = self.candidates(name, service);
        let pods = candidates.iter().filter_map(|one| self.pod(one.pod?));
        let mut pods = pods.peekable();
        pods.peek().is_some() && pods.all(|pod| !pod.meshed)
    }
}
