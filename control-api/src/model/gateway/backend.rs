//! Who gets requests: a Service of any namespace, with a port that it has. Where that cannot be, its
//! share is answered with an error.

use super::{super::Model, attach::backend_named, status::Reason};
use crate::{name::NsName, resources::gateway::BackendRef};

/// Why a backend cannot be meant.
#[derive(Debug)]
pub(super) struct NoBackend {
    pub(super) reason: Reason,
    pub(super) text: String,
    pub(super) suggestion: String,
}

impl Model {
    /// The service and its port.
    pub(super) fn backend(
        &self,
        route: &NsName,
        to: &BackendRef,
    ) -> Result<(NsName, u16), NoBackend> {
        let none = |reason, text: String, suggestion: String| NoBackend {
            reason,
            text,
            suggestion,
        };
        if !to.is_service() {
            let text = format!(
                "`{}` of the group \"{}\" is no kind that requests can be sent to",
                to.kind.escape_debug(),
                to.group.escape_debug()
            );
            return Err(none(Reason::InvalidKind, text, "name a Service".into()));
        }
        let missing = |text, suggestion| none(Reason::BackendNotFound, text, suggestion);
        let Some(name) = backend_named(route, to) else {
            let text = format!("\"{}\" is no name of a Service", to.name.escape_debug());
            return Err(missing(text, String::new()));
        };
        let known = self
            .service(&name)
            .filter(|service| service.entry.is_none());
        let Some(service) = known else {
            let text = format!("there is no Service {name}");
            return Err(missing(text, self.nearest_service(&name)));
        };
        if service.external_name {
            let text = format!("Service {name} is of type ExternalName and has no endpoints");
            let instead = "name a Service with endpoints".to_owned();
            return Err(none(Reason::InvalidKind, text, instead));
        }
        let port = to.port.unwrap_or_default();
        if service.ports.iter().all(|known| known.number != port) {
            let ports = service.ports.iter().map(|port| port.number.to_string());
            let ports: Vec<String> = ports.collect();
            let text = format!("Service {name} has no port {port}");
            return Err(missing(text, format!("its ports: {}", ports.join(", "))));
        }
        Ok((name, port))
    }
}
