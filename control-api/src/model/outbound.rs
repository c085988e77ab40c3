//! What becomes of a pod's calls to addresses that the mesh does not know: the oldest Sidecar that
//! selects the pod says so, else its namespace's, else the mesh's (in the system namespace), else they
//! are passed through. One that says nothing of it asks the next wider one.

use heddle_proto::mesh::OutboundPolicy;

use super::Model;
use crate::resources::{
    pod::Pod,
    sidecar::{OutboundMode, Sidecar},
};

impl Model {
    pub(super) fn outbound(&self, namespace: &str, pod: &Pod) -> OutboundPolicy {
        let here = || self.sidecars_in(namespace);
        let selects = |sidecar: &&Sidecar| {
            let selector = sidecar.selector();
            selector.is_some_and(|wanted| pod.labels.has_all(&wanted))
        };
        let is_wide = |sidecar: &&Sidecar| sidecar.selector().is_none();
        let of_mesh = self.sidecars_in(&self.settings.system_namespace);
        let candidates = [
            here().find(selects),
            here().find(is_wide),
            of_mesh.into_iter().find(is_wide),
        ];
        let mode = candidates
            .into_iter()
            .flatten()
            .find_map(|sidecar| sidecar.outbound_traffic_policy.as_ref())
            .map(|policy| policy.mode);
        match mode {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) | None => OutboundPolicy::Unspecified,
        }
    }

    fn sidecars_in(&self, namespace: &str) -> impl Iterator<Item = &Sidecar> {
        let sidecars = self.sidecars.get(namespace);
        let sidecars = sidecars.map(|sidecars| &sidecars[..]).unwrap_or_default();
        sidecars.iter().filter_map(|object| object.sidecar())
    }
}
