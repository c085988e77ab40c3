//! Istio's Telemetry (telemetry.istio.io): the sampling percentage of traces, for the mesh or for
//! a namespace.

use serde::Deserialize;

use super::at::{At, Unsupported};
use crate::check::Code;
use crate::source::decode::Problem;

/// `spec:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Trace settings; the first with a percentage counts.
    #[serde(default)]
    pub tracing: Vec<Tracing>,
    selector: Option<Unsupported>,
    target_ref: Option<Unsupported>,
    target_refs: Option<Unsupported>,
    metrics: Option<Unsupported>,
    access_logging: Option<Unsupported>,
}

/// `tracing[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// 0 to 100.
    pub random_sampling_percentage: Option<At<f64>>,
    #[serde(rename = "match")]
    matches: Option<Unsupported>,
    providers: Option<Unsupported>,
    disable_span_reporting: Option<Unsupported>,
    custom_tags: Option<Unsupported>,
    use_request_id_for_trace_sampling: Option<Unsupported>,
    enable_istio_tags: Option<Unsupported>,
    disable_context_propagation: Option<Unsupported>,
}

impl Telemetry {
    /// Parts in a million of requests to sample, if it says.
    pub fn sampling_ppm(&self) -> Option<u32> {
        let percentage = self
            .tracing
            .iter()
            .find_map(|tracing| tracing.random_sampling_percentage.as_ref())?;
        Some(ppm(percentage.value))
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let given = self.tracing.iter().enumerate();
        given
            .filter_map(|(i, tracing)| Some((i, tracing.random_sampling_percentage.as_ref()?)))
            .filter(|(_, percentage)| !(0.0..=100.0).contains(&percentage.value))
            .map(|(i, percentage)| {
                let reason = format!(
                    "spec.tracing[{i}].randomSamplingPercentage: {} is not from 0 to 100",
                    percentage.value
                );
                Problem::new(Code::BadPercentage, percentage.at, reason)
            })
            .collect()
    }
}

/// Percent to parts in a million.
pub fn ppm(percentage: f64) -> u32 {
    (percentage.clamp(0.0, 100.0) * 10_000.0).round() as u32
}
