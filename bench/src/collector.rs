//! An OpenTelemetry collector that counts: spans come over OTLP (gRPC) to the node, and how many there
//! were is asked at its loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::cases::Setup;
use crate::error::{Error, Result};
use crate::http;
use crate::peers::Tools;
use crate::process::Process;
use crate::world::Place;

/// OTLP over gRPC.
const PORT: u16 = 4317;
/// Where its counts are asked.
const COUNTS_PORT: u16 = 4319;

/// Spans that came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) client: u64,
    pub(crate) server: u64,
    pub(crate) other: u64,
}

impl Counts {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            client: self.client - before.client,
            server: self.server - before.server,
            other: self.other - before.other,
        }
    }
}

/// Where spans are sent.
pub(crate) fn endpoint() -> SocketAddr {
    (Place::Node.ip(), PORT).into()
}

/// Starts it on the node when there is tracing.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Vec<Process>> {
    if !setup.tracing {
        return Ok(Vec::new());
    }
    let Tools {
        world, programs, ..
    } = tools;
    let args = ["collector".to_owned(), endpoint().to_string()];
    let mut collector = Process::start(world, Place::Node, 0, "collector", &programs.own, args)?;
    collector.wait("listening", || counts().is_ok())?;
    Ok(vec![collector])
}

/// What has come until now.
pub(crate) fn counts() -> Result<Counts> {
    let answer = http::ask(Place::Node, COUNTS_PORT, "/");
    answer
        .and_then(|answer| serde_json::from_str(&answer.body).ok())
        .ok_or_else(|| Error::Own("the collector does not say how many spans it has".into()))
}

#[derive(Default)]
struct Counters {
    client: AtomicU64,
    server: AtomicU64,
    other: AtomicU64,
}

impl Counters {
    fn now(&self) -> Counts {
        Counts {
            client: self.client.load(Ordering::Relaxed),
            server: self.server.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        }
    }
}

struct Counting(Arc<Counters>);

#[tonic::async_trait]
impl TraceService for Counting {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|r| r.scope_spans);
        for span in scopes.flat_map(|s| s.spans) {
            let counter = match span.kind() {
                SpanKind::Client => &self.0.client,
                SpanKind::Server => &self.0.server,
                _ => &self.0.other,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The hidden command: collects until it is killed.
pub(crate) async fn serve(on: SocketAddr) -> io::Result<()> {
    let counters = Arc::new(Counters::default());
    let spans = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Counting(Arc::clone(&counters))))
        .serve(on);
    let asked = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), COUNTS_PORT)).await?;
    tokio::select! {
        ended = spans => ended.map_err(io::Error::other),
        ended = tell(asked, &counters) => ended,
    }
}

/// Answers whatever is asked, one client at a time: it has only one.
async fn tell(listener: TcpListener, counters: &Counters) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let body = serde_json::to_string(&counters.now())?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        // A client that left is not missed.
        if stream.read(&mut [0; 1024]).await.is_ok() {
            let _ = stream.write_all([head, body].concat().as_bytes()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    #[tokio::test]
    async fn spans_are_counted_by_kind() {
        let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Client];
        let spans = kinds.into_iter().map(|kind| Span {
            kind: kind.into(),
            ..Span::default()
        });
        let scope = ScopeSpans {
            spans: spans.collect(),
            ..ScopeSpans::default()
        };
        let resource = ResourceSpans {
            scope_spans: vec![scope.clone(), scope],
            ..ResourceSpans::default()
        };
        let counters = Arc::new(Counters::default());
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource],
        };
        let counting = Counting(Arc::clone(&counters));
        counting.export(Request::new(request)).await.unwrap();
        let counted = counters.now();
        let expected = Counts {
            client: 4,
            server: 2,
            other: 0,
        };
        assert_eq!(counted, expected);
        assert_eq!(counted.since(expected), Counts::default());
    }
}
