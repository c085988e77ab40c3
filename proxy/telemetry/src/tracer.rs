//! Decides which requests are sampled and starts their spans.
//!
//! A sampled request is a real `tracing` span in a dispatcher of its own, which
//! tracing-opentelemetry's layer turns into an OpenTelemetry span. A dispatcher of its own because
//! request spans must not mix with the process's log, and because the layer stacked on the log's
//! subscriber would see every span that h2 and hyper open per frame. It filters on one target, so
//! that no callsite but ours is ever enabled by it. Attributes are collected in the
//! [`RequestSpan`] and given to the OpenTelemetry span in one go at its end, which spares a
//! registry look-up and a lock per field; SpanData built by hand would spare the registry too (a
//! few hundred ns of sampled requests only), at the price of a second model of what a span is.
//!
//! One dispatcher and one SDK provider live as long as the tracer: a new collector changes where
//! the export task sends, so spans that run or are queued at that moment are not lost.

use crate::collector::{CollectorSpec, MeshChannel};
use crate::export::{self, ExportLimits, Exporter};
use crate::join::{Cause, Joins, Serving};
use crate::metrics::Metrics;
use crate::propagation::{self, FLAG_SAMPLED, Inbound, Outbound};
use crate::request_span::{RequestSpan, names};
use crate::sampling::{MILLION, chance};
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tracing::{Dispatch, Level};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

/// The one callsite that the dispatcher enables.
const TARGET: &str = "heddle::request";
/// Instead of a rate: spans would go nowhere, so requests are not even looked at.
const OFF: u32 = u32::MAX;
/// Bytes of `tracestate` that a span keeps: what the recommendation asks everybody to bear.
const MAX_TRACESTATE: usize = 512;

/// Which side of the hop this proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outbound: the app calls.
    Client,
    /// Inbound: the app is called.
    Server,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Whose spans these are: resource attributes of every span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `service.name`: the app label, or the owner's name. Empty: not known yet.
    pub service: String,
    /// `k8s.pod.name`
    pub pod: String,
    /// `k8s.namespace.name`
    pub namespace: String,
}

/// Starts spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer {
    shared: Arc<Shared>,
}

struct Shared {
    rate: AtomicU32,
    dispatch: Dispatch,
    exporter: Exporter,
    joins: Arc<Joins>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("rate", &self.shared.rate)
            .finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer that samples nothing until it is configured. Its export task runs on `runtime`
    /// and ends, after a last attempt to export, when the tracer and its spans are gone.
    pub fn new(
        runtime: &tokio::runtime::Handle,
        workload: Workload,
        mesh: Option<MeshChannel>,
        metrics: &Metrics,
    ) -> Self {
        Self::with_limits(runtime, workload, mesh, metrics, ExportLimits::default())
    }

    /// The same with other limits than the default ones.
    pub fn with_limits(
        runtime: &tokio::runtime::Handle,
        workload: Workload,
        mesh: Option<MeshChannel>,
        metrics: &Metrics,
        limits: ExportLimits,
    ) -> Self {
        let (processor, exporter) = export::start(runtime, workload, mesh, metrics, limits);
        // The decision is made before a span is started.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(processor)
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("heddle"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        // As a layer of the whole subscriber, not a filter of one layer: so `enabled` is false, and
        // cached as never, for every callsite of the process but one.
        let only_requests = Targets::new().with_target(TARGET, Level::INFO);
        let subscriber = tracing_subscriber::registry()
            .with(only_requests)
            .with(layer);
        let shared = Shared {
            rate: AtomicU32::new(OFF),
            dispatch: Dispatch::new(subscriber),
            exporter,
            joins: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Applies a pushed telemetry resource. Spans that are queued go to the new collector.
    /// Without a collector nothing is sampled and no request is touched.
    pub fn configure(&self, sampling_ppm: u32, collector: Option<CollectorSpec>) {
        let rate = if collector.is_some() {
            sampling_ppm.min(MILLION)
        } else {
            OFF
        };
        self.shared.exporter.set_collector(collector);
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// Replaces the resource attributes, when the workload's configuration arrives. Spans that
    /// ended before and still wait go out with the new ones.
    pub fn set_resource(&self, workload: Workload) {
        self.shared.exporter.set_workload(workload);
    }

    /// An inbound request: [`Tracer::start`], and a guard to hold until it is answered, by which
    /// requests of an app that drops the context are joined to it.
    pub fn serve<R: rand::Rng + ?Sized>(
        &self,
        headers: &mut HeaderMap,
        rng: &mut R,
    ) -> (Option<Box<RequestSpan>>, Serving) {
        let mut serving = Serving::new(&self.shared.joins);
        let span = self.start(Kind::Server, headers, rng);
        if let Some((trace_id, span_id)) = span.as_ref().and_then(|span| span.ids()) {
            serving.sampled(trace_id, span_id);
        }
        (span, serving)
    }

    /// An inbound connection whose bytes are not understood: while it is open, nothing is joined
    /// to any other, because this one may be the cause.
    pub fn serve_opaque(&self) -> Serving {
        Serving::new(&self.shared.joins)
    }

    /// Starts a span if the request is sampled, and rewrites its propagation headers so that the
    /// next hop continues from it. The caller's decision counts; without one, that of the inbound
    /// request which must have caused it; without that, chance.
    #[inline]
    pub fn start<R: rand::Rng + ?Sized>(
        &self,
        kind: Kind,
        headers: &mut HeaderMap,
        rng: &mut R,
    ) -> Option<Box<RequestSpan>> {
        let rate = self.shared.rate.load(Ordering::Relaxed);
        if rate == OFF {
            return None;
        }
        let mut inbound = propagation::extract(headers);
        let cause = match inbound {
            Inbound {
                context: None,
                decision: None,
                ..
            } if kind == Kind::Client => self.shared.joins.cause(),
            _ => Cause::Unknown,
        };
        let sampled = match (inbound.decision, cause) {
            (Some(false), _) => return None,
            (Some(true), _) | (None, Cause::Span(_)) => true,
            (None, Cause::Unsampled) => false,
            (None, Cause::Unknown) => chance(rate, rng),
        };
        if !sampled {
            propagation::inject_unsampled(headers, &inbound);
            return None;
        }
        if let Cause::Span(span) = cause {
            inbound.context = Some(span);
        }
        let mut span = self.begin(kind, headers, &inbound);
        if let Cause::Span(_) = cause {
            span.attribute(names::INFERRED, true);
        }
        Some(span)
    }

    #[cold]
    fn begin(&self, kind: Kind, headers: &mut HeaderMap, inbound: &Inbound) -> Box<RequestSpan> {
        let span = tracing::dispatcher::with_default(
            &self.shared.dispatch,
            || tracing::info_span!(target: TARGET, parent: None, "request", otel.kind = kind.as_str()),
        );
        if let Some(parent) = remote_parent(headers, inbound) {
            // Fails only for a span that has started or is disabled; this one is neither.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        // Starts the OpenTelemetry span, which gives it its id.
        let span = Box::new(RequestSpan::new(span.context(), span, kind));
        if let Some((trace_id, span_id)) = span.ids() {
            propagation::inject(headers, inbound, Outbound { trace_id, span_id });
        }
        span
    }

    /// Exports what is queued, for at most two seconds; nothing is sampled afterwards.
    pub async fn shutdown(&self) {
        self.shared.rate.store(OFF, Ordering::Relaxed);
        self.shared.exporter.flush(export::FLUSH_TIMEOUT).await;
    }
}

fn remote_parent(headers: &HeaderMap, inbound: &Inbound) -> Option<SpanContext> {
    let context = inbound.context?;
    let mut state = TraceState::NONE;
    if context.w3c {
        let lists = headers.get_all(propagation::TRACESTATE).iter();
        let lists: Vec<_> = lists.filter_map(|list| list.to_str().ok()).collect();
        // A longer list is passed on all the same; only the span does not show it.
        let list = Some(lists.join(",")).filter(|list| list.len() <= MAX_TRACESTATE);
        state = list.and_then(|list| list.parse().ok()).unwrap_or_default();
    }
    Some(SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_be_bytes()),
        SpanId::from_bytes(context.span_id.to_be_bytes()),
        TraceFlags::new(context.flags | FLAG_SAMPLED),
        true,
        state,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_one_word() {
        assert_eq!(size_of::<Option<Box<RequestSpan>>>(), size_of::<usize>());
        assert_eq!(size_of::<Tracer>(), size_of::<usize>());
        assert!(
            size_of::<RequestSpan>() <= 256,
            "{}",
            size_of::<RequestSpan>()
        );
    }
}
