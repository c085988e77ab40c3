//! Starts pods with the small kubelet of this machine.

use std::sync::Arc;

use heddle_injector::InjectConfig;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::sync::watch;

use super::controller::{PodRunner, RunningPod};
use crate::node::{AddressPool, Node, PodHandle, PodStatus, names};

/// The runner; it also allots the pods' addresses.
#[derive(Debug)]
pub(crate) struct Runner {
    node: Arc<Node>,
    addresses: AddressPool,
    injection: InjectConfig,
}

impl Runner {
    pub(crate) fn new(node: Arc<Node>, injection: InjectConfig) -> Self {
        Self {
            addresses: node.layout.plan.pod_pool(),
            node,
            injection,
        }
    }
}

impl PodRunner for Runner {
    type Pod = PodHandle;

    fn start(&mut self, pod: &Value) -> Result<PodHandle, String> {
        let pod: Pod = serde_json::from_value(pod.clone())
            .map_err(|error| format!("the pod cannot be read: {error}"))?;
        names::check(&pod).map_err(|error| error.to_string())?;
        let ip = self
            .addresses
            .take()
            .ok_or("every pod address of this mesh is in use")?;
        Ok(PodHandle::start(&self.node, pod, ip))
    }

    fn release(&mut self, status: &PodStatus) {
        if let Some(ip) = status
            .ips
            .first()
            .and_then(|ip| self.addresses.pair_of(*ip))
        {
            self.addresses.release(ip);
        }
    }

    fn injection(&self) -> &InjectConfig {
        &self.injection
    }
}

impl RunningPod for PodHandle {
    fn status(&self) -> watch::Receiver<PodStatus> {
        PodHandle::status(self)
    }

    async fn stop(self) {
        PodHandle::stop(self, None).await;
    }
}
