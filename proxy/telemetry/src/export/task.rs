//! The export task: gathers a batch, sends it, keeps it while the collector is away.
//!
//! It sleeps until a span ends, then lingers for more. A batch is retried with backoff, a bounded
//! number of times; what arrives meanwhile waits in the queue. New settings are used at the next
//! attempt, which they bring forward.

use super::outage::Outage;
use super::{Counters, ExportLimits, Settings};
use crate::collector::{CollectorSpec, MeshChannel};
use crate::tracer::Workload;
use heddle_identity::backoff::Backoff;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};

/// For one export request, the connection included. A collector that is up answers in milliseconds.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

pub(super) struct Task {
    spans: mpsc::Receiver<SpanData>,
    settings: watch::Receiver<Settings>,
    settings_changed: bool,
    settings_end: bool,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    flushing: Option<oneshot::Sender<()>>,
    due: Arc<Notify>,
    mesh: Option<MeshChannel>,
    limits: ExportLimits,
    counters: Counters,
    exporter: Option<(String, OtlpExporter)>,
    pending: Vec<SpanData>,
    outage: Outage,
}

impl Task {
    pub(super) fn new(
        spans: mpsc::Receiver<SpanData>,
        settings: watch::Receiver<Settings>,
        flushes: mpsc::Receiver<oneshot::Sender<()>>,
        due: Arc<Notify>,
        mesh: Option<MeshChannel>,
        limits: ExportLimits,
        counters: Counters,
    ) -> Self {
        Self {
            spans,
            settings,
            settings_changed: true,
            settings_end: false,
            flushes,
            flushing: None,
            due,
            mesh,
            limits,
            counters,
            exporter: None,
            pending: Vec::new(),
            outage: Outage::default(),
        }
    }

    pub(super) async fn run(mut self) {
        while self.gather().await {
            self.deliver().await;
        }
    }

    /// Waits until a batch is due. False: there will be no more spans.
    async fn gather(&mut self) -> bool {
        loop {
            self.fill();
            if !self.pending.is_empty() {
                break;
            }
            if let Some(flushed) = self.flushing.take() {
                // Nobody waiting any more is no failure.
                let _ = flushed.send(());
            }
            tokio::select! {
                span = self.spans.recv() => match span {
                    Some(span) => self.pending.push(span),
                    None => return false,
                },
                Some(flush) = self.flushes.recv() => self.flushing = Some(flush),
            }
        }
        self.linger(Instant::now() + self.limits.delay, |task| task.is_due())
            .await;
        if self.settings.borrow().workload.service.is_empty() {
            let until = Instant::now() + self.limits.unnamed;
            self.linger(until, |task| {
                !task.settings.borrow().workload.service.is_empty()
            })
            .await;
        }
        self.fill();
        true
    }

    /// Waits until `until`, or until `enough` or a flush cuts it short.
    async fn linger(&mut self, until: Instant, enough: impl Fn(&Self) -> bool) {
        while self.flushing.is_none() && !self.settings_end && !enough(self) {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.due.notified() => {}
                changed = self.settings.changed() => {
                    self.settings_changed = true;
                    self.settings_end = changed.is_err();
                }
                Some(flush) = self.flushes.recv() => self.flushing = Some(flush),
            }
        }
    }

    /// A whole batch waits: what comes while it is sent needs the room.
    fn is_due(&self) -> bool {
        self.pending.len() + self.spans.len() >= self.limits.batch
    }

    fn fill(&mut self) {
        while self.pending.len() < self.limits.batch {
            let Ok(span) = self.spans.try_recv() else {
                return;
            };
            self.pending.push(span);
        }
    }

    /// Sends `pending`, however long that takes, or gives it up.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, self.limits.backoff);
        let mut attempts = 0;
        loop {
            let count = self.pending.len() as u64;
            let Some(result) = self.attempt().await else {
                self.counters.no_collector.add(count);
                return self.pending.clear();
            };
            let reason = match result {
                Ok(()) => {
                    self.counters.exported.add(count);
                    return self.pending.clear();
                }
                Err(reason) => reason,
            };
            attempts += 1;
            let collector = self.exporter.as_ref().map_or("", |(name, _)| name);
            self.outage.failed(collector, &reason);
            let last = self.flushing.is_some() || self.settings_end;
            if attempts >= self.limits.attempts || last {
                tracing::debug!(count, attempts, reason, "a batch of spans is given up");
                self.counters.given_up.add(count);
                self.outage.lost(count);
                return self.pending.clear();
            }
            let until = Instant::now() + backoff.next();
            self.linger(until, |task| task.settings_changed).await;
        }
    }

    /// One export. `None`: there is no collector.
    async fn attempt(&mut self) -> Option<Result<(), String>> {
        if self.settings_changed || self.settings.has_changed().unwrap_or(false) {
            self.settings_changed = false;
            self.exporter = None;
        }
        if self.exporter.is_none() {
            let settings = self.settings.borrow_and_update().clone();
            let collector = settings.collector?;
            let name = describe(&collector);
            match connect(&collector, self.mesh.as_ref(), &settings.workload) {
                Ok(exporter) => self.exporter = Some((name, exporter)),
                Err(reason) => return Some(Err(format!("{name}: {reason}"))),
            }
        }
        let (name, exporter) = self.exporter.as_ref()?;
        // The exporter consumes its batch; this copy is what a retry sends.
        let result = exporter.export(self.pending.clone()).await;
        if result.is_ok() {
            self.outage.succeeded(name);
        }
        Some(result.map_err(|error| error.to_string()))
    }
}

fn describe(collector: &CollectorSpec) -> String {
    match collector {
        CollectorSpec::Plain(uri) => uri.to_string(),
        CollectorSpec::Mesh {
            authority,
            identity,
        } => format!("{identity} at {authority}"),
    }
}

fn connect(
    collector: &CollectorSpec,
    mesh: Option<&MeshChannel>,
    workload: &Workload,
) -> Result<OtlpExporter, String> {
    let channel = match (collector, mesh) {
        (CollectorSpec::Plain(uri), _) => plain_channel(Endpoint::from(uri.clone())),
        (
            CollectorSpec::Mesh {
                authority,
                identity,
            },
            Some(mesh),
        ) => mesh(authority, identity).map_err(|error| error.to_string())?,
        (CollectorSpec::Mesh { .. }, None) => {
            return Err("this process has no mesh identity to connect with".into());
        }
    };
    let mut exporter = OtlpExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    exporter.set_resource(&resource(workload));
    Ok(exporter)
}

fn plain_channel(endpoint: Endpoint) -> Channel {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT)
        .connect_lazy()
}

fn resource(workload: &Workload) -> Resource {
    let known = if workload.service.is_empty() {
        &workload.pod
    } else {
        &workload.service
    };
    let service = if known.is_empty() {
        "unknown_service"
    } else {
        known.as_str()
    };
    let optional = [
        ("k8s.pod.name", &workload.pod),
        ("k8s.namespace.name", &workload.namespace),
        ("service.namespace", &workload.namespace),
    ];
    let mut attributes = vec![KeyValue::new("service.name", service.to_owned())];
    let present = optional.into_iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(present.map(|(key, value)| KeyValue::new(key, value.clone())));
    attributes.push(KeyValue::new("telemetry.sdk.language", "rust"));
    attributes.push(KeyValue::new("telemetry.sdk.name", "heddle"));
    attributes.push(KeyValue::new(
        "telemetry.sdk.version",
        env!("CARGO_PKG_VERSION"),
    ));
    Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}
