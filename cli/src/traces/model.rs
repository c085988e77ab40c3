//! A span and a trace as the command line shows them. OTLP's types are converted here, once;
//! ids that are not of the right length make a span unusable and it is dropped.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which side of a request a span saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SpanKind {
    Server,
    Client,
    Internal,
}

/// One span with everything it carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) parent_id: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) service: String,
    pub(crate) start_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) error: bool,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    /// Of the process that reported it.
    pub(crate) resource: BTreeMap<String, Value>,
}

impl Span {
    pub(crate) fn from_otlp(resource: Option<&Resource>, span: &otlp::Span) -> Option<Self> {
        let resource = attributes(resource.map_or(&[], |resource| &resource.attributes));
        let parent_id = match span.parent_span_id.as_slice() {
            [] => None,
            id if id.iter().all(|byte| *byte == 0) => None,
            id => Some(hex(id)),
        };
        let status = span.status.as_ref();
        (span.trace_id.len() == 16 && span.span_id.len() == 8).then(|| Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id,
            name: span.name.clone(),
            kind: match span.kind() {
                otlp::span::SpanKind::Server | otlp::span::SpanKind::Consumer => SpanKind::Server,
                otlp::span::SpanKind::Client | otlp::span::SpanKind::Producer => SpanKind::Client,
                _ => SpanKind::Internal,
            },
            service: text(&resource, "service.name")
                .unwrap_or("unknown")
                .to_owned(),
            start_unix_nanos: span.start_time_unix_nano,
            duration_nanos: span
                .end_time_unix_nano
                .saturating_sub(span.start_time_unix_nano),
            error: status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
            message: status
                .map(|status| status.message.clone())
                .unwrap_or_default(),
            attributes: attributes(&span.attributes),
            resource,
        })
    }

    pub(crate) fn end_unix_nanos(&self) -> u64 {
        self.start_unix_nanos.saturating_add(self.duration_nanos)
    }

    /// An attribute as text, under the first of several names that is there.
    pub(crate) fn attribute(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.attributes.get(*name))
            .map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
    }

    /// The HTTP or gRPC status.
    pub(crate) fn status(&self) -> Option<String> {
        self.attribute(&[
            "http.response.status_code",
            "http.status_code",
            "rpc.grpc.status_code",
        ])
    }

    /// Why it failed, in one word.
    pub(crate) fn flags(&self) -> Option<String> {
        self.attribute(&["heddle.flags", "heddle.flag", "error.type"])
            .filter(|flags| {
                !flags.is_empty() && flags != "-" && Some(flags) != self.status().as_ref()
            })
    }
}

/// The spans of one trace, by start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) trace_id: String,
    pub(crate) spans: Vec<Span>,
}

/// One line of the list of traces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TraceSummary {
    pub(crate) trace_id: String,
    /// Name of the first span that has no parent here.
    pub(crate) root: String,
    pub(crate) root_service: String,
    pub(crate) start_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) spans: usize,
    pub(crate) services: Vec<String>,
    pub(crate) status: String,
    pub(crate) flags: Vec<String>,
    pub(crate) error: bool,
}

impl Trace {
    /// The first span whose parent is not part of the trace.
    pub(crate) fn root(&self) -> Option<&Span> {
        let known: BTreeSet<&str> = self
            .spans
            .iter()
            .map(|span| span.span_id.as_str())
            .collect();
        let is_root = |span: &&Span| {
            span.parent_id
                .as_deref()
                .is_none_or(|parent| !known.contains(parent))
        };
        self.spans
            .iter()
            .find(is_root)
            .or_else(|| self.spans.first())
    }

    pub(crate) fn start(&self) -> u64 {
        self.spans
            .iter()
            .map(|span| span.start_unix_nanos)
            .min()
            .unwrap_or(0)
    }

    pub(crate) fn duration(&self) -> u64 {
        let end = self
            .spans
            .iter()
            .map(Span::end_unix_nanos)
            .max()
            .unwrap_or(0);
        end.saturating_sub(self.start())
    }

    pub(crate) fn summary(&self) -> Option<TraceSummary> {
        let root = self.root()?;
        let mut services: Vec<String> = Vec::new();
        for span in &self.spans {
            if !services.contains(&span.service) {
                services.push(span.service.clone());
            }
        }
        let flags: BTreeSet<String> = self.spans.iter().filter_map(Span::flags).collect();
        Some(TraceSummary {
            trace_id: self.trace_id.clone(),
            root: root.name.clone(),
            root_service: root.service.clone(),
            start_unix_nanos: self.start(),
            duration_nanos: self.duration(),
            spans: self.spans.len(),
            services,
            status: root.status().unwrap_or_default(),
            flags: flags.into_iter().collect(),
            error: self.spans.iter().any(|span| span.error),
        })
    }
}

fn text<'a>(attributes: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a str> {
    attributes.get(name).and_then(Value::as_str)
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, Value> {
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), value(pair.value.as_ref(), 0)))
        .collect()
}

/// Deepest nesting of an attribute that is kept; OTLP lets a sender nest without end.
const MAX_NESTING: usize = 8;

fn value(any: Option<&AnyValue>, depth: usize) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None => Value::Null,
        _ if depth > MAX_NESTING => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BytesValue(bytes)) => json!(hex(bytes)),
        Some(Any::ArrayValue(array)) => array
            .values
            .iter()
            .map(|item| value(Some(item), depth + 1))
            .collect(),
        Some(Any::KvlistValue(list)) => list
            .values
            .iter()
            .map(|pair| (pair.key.clone(), value(pair.value.as_ref(), depth + 1)))
            .collect(),
        Some(_) => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
