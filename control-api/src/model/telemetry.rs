//! What telemetry a namespace's proxies send: the namespace's Telemetry, else the mesh's, else the
//! defaults. And the trust bundle, which is the same for all.

use heddle_proto::mesh;

use super::{Dirty, Encoded, Model};

impl Model {
    /// Telemetry settings of a namespace.
    pub fn telemetry(&self, namespace: &str) -> Encoded {
        let percentage = |namespace: &str| {
            let objects = self.telemetries.get(namespace)?;
            objects
                .iter()
                .find_map(|object| object.telemetry()?.sampling_ppm())
        };
        let sampling_ppm = percentage(namespace)
            .or_else(|| percentage(&self.settings.system_namespace))
            .unwrap_or(self.settings.sampling_ppm);
        Encoded::new(&mesh::Telemetry {
            sampling_ppm,
            otlp_endpoint: self.settings.otlp_endpoint.clone(),
            otlp_identity: self.settings.otlp_identity.clone(),
        })
    }

    /// The trust bundle; None before there is one.
    pub fn trust_bundle(&self) -> Option<Encoded> {
        let roots = self.roots.to_vec();
        (!roots.is_empty()).then(|| Encoded::new(&mesh::TrustBundle { roots }))
    }

    /// Replaces the trust bundle (DER). An empty one is never taken.
    pub fn set_roots(&mut self, roots: Vec<Vec<u8>>) -> Dirty {
        let mut dirty = Dirty::default();
        if !roots.is_empty() && roots[..] != self.roots[..] {
            self.roots = roots.into();
            dirty.own.all = true;
        }
        dirty
    }
}
