//! A sampled request while it runs: what SREs ask for, collected as it becomes known.
//!
//! It exists only for sampled requests, so it may allocate. Attribute names are OpenTelemetry's
//! semantic conventions where there is one, `heddle.*` otherwise (see [`names`]). It ends exactly
//! once: by [`RequestSpan::finish`], or flagged `DC` when the request is dropped before.

pub mod names;
mod text;

use self::text::{clip, method_text, micros, service_name, split_authority};
use crate::flag::ResponseFlag;
use crate::tracer::Kind;
use http::{Method, StatusCode, Version};
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Text of an attribute: made from `&'static str`, `String` or `Arc<str>` (not copied).
pub use opentelemetry::StringValue as Text;

/// A sampled request. See the module.
#[derive(Debug)]
pub struct RequestSpan {
    span: tracing::Span,
    otel: Context,
    attributes: Vec<KeyValue>,
    started: Instant,
    kind: Kind,
    flag: ResponseFlag,
    attempts: u32,
    status: u16,
    grpc: Option<u32>,
    finished: bool,
    method: Option<Method>,
    service: Option<Text>,
}

impl RequestSpan {
    pub(crate) fn new(otel: Context, span: tracing::Span, kind: Kind) -> Self {
        Self {
            span,
            otel,
            attributes: Vec::with_capacity(32),
            started: Instant::now(),
            kind,
            flag: ResponseFlag::None,
            attempts: 0,
            status: 0,
            grpc: None,
            finished: false,
            method: None,
            service: None,
        }
    }

    /// Trace and span id.
    pub(crate) fn ids(&self) -> Option<(u128, u64)> {
        let span = self.otel.span();
        let id = span.span_context();
        id.is_valid().then(|| {
            let trace_id = u128::from_be_bytes(id.trace_id().to_bytes());
            (trace_id, u64::from_be_bytes(id.span_id().to_bytes()))
        })
    }

    fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes
            .push(KeyValue::new(Key::from_static_str(key), value.into()));
    }

    /// The request's method.
    pub fn method(&mut self, method: &Method) {
        self.method = Some(method.clone());
    }

    /// The path, without the query: that often carries secrets.
    pub fn path(&mut self, path: &str) {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        self.put("url.path", clip(path).to_owned());
    }

    /// `:authority` or `Host`, with its port if it has one.
    pub fn authority(&mut self, authority: &str) {
        let (host, port) = split_authority(authority);
        self.put("server.address", clip(host).to_owned());
        if let Some(port) = port {
            self.put("server.port", i64::from(port));
        }
    }

    /// Version of the protocol spoken with the client of this hop.
    pub fn version(&mut self, version: Version) {
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_11 => "1.1",
            Version::HTTP_2 => "2",
            _ => return,
        };
        self.put("network.protocol.name", "http");
        self.put("network.protocol.version", version);
    }

    /// Status of the response.
    pub fn status(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Status of a gRPC call, from its trailers. The last one counts.
    pub fn grpc_status(&mut self, code: u32) {
        self.grpc = Some(code);
    }

    /// Where the matching route was written, and the index of its rule.
    pub fn route(&mut self, origin: impl Into<Text>, rule: u32) {
        self.put(names::ROUTE, Value::String(origin.into()));
        self.put(names::ROUTE_RULE, i64::from(rule));
    }

    /// Service and port that were called, whatever the routes say.
    pub fn called(&mut self, service: &str, port: u16) {
        self.put(names::CALLED, format!("{service}:{port}"));
    }

    /// Subset that the route chose.
    pub fn subset(&mut self, subset: impl Into<Text>) {
        self.put(names::SUBSET, Value::String(subset.into()));
    }

    /// Destination service: `NAMESPACE/NAME` or `NAME.NAMESPACE`. Also names the span.
    pub fn service(&mut self, service: impl Into<Text>) {
        self.service = Some(service.into());
    }

    /// The endpoint of the latest attempt, and its workload where known.
    pub fn endpoint(&mut self, address: SocketAddr, workload: Option<Text>) {
        let replaced = [
            "network.peer.address",
            "network.peer.port",
            names::ENDPOINT_WORKLOAD,
        ];
        self.attributes
            .retain(|kv| !replaced.contains(&kv.key.as_str()));
        self.put("network.peer.address", address.ip().to_string());
        self.put("network.peer.port", i64::from(address.port()));
        if let Some(workload) = workload {
            self.put(names::ENDPOINT_WORKLOAD, Value::String(workload));
        }
    }

    /// An attempt begins (call once per attempt, the first included).
    pub fn attempt(&mut self) {
        self.attempts += 1;
    }

    /// Why it failed. The first cause stays; later ones are consequences.
    pub fn flag(&mut self, flag: ResponseFlag) {
        if self.flag.is_none() {
            self.flag = flag;
        }
    }

    /// Body bytes received from the client and sent to it.
    pub fn bytes(&mut self, request: u64, response: u64) {
        self.put("http.request.body.size", request as i64);
        self.put("http.response.body.size", response as i64);
    }

    /// Time from arrival until an upstream was asked for.
    pub fn queue_time(&mut self, time: Duration) {
        self.put(names::QUEUE_TIME, micros(time));
    }

    /// A connection to the upstream is ready; `time` is what getting it took (zero: pooled).
    pub fn mark_connect(&mut self, time: Duration) {
        self.attributes
            .retain(|kv| kv.key.as_str() != names::CONNECT_TIME);
        self.put(names::CONNECT_TIME, micros(time));
    }

    /// The head of the response is here.
    pub fn mark_first_byte(&mut self) {
        let elapsed = micros(self.started.elapsed());
        self.put(names::FIRST_BYTE_TIME, elapsed);
    }

    /// SPIFFE id of this side.
    pub fn local_identity(&mut self, id: impl Into<Text>) {
        self.put(names::LOCAL_IDENTITY, Value::String(id.into()));
    }

    /// SPIFFE id of the other side, as verified.
    pub fn peer_identity(&mut self, id: impl Into<Text>) {
        self.put(names::PEER_IDENTITY, Value::String(id.into()));
    }

    /// An attribute that has no setter of its own.
    pub fn attribute(&mut self, key: &'static str, value: impl Into<Value>) {
        self.put(key, value);
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The request is complete: the span ends and is handed to the exporter.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let total = micros(self.started.elapsed());
        self.put(names::TOTAL_TIME, total);
        let mut name = String::with_capacity(48);
        if let Some(method) = self.method.take() {
            let method = method_text(&method);
            name.push_str(method.as_str());
            self.put("http.request.method", Value::String(method));
        }
        if let Some(service) = self.service.take() {
            let service = service_name(service);
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(service.as_str());
            self.put(names::SERVICE, Value::String(service));
        }
        if self.attempts > 0 {
            self.put(names::ATTEMPTS, i64::from(self.attempts));
        }
        if self.status != 0 {
            self.put("http.response.status_code", i64::from(self.status));
        }
        if !self.flag.is_none() {
            self.put(names::FLAGS, self.flag.as_str());
        }
        if let Some(code) = self.grpc {
            self.put("rpc.system", "grpc");
            self.put("rpc.grpc.status_code", i64::from(code));
        }
        let otel = std::mem::take(&mut self.otel);
        let span = otel.span();
        if let Some((error, why)) = self.error() {
            self.put("error.type", error);
            span.set_status(Status::error(why));
        }
        if !name.is_empty() {
            span.update_name(name);
        }
        span.set_attributes(std::mem::take(&mut self.attributes));
        // Dropping the last handle closes the tracing span, which ends the OpenTelemetry one.
        self.span = tracing::Span::none();
    }
}

impl RequestSpan {
    /// `error.type` and the status' description, by the semantic conventions: what is the
    /// caller's mistake is an error of the client's span only.
    fn error(&self) -> Option<(Text, &'static str)> {
        let lowest_status = match self.kind {
            Kind::Client => 400,
            Kind::Server => 500,
        };
        let grpc_error = |code: &u32| match self.kind {
            Kind::Client => *code != 0,
            Kind::Server => matches!(code, 2 | 4 | 12..=15),
        };
        if !self.flag.is_none() {
            return Some((self.flag.as_str().into(), self.flag.as_str()));
        }
        if self.status >= lowest_status {
            return Some((self.status.to_string().into(), ""));
        }
        self.grpc
            .filter(grpc_error)
            .map(|code| (code.to_string().into(), ""))
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if !self.finished {
            self.flag(ResponseFlag::DownstreamClosed);
            self.end();
        }
    }
}
