//! Traces in memory, bounded by number, by bytes and by spans of one trace; the oldest trace goes
//! first. A span that arrives after its trace was dropped starts the trace again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde::{Deserialize, Serialize};

use super::{Span, Trace, TraceSummary};

/// Bounds of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) traces: usize,
    pub(crate) bytes: usize,
    pub(crate) spans_of_one: usize,
}

impl Default for Limits {
    /// An hour of a busy laptop, within 64 MiB.
    fn default() -> Self {
        Self {
            traces: 10_000,
            bytes: 64 << 20,
            spans_of_one: 2_000,
        }
    }
}

/// Which traces a list shows, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Filter {
    pub(crate) limit: usize,
    pub(crate) service: Option<String>,
    /// `503`, `5xx`, or `error` for any trace that holds a failed span.
    pub(crate) status: Option<String>,
    pub(crate) min_duration_nanos: u64,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) traces: usize,
    pub(crate) spans: usize,
    pub(crate) bytes: usize,
    pub(crate) dropped_traces: u64,
    pub(crate) dropped_spans: u64,
}

/// The store; shared by the receiver and the API.
#[derive(Debug, Default)]
pub(crate) struct Store {
    limits: Limits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    traces: HashMap<String, Entry>,
    /// Oldest first.
    order: VecDeque<String>,
    bytes: usize,
    spans: usize,
    dropped_traces: u64,
    dropped_spans: u64,
}

#[derive(Debug, Default)]
struct Entry {
    spans: Vec<Span>,
    bytes: usize,
    /// Of its earliest span, nanoseconds since 1970.
    start: u64,
}

impl Store {
    #[cfg(test)]
    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what an exporter sent.
    pub(crate) fn insert(&self, request: &ExportTraceServiceRequest) {
        let mut inner = self.inner();
        for resource in &request.resource_spans {
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                match Span::from_otlp(resource.resource.as_ref(), span) {
                    Some(span) => inner.add(span, &self.limits),
                    None => inner.dropped_spans += 1,
                }
            }
        }
    }

    /// The newest traces that pass the filter, newest first.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<TraceSummary> {
        let inner = self.inner();
        let newest = inner
            .newest_first()
            .into_iter()
            .filter_map(|id| inner.trace(id)?.summary());
        newest
            .filter(|summary| filter.passes(summary))
            .take(filter.limit)
            .collect()
    }

    /// The trace whose id starts with `prefix`, where exactly one does; the newest for an empty one.
    pub(crate) fn find(&self, prefix: &str) -> Option<Trace> {
        let inner = self.inner();
        let prefix = prefix.to_ascii_lowercase();
        if prefix.is_empty() {
            return inner.trace(inner.newest_first().first()?);
        }
        let mut matching = inner.order.iter().filter(|id| id.starts_with(&prefix));
        let first = matching.next()?;
        if matching.next().is_some() {
            None
        } else {
            inner.trace(first)
        }
    }

    /// Whole traces that began since a time, oldest first.
    pub(crate) fn since(&self, unix_nanos: u64) -> Vec<Trace> {
        let inner = self.inner();
        let all = inner.order.iter().filter_map(|id| inner.trace(id));
        all.filter(|trace| trace.start() >= unix_nanos).collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        let inner = self.inner();
        Usage {
            traces: inner.traces.len(),
            spans: inner.spans,
            bytes: inner.bytes,
            dropped_traces: inner.dropped_traces,
            dropped_spans: inner.dropped_spans,
        }
    }
}

impl Inner {
    fn add(&mut self, span: Span, limits: &Limits) {
        let bytes = size(&span);
        let id = span.trace_id.clone();
        let entry = self.traces.entry(id.clone()).or_insert_with(|| {
            self.order.push_back(id);
            Entry {
                start: u64::MAX,
                ..Entry::default()
            }
        });
        // An exporter that repeats a batch must not show a span twice.
        if entry.spans.len() >= limits.spans_of_one
            || entry
                .spans
                .iter()
                .any(|known| known.span_id == span.span_id)
        {
            self.dropped_spans += 1;
            return;
        }
        entry.start = entry.start.min(span.start_unix_nanos);
        entry.spans.push(span);
        entry.bytes += bytes;
        self.bytes += bytes;
        self.spans += 1;
        while self.traces.len() > limits.traces || self.bytes > limits.bytes {
            let Some(entry) = self
                .order
                .pop_front()
                .and_then(|oldest| self.traces.remove(&oldest))
            else {
                break;
            };
            self.bytes -= entry.bytes;
            self.spans -= entry.spans.len();
            self.dropped_traces += 1;
        }
    }

    /// By when they began: exporters hand in out of order.
    fn newest_first(&self) -> Vec<&str> {
        let mut ids: Vec<(u64, &str)> = self
            .traces
            .iter()
            .map(|(id, entry)| (entry.start, id.as_str()))
            .collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn trace(&self, id: &str) -> Option<Trace> {
        let mut spans = self.traces.get(id)?.spans.clone();
        spans.sort_by(|a, b| {
            (a.start_unix_nanos, &a.span_id).cmp(&(b.start_unix_nanos, &b.span_id))
        });
        Some(Trace {
            trace_id: id.to_owned(),
            spans,
        })
    }
}

impl Filter {
    fn passes(&self, trace: &TraceSummary) -> bool {
        self.service
            .as_ref()
            .is_none_or(|wanted| trace.services.contains(wanted))
            && self
                .status
                .as_ref()
                .is_none_or(|wanted| status_matches(wanted, trace))
            && trace.duration_nanos >= self.min_duration_nanos
    }
}

fn status_matches(wanted: &str, trace: &TraceSummary) -> bool {
    match wanted.to_ascii_lowercase().as_str() {
        "error" => trace.error,
        wanted => match wanted.strip_suffix("xx") {
            Some(class) => trace.status.len() == 3 && trace.status.starts_with(class),
            None => trace.status == wanted,
        },
    }
}

/// Bytes of memory a span takes, near enough to keep a bound.
fn size(span: &Span) -> usize {
    /// Map node, key and value headers of one attribute.
    const PER_ATTRIBUTE: usize = 96;
    let maps = [&span.attributes, &span.resource];
    let attributes: usize = maps
        .iter()
        .flat_map(|map| map.iter())
        .map(|(key, value)| PER_ATTRIBUTE + key.len() + value.as_str().map_or(16, str::len))
        .sum();
    size_of::<Span>() + span.name.len() + span.service.len() + span.message.len() + 64 + attributes
}

#[cfg(test)]
mod tests;
