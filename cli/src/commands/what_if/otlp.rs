//! Traces in OTLP's JSON: one `ExportTraceServiceRequest`, or one on each line, as the file exporter of
//! OpenTelemetry's collector writes them. Numbers of 64 bits may be strings, enumerations words or numbers,
//! as the mapping allows; what is not needed here is passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::traces::{Span, SpanKind, Trace};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    resource_spans: Vec<OfResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfResource {
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    scope_spans: Vec<OfScope>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct OfScope {
    #[serde(default)]
    spans: Vec<Written>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Value,
    #[serde(default, deserialize_with = "number")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "number")]
    end_time_unix_nano: u64,
    #[serde(default)]
    attributes: Vec<Attribute>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(serde::de::Error::custom),
        other => other
            .as_u64()
            .ok_or_else(|| serde::de::Error::custom("a time is not a number")),
    }
}

/// The traces of a text; `None`: it is not OTLP's JSON.
pub(super) fn traces(text: &str) -> Option<Result<Vec<Trace>, serde_json::Error>> {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let first = documents.next()?.ok()?;
    first.get("resourceSpans")?;
    Some(read(std::iter::once(Ok(first)).chain(documents)))
}

fn read(
    documents: impl Iterator<Item = Result<Value, serde_json::Error>>,
) -> Result<Vec<Trace>, serde_json::Error> {
    let mut by_trace: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for document in documents {
        let export: Export = serde_json::from_value(document?)?;
        for of in export.resource_spans {
            let resource = attributes(of.resource.attributes);
            for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let span = span.into_span(&resource);
                by_trace
                    .entry(span.trace_id.clone())
                    .or_default()
                    .push(span);
            }
        }
    }
    let trace = |(trace_id, spans)| Trace { trace_id, spans };
    Ok(by_trace.into_iter().map(trace).collect())
}

impl Written {
    fn into_span(self, resource: &BTreeMap<String, Value>) -> Span {
        let service = resource.get("service.name").and_then(Value::as_str);
        Span {
            trace_id: self.trace_id.to_ascii_lowercase(),
            span_id: self.span_id,
            parent_id: Some(self.parent_span_id).filter(|id| !id.is_empty()),
            name: self.name,
            kind: match (self.kind.as_u64(), self.kind.as_str()) {
                (Some(2 | 5), _) | (_, Some("SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER")) => {
                    SpanKind::Server
                }
                (Some(3 | 4), _) | (_, Some("SPAN_KIND_CLIENT" | "SPAN_KIND_PRODUCER")) => {
                    SpanKind::Client
                }
                _ => SpanKind::Internal,
            },
            service: service.unwrap_or("unknown").to_owned(),
            start_unix_nanos: self.start_time_unix_nano,
            duration_nanos: self
                .end_time_unix_nano
                .saturating_sub(self.start_time_unix_nano),
            error: false,
            message: String::new(),
            attributes: attributes(self.attributes),
            resource: resource.clone(),
        }
    }
}

/// Lists and maps are of no use here.
fn attributes(written: Vec<Attribute>) -> BTreeMap<String, Value> {
    let value = |mut value: BTreeMap<String, Value>| {
        let mut take = |kind: &str| value.remove(kind);
        let integer = take("intValue").map(|value| match value.as_str() {
            Some(text) => text.parse::<i64>().map_or(Value::Null, Value::from),
            None => value,
        });
        integer
            .or_else(|| take("stringValue"))
            .or_else(|| take("boolValue"))
            .or_else(|| take("doubleValue"))
            .unwrap_or_default()
    };
    let pair = |one: Attribute| (one.key, value(one.value));
    written.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn export(kind: Value, start: Value) -> Value {
        let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
        json!({"resourceSpans": [{
            "resource": {"attributes": [text("k8s.pod.name", "web-1"), text("k8s.namespace.name", "shop")]},
            "scopeSpans": [{"scope": {"name": "heddle"}, "spans": [{
                "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174",
                "name": "GET", "kind": kind,
                "startTimeUnixNano": start, "endTimeUnixNano": "1544712661000000000",
                "attributes": [
                    text("http.request.method", "GET"), text("url.path", "/a"),
                    text("server.address", "cart"), text("heddle.called", "shop/cart:80"),
                    {"key": "server.port", "value": {"intValue": "80"}},
                    {"key": "http.response.status_code", "value": {"intValue": 200}},
                    {"key": "list", "value": {"arrayValue": {"values": []}}},
                ],
                "status": {},
            }]}],
        }]})
    }

    #[test]
    fn exports_are_read_line_by_line_in_either_spelling() {
        let one = export(json!(3), json!("1544712660000000000"));
        let two = export(
            json!("SPAN_KIND_CLIENT"),
            json!(1_544_712_660_500_000_000_u64),
        );
        let traces = traces(&format!("{one}\n{two}\n")).unwrap().unwrap();
        assert_eq!((traces.len(), traces[0].spans.len()), (1, 2));
        assert_eq!(traces[0].spans[0].duration_nanos, 1_000_000_000);
        let recorded = super::super::recorded::of(&traces);
        assert_eq!((recorded.requests.len(), recorded.unusable), (2, 0));
        let request = &recorded.requests[0];
        assert_eq!((&*request.namespace, &*request.pod), ("shop", "web-1"));
        assert_eq!((&*request.host, request.port), ("cart.shop", 80));
        assert_eq!((&*request.path, request.status), ("/a", Some(200)));
    }

    #[test]
    fn what_is_of_another_kind_is_left_to_others_and_what_is_broken_is_told() {
        assert!(traces("[]").is_none() && traces("{}").is_none() && traces("").is_none());
        let good = export(json!(3), json!("1"));
        assert!(
            traces(&format!("{good}\n{{\"resourceSpans\": 1}}"))
                .unwrap()
                .is_err()
        );
        assert!(traces(&format!("{good}\n{{")).unwrap().is_err());
        let bad = export(json!(3), json!("soon"));
        assert!(traces(&bad.to_string()).unwrap().is_err());
    }
}
