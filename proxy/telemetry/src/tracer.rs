//! Decides what is sampled (skeleton).

use crate::collector::{CollectorSpec, MeshChannel};
use crate::metrics::Metrics;
use crate::request_span::RequestSpan;
use http::HeaderMap;

/// Which side of the hop this proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outbound: the app calls.
    Client,
    /// Inbound: the app is called.
    Server,
}

/// Whose spans these are: resource attributes of every span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `service.name`: the app label, or the owner's name. Empty: the pod's name.
    pub service: String,
    /// `k8s.pod.name`
    pub pod: String,
    /// `k8s.namespace.name`
    pub namespace: String,
}

/// Starts spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer {}

impl Tracer {
    /// A tracer that samples nothing until it is configured. Its export task runs on `runtime`.
    pub fn new(
        runtime: &tokio::runtime::Handle,
        workload: Workload,
        mesh: Option<MeshChannel>,
        metrics: &Metrics,
    ) -> Self {
        let _ = (runtime, workload, mesh, metrics);
        Self {}
    }

    /// Applies a pushed telemetry resource. Spans that are queued go to the new collector.
    pub fn configure(&self, sampling_ppm: u32, collector: Option<CollectorSpec>) {
        let _ = (sampling_ppm, collector);
    }

    /// Replaces the resource attributes, when the workload's configuration arrives.
    pub fn set_resource(&self, workload: Workload) {
        let _ = workload;
    }

    /// Starts a span if the request is sampled, and rewrites its propagation headers so that the
    /// next hop continues from it.
    pub fn start<R: rand::Rng + ?Sized>(
        &self,
        kind: Kind,
        headers: &mut HeaderMap,
        rng: &mut R,
    ) -> Option<Box<RequestSpan>> {
        let _ = (kind, headers, rng);
        None
    }

    /// Exports what is queued, for at most two seconds; nothing is sampled afterwards.
    pub async fn shutdown(&self) {}
}
