//! Passes spans on to another OTLP collector (`--otlp-endpoint`). The queue is bounded: while the
//! collector is away the newest batches are dropped and counted, and the mesh does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heddle_identity::backoff::Backoff;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

/// Batches that wait for the collector; a batch of a proxy holds up to some hundred spans.
const QUEUE: usize = 256;
/// How long one export may take, as OTLP's own exporters have it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between attempts: short enough for a restart of the collector, within the queue's reach.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Attempts for one batch before it is dropped.
const ATTEMPTS: u32 = 5;

/// `--otlp-endpoint` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an OTLP endpoint: expected http://HOST:PORT (OTLP over gRPC, port 4317 by custom)"
)]
pub(crate) struct InvalidEndpoint(String);

/// The sending half; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    queue: mpsc::Sender<ExportTraceServiceRequest>,
    dropped: Arc<AtomicU64>,
}

impl Forwarder {
    /// Starts passing batches on to `endpoint`; ends when every clone is dropped.
    pub(crate) fn start(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(endpoint.to_owned());
        let parsed = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| invalid())?;
        if parsed.uri().scheme_str() != Some("http") || parsed.uri().host().is_none() {
            return Err(invalid());
        }
        let channel = parsed
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .connect_lazy();
        let (queue, batches) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(
            TraceServiceClient::new(channel),
            batches,
            Arc::clone(&dropped),
        ));
        Ok(Self { queue, dropped })
    }

    /// Queues a batch, or counts it as dropped.
    pub(crate) fn send(&self, batch: ExportTraceServiceRequest) {
        if self.queue.try_send(batch).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn run(
    mut client: TraceServiceClient<Channel>,
    mut batches: mpsc::Receiver<ExportTraceServiceRequest>,
    dropped: Arc<AtomicU64>,
) {
    while let Some(batch) = batches.recv().await {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        for attempt in 1..=ATTEMPTS {
            match client.export(batch.clone()).await {
                Ok(_) => break,
                Err(status) if attempt == ATTEMPTS => {
                    let total = dropped.fetch_add(1, Ordering::Relaxed) + 1;
                    tracing::warn!(%status, dropped_batches = total, "the OTLP collector does not take spans");
                }
                Err(_) => tokio::time::sleep(backoff.next()).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
