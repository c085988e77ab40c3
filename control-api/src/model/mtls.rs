//! Which mutual-TLS mode a pod's ports have: the oldest PeerAuthentication that selects the pod,
//! else its namespace's, else the mesh's (in the system namespace), else PERMISSIVE. UNSET asks
//! the next wider one.

use heddle_proto::mesh::MtlsMode;

use super::Model;
use crate::resources::{
    peer_authentication::{Mode, PeerAuthentication},
    pod::Pod,
};

/// Modes of one pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodModes {
    pub(super) default: MtlsMode,
    /// By the pod's port.
    pub(super) ports: Vec<(u16, MtlsMode)>,
}

impl Model {
    pub(super) fn modes(&self, namespace: &str, pod: &Pod) -> PodModes {
        let here = || self.authentications_in(namespace);
        let system = self.settings.system_namespace.as_str();
        let workload = here().find(|policy| {
            policy
                .selector()
                .is_some_and(|wanted| pod.labels.has_all(&wanted))
        });
        let workload = workload.or_else(|| here().find(|policy| policy.any_pod));
        let of_namespace = here().find(|policy| policy.is_wide());
        let of_mesh = self
            .authentications_in(system)
            .find(|policy| policy.is_wide());
        let default = [workload, of_namespace, of_mesh]
            .into_iter()
            .flatten()
            .find_map(|policy| wire(policy.mtls.unwrap_or_default().mode))
            .unwrap_or(MtlsMode::Permissive);
        let ports = workload
            .map(|policy| &policy.port_level_mtls)
            .into_iter()
            .flatten();
        let ports = ports.filter_map(|(port, mtls)| {
            let port = port.parse().ok()?;
            Some((port, wire(mtls.mode).unwrap_or(default)))
        });
        PodModes {
            default,
            ports: ports.collect(),
        }
    }

    fn authentications_in(&self, namespace: &str) -> impl Iterator<Item = &PeerAuthentication> {
        let policies = self
            .authentications
            .get(namespace)
            .map(|policies| &policies[..])
            .unwrap_or_default();
        policies.iter().filter_map(|object| object.authentication())
    }
}

impl PodModes {
    pub(super) fn of(&self, port: u16) -> MtlsMode {
        self.ports
            .iter()
            .find(|(number, _)| *number == port)
            .map_or(self.default, |(_, mode)| *mode)
    }
}

fn wire(mode: Mode) -> Option<MtlsMode> {
    match mode {
        Mode::Unset => None,
        Mode::Disable => Some(MtlsMode::Disable),
        Mode::Permissive => Some(MtlsMode::Permissive),
        Mode::Strict => Some(MtlsMode::Strict),
    }
}
