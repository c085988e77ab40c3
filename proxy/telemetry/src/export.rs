//! From ended spans to the collector: a bounded queue and one task on the control thread's runtime.
//!
//! The SDK's own batch processor is not used: it wants an OS thread, reserves its whole queue at
//! once and cannot change its exporter or resource. Here ending a span is a lock-free push, which
//! wakes the task once a batch is there; a full queue drops the newest and counts it.

mod outage;
mod task;

use crate::collector::{CollectorSpec, MeshChannel};
use crate::metrics::{Counter, Metrics};
use crate::tracer::Workload;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What [`crate::Tracer::shutdown`] waits at most.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    /// Spans. About 2.5 KiB each while they wait.
    pub queue: usize,
    /// Spans in one export request.
    pub batch: usize,
    /// How long the first span of a batch waits for others. Short, so that `heddle traces` shows
    /// what has just happened.
    pub delay: Duration,
    /// How long spans wait for the workload's configuration, which names their service.
    pub unnamed: Duration,
    /// Longest pause between attempts while the collector is away.
    pub backoff: Duration,
    /// Attempts for one batch before it is given up, so that one poisonous batch cannot stop
    /// everything behind it.
    pub attempts: u32,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self {
            queue: 4096,
            batch: 512,
            delay: Duration::from_millis(250),
            unnamed: Duration::from_secs(3),
            backoff: Duration::from_secs(5),
            attempts: 8,
        }
    }
}

/// What the task is told.
#[derive(Clone, Debug)]
struct Settings {
    collector: Option<CollectorSpec>,
    workload: Workload,
}

#[derive(Clone, Debug)]
struct Counters {
    exported: Counter,
    queue_full: Counter,
    given_up: Counter,
    no_collector: Counter,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let dropped = |reason| {
            let help = "Spans that were not exported, by reason.";
            metrics.counter("heddle_spans_dropped_total", help, &[("reason", reason)])
        };
        Self {
            exported: metrics.counter(
                "heddle_spans_exported_total",
                "Spans taken by the collector.",
                &[],
            ),
            queue_full: dropped("queue_full"),
            given_up: dropped("export_failed"),
            no_collector: dropped("no_collector"),
        }
    }
}

/// Puts ended spans into the queue.
#[derive(Debug)]
pub(crate) struct Processor {
    queue: mpsc::Sender<SpanData>,
    batch: usize,
    due: Arc<Notify>,
    dropped: Counter,
}

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        match self.queue.try_send(span) {
            Ok(()) if self.queue.max_capacity() - self.queue.capacity() >= self.batch => {
                self.due.notify_one();
            }
            Ok(()) => {}
            Err(_) => self.dropped.inc(),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The handle of the task.
#[derive(Debug)]
pub(crate) struct Exporter {
    settings: watch::Sender<Settings>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
}

impl Exporter {
    pub(crate) fn set_collector(&self, collector: Option<CollectorSpec>) {
        self.settings.send_if_modified(|settings| {
            let changed = settings.collector != collector;
            settings.collector = collector;
            changed
        });
    }

    pub(crate) fn set_workload(&self, workload: Workload) {
        self.settings.send_if_modified(|settings| {
            let changed = settings.workload != workload;
            settings.workload = workload;
            changed
        });
    }

    pub(crate) async fn flush(&self, timeout: Duration) {
        let (done, flushed) = oneshot::channel();
        let ask = async {
            if self.flushes.send(done).await.is_ok() {
                // An error: the task is gone, and with it what there was to flush.
                let _ = flushed.await;
            }
        };
        if tokio::time::timeout(timeout, ask).await.is_err() {
            tracing::warn!(
                ?timeout,
                "the collector did not take the last spans in time; they are lost"
            );
        }
    }
}

/// Starts the task on `runtime`. It ends when the processor is dropped.
pub(crate) fn start(
    runtime: &tokio::runtime::Handle,
    workload: Workload,
    mesh: Option<MeshChannel>,
    metrics: &Metrics,
    limits: ExportLimits,
) -> (Processor, Exporter) {
    let counters = Counters::new(metrics);
    let (queue, spans) = mpsc::channel(limits.queue.max(2));
    let (settings, watched) = watch::channel(Settings {
        collector: None,
        workload,
    });
    let (flushes, flush_requests) = mpsc::channel(1);
    let due = Arc::new(Notify::new());
    let processor = Processor {
        queue,
        batch: limits.batch,
        due: Arc::clone(&due),
        dropped: counters.queue_full.clone(),
    };
    let task = task::Task::new(spans, watched, flush_requests, due, mesh, limits, counters);
    runtime.spawn(task.run());
    (processor, Exporter { settings, flushes })
}
