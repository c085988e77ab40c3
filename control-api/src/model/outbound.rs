//! What pods may call: the oldest Sidecar that selects the pod says so, else its namespace's, else the
//! mesh's (in the system namespace). One that says nothing of something asks the next wider one.
//! Services that a pod does not see are like addresses that the mesh does not know; whether calls to
//! those are passed through is the Sidecar's to say as well.

use std::sync::Arc;

use heddle_proto::mesh::{Hidden, OutboundPolicy};

use super::{Client, Model, policies::origin};
use crate::{
    name::NsName,
    resources::{
        labels::Labels,
        pod::Pod,
        sidecar::{OutboundMode, Sidecar},
    },
    source::Object,
};

/// The services that a pod sees: "NAMESPACE/HOST", as they are written. None: all of them.
pub type Sight = Option<Box<[Box<str>]>>;

impl Model {
    pub(super) fn outbound(&self, namespace: &str, pod: &Pod) -> OutboundPolicy {
        let mode = self
            .sidecars_for(namespace, &pod.labels)
            .find_map(|sidecar| sidecar.outbound_traffic_policy.as_ref())
            .map(|policy| policy.mode);
        match mode {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) | None => OutboundPolicy::Unspecified,
        }
    }

    /// What a client sees.
    pub fn sight(&self, client: &Client) -> Sight {
        let mut sidecars = self.sidecars_for(&client.namespace, &client.labels);
        let hosts = sidecars.find_map(Sidecar::seen)?;
        Some(hosts.map(|host| host.as_str().into()).collect())
    }

    /// A service that a client does not see, and the Sidecar that says so.
    pub(super) fn hidden_service(&self, service: &NsName, client: &Client) -> Option<Hidden> {
        if self.sees(client, service) {
            return None;
        }
        let mut objects = self.sidecar_objects(&client.namespace, &client.labels);
        let (by, at) = objects.find_map(|object| {
            let egress = object.sidecar()?.egress.first()?;
            Some((object, egress.at))
        })?;
        let namespace = match service.namespace() {
            own if *own == *client.namespace => ".",
            other => other,
        };
        Some(Hidden {
            service: service.to_string(),
            host: format!("{namespace}/{}", self.hosts().full_name(service)),
            by: origin(by, at),
        })
    }

    /// Whether a client sees a service.
    pub fn sees(&self, client: &Client, service: &NsName) -> bool {
        let mut sidecars = self.sidecars_for(&client.namespace, &client.labels);
        let Some(mut hosts) = sidecars.find_map(Sidecar::seen) else {
            return true;
        };
        let full = self.hosts().full_name(service);
        hosts.any(|seen| {
            let (namespace, host) = seen.split_once('/').unwrap_or_default();
            let in_namespace = match namespace {
                "*" => true,
                "." => service.namespace() == &*client.namespace,
                named => service.namespace() == named,
            };
            let host = host.to_ascii_lowercase();
            in_namespace
                && match host.strip_prefix('*') {
                    Some(rest) => full.ends_with(rest),
                    None => full == host,
                }
        })
    }

    fn sidecars_for(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = &Sidecar> {
        let objects = self.sidecar_objects(namespace, labels);
        objects.filter_map(|object| object.sidecar())
    }

    /// Those that are for a pod, the closest first.
    fn sidecar_objects(
        &self,
        namespace: &str,
        labels: &Labels,
    ) -> impl Iterator<Item = &Arc<Object>> {
        let here = || self.sidecars_in(namespace);
        let selector = |object: &Arc<Object>| object.sidecar().and_then(Sidecar::selector);
        let selects =
            |object: &&Arc<Object>| selector(object).is_some_and(|wanted| labels.has_all(&wanted));
        let is_wide = |object: &&Arc<Object>| selector(object).is_none();
        let of_mesh = self.sidecars_in(&self.settings.system_namespace);
        let candidates = [
            here().find(selects),
            here().find(is_wide),
            of_mesh.into_iter().find(is_wide),
        ];
        candidates.into_iter().flatten()
    }

    fn sidecars_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        let sidecars = self.sidecars.get(namespace);
        sidecars.into_iter().flat_map(|sidecars| sidecars.iter())
    }
}
