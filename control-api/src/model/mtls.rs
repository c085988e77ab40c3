//! Which mutual-TLS mode a pod's ports have: the oldest PeerAuthentication that selects the pod,
//! else its namespace's, else the mesh's (in the system namespace), else PERMISSIVE. UNSET asks
//! the next wider one.

use heddle_proto::mesh::MtlsMode;

use super::{Model, policies::origin};
use crate::{
    resources::{
        peer_authentication::{Mode, PeerAuthentication},
        pod::Pod,
    },
    source::Object,
};

/// Modes of one pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodModes {
    pub(super) default: Decided,
    /// By the pod's port.
    pub(super) ports: Vec<(u16, Decided)>,
}

/// A mode, and the policy that says so: its name, file and line; empty where none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) mode: MtlsMode,
    pub(super) origin: String,
}

impl Model {
    pub(super) fn modes(&self, namespace: &str, pod: &Pod) -> PodModes {
        let here = || self.authentications_in(namespace);
        let system = self.settings.system_namespace.as_str();
        let workload = here().find(|(_, policy)| {
            policy
                .selector()
                .is_some_and(|wanted| pod.labels.has_all(&wanted))
        });
        let workload = workload.or_else(|| here().find(|(_, policy)| policy.any_pod));
        let of_namespace = here().find(|(_, policy)| policy.is_wide());
        let of_mesh = self
            .authentications_in(system)
            .find(|(_, policy)| policy.is_wide());
        let default = [workload, of_namespace, of_mesh]
            .into_iter()
            .flatten()
            .find_map(|(object, policy)| {
                let mtls = policy.mtls?;
                Some(Decided {
                    mode: wire(mtls.mode)?,
                    origin: origin(object, mtls.at),
                })
            })
            .unwrap_or(Decided {
                mode: MtlsMode::Permissive,
                origin: String::new(),
            });
        let ports = workload.into_iter().flat_map(|(object, policy)| {
            let ports = policy.port_level_mtls.iter();
            ports.map(move |(port, mtls)| (object, port, mtls))
        });
        let ports = ports.filter_map(|(object, port, mtls)| {
            let port = port.parse().ok()?;
            let decided = wire(mtls.mode).map(|mode| Decided {
                mode,
                origin: origin(object, mtls.at),
            });
            Some((port, decided.unwrap_or_else(|| default.clone())))
        });
        PodModes {
            ports: ports.collect(),
            default,
        }
    }

    fn authentications_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = (&Object, &PeerAuthentication)> {
        let policies = self
            .authentications
            .get(namespace)
            .map(|policies| &policies[..])
            .unwrap_or_default();
        let policies = policies.iter();
        policies.filter_map(|object| Some((&**object, object.authentication()?)))
    }
}

impl PodModes {
    pub(super) fn of(&self, port: u16) -> &Decided {
        self.ports
            .iter()
            .find(|(number, _)| *number == port)
            .map_or(&self.default, |(_, decided)| decided)
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
