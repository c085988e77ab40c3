//! Spans as a collector on loopback receives them.
#![allow(clippy::unwrap_used)]

mod support;

use heddle_proxy_telemetry::request_span::names;
use heddle_proxy_telemetry::{
    ExportLimits, Kind, MeshChannel, Metrics, ResponseFlag, Tracer, Workload,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use opentelemetry_proto::tonic::trace::v1::{
    Span, span::SpanKind, status::StatusCode as SpanStatus,
};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use support::{Collector, eventually, quick, spec, text};
use tokio::runtime::Handle;

const ALWAYS: u32 = 1_000_000;

fn workload() -> Workload {
    Workload {
        service: "productpage".into(),
        pod: "productpage-v1-0".into(),
        namespace: "default".into(),
    }
}

fn tracer(metrics: &Metrics, limits: ExportLimits) -> Tracer {
    Tracer::with_limits(&Handle::current(), workload(), None, metrics, limits)
}

fn request(tracer: &Tracer, kind: Kind, headers: &mut HeaderMap) {
    tracer
        .start(kind, headers, &mut rand::rng())
        .unwrap()
        .finish();
}

fn count(metrics: &Metrics, line: &str) -> u64 {
    let mut out = String::new();
    metrics.render(&mut out);
    let found = out
        .lines()
        .find_map(|l| l.strip_prefix(line).and_then(|rest| rest.strip_prefix(' ')));
    found
        .unwrap_or_else(|| panic!("no {line}"))
        .parse()
        .unwrap()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

#[tokio::test]
async fn two_hops_make_one_trace_with_every_field() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let mut headers = HeaderMap::new();
    let mut client = tracer
        .start(Kind::Client, &mut headers, &mut rand::rng())
        .unwrap();
    let mut server = tracer
        .start(Kind::Server, &mut headers, &mut rand::rng())
        .unwrap();
    server.method(&Method::GET);
    server.service("reviews.default");
    server.status(StatusCode::NOT_FOUND);
    server.finish();
    client.method(&Method::GET);
    client.path("/reviews/1?token=secret");
    client.authority("reviews:9080");
    client.version(Version::HTTP_11);
    client.route(
        Arc::<str>::from("VirtualService/default/reviews-route#0"),
        1,
    );
    client.subset("v2");
    client.service("default/reviews");
    client.attempt();
    client.endpoint("10.0.0.1:9080".parse().unwrap(), Some("default/old".into()));
    client.attempt();
    client.endpoint(
        "10.0.0.2:9080".parse().unwrap(),
        Some("default/reviews-v2-0".into()),
    );
    client.mark_connect(Duration::from_micros(70));
    client.queue_time(Duration::from_micros(7));
    client.mark_first_byte();
    client.status(StatusCode::SERVICE_UNAVAILABLE);
    client.grpc_status(14);
    client.flag(ResponseFlag::UpstreamConnectFailure);
    client.flag(ResponseFlag::RetryLimit);
    client.bytes(3, 1024);
    client.local_identity("spiffe://cluster.local/ns/default/sa/productpage");
    client.peer_identity("spiffe://cluster.local/ns/default/sa/reviews");
    client.finish();

    let spans = collector.wait_for(2).await;
    let of = |kind: SpanKind| spans.iter().find(|span| span.kind == kind as i32).unwrap();
    let (client, server) = (of(SpanKind::Client), of(SpanKind::Server));
    assert_eq!(client.trace_id, server.trace_id);
    assert!(client.parent_span_id.is_empty());
    assert_eq!(server.parent_span_id, client.span_id);
    assert!(server.start_time_unix_nano >= client.start_time_unix_nano);
    assert!(server.end_time_unix_nano <= client.end_time_unix_nano);
    assert_eq!(
        (client.name.as_str(), server.name.as_str()),
        ("GET reviews.default", "GET reviews.default")
    );
    assert_eq!(client.status.as_ref().unwrap().code(), SpanStatus::Error);
    // 404 is the caller's mistake: no error of the server.
    assert_eq!(
        server
            .status
            .as_ref()
            .map_or(SpanStatus::Unset, |s| s.code()),
        SpanStatus::Unset
    );
    let expected = [
        ("http.request.method", "GET"),
        ("url.path", "/reviews/1"),
        ("server.address", "reviews"),
        ("server.port", "9080"),
        ("network.protocol.version", "1.1"),
        ("network.peer.address", "10.0.0.2"),
        ("network.peer.port", "9080"),
        ("http.response.status_code", "503"),
        ("rpc.grpc.status_code", "14"),
        ("error.type", "UF"),
        ("http.request.body.size", "3"),
        ("http.response.body.size", "1024"),
        (names::ROUTE, "VirtualService/default/reviews-route#0"),
        (names::ROUTE_RULE, "1"),
        (names::SUBSET, "v2"),
        (names::SERVICE, "reviews.default"),
        (names::ENDPOINT_WORKLOAD, "default/reviews-v2-0"),
        (names::ATTEMPTS, "2"),
        (names::FLAGS, "UF"),
        (names::QUEUE_TIME, "7"),
        (names::CONNECT_TIME, "70"),
        (
            names::LOCAL_IDENTITY,
            "spiffe://cluster.local/ns/default/sa/productpage",
        ),
        (
            names::PEER_IDENTITY,
            "spiffe://cluster.local/ns/default/sa/reviews",
        ),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(client, key).as_deref(), Some(value), "{key}");
    }
    let micros = |key| -> u64 { attribute(client, key).unwrap().parse().unwrap() };
    assert!(micros(names::TOTAL_TIME) >= micros(names::FIRST_BYTE_TIME));
    let mut keys: Vec<_> = client.attributes.iter().map(|kv| &kv.key).collect();
    keys.sort_unstable();
    let before = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), before, "an attribute twice");
    for (key, value) in [
        ("service.name", "productpage"),
        ("k8s.pod.name", "productpage-v1-0"),
        ("k8s.namespace.name", "default"),
    ] {
        assert_eq!(collector.resource(key).as_deref(), Some(value));
    }
    // Counted once the collector's answer is back.
    eventually(|| count(&metrics, "heddle_spans_exported_total") == 2).await;
}

#[tokio::test]
async fn the_callers_context_is_continued() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(0, collector.spec());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(parent));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
    request(&tracer, Kind::Server, &mut headers);
    let span = collector.wait_for(1).await.pop().unwrap();
    assert_eq!(
        span.trace_id,
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
    );
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(span.trace_state, "vendor=1");
    let onwards = headers["traceparent"].to_str().unwrap();
    let id: String = span
        .span_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        onwards,
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{id}-01")
    );
    assert_eq!(headers["tracestate"], "vendor=1");
}

#[tokio::test]
async fn one_hop_decides_for_all() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let (first, later) = (tracer(&metrics, quick()), tracer(&metrics, quick()));
    first.configure(0, collector.spec());
    later.configure(ALWAYS, collector.spec());
    let mut headers = HeaderMap::new();
    assert!(
        first
            .start(Kind::Client, &mut headers, &mut rand::rng())
            .is_none()
    );
    assert_eq!(headers["b3"], "0");
    assert!(
        later
            .start(Kind::Server, &mut headers, &mut rand::rng())
            .is_none()
    );
    assert_eq!(headers.len(), 1);
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(unsampled));
    assert!(
        later
            .start(Kind::Server, &mut headers, &mut rand::rng())
            .is_none()
    );
    assert_eq!(
        (headers.len(), &headers["traceparent"]),
        (1, &HeaderValue::from_static(unsampled))
    );
    later.configure(ALWAYS, None);
    let mut untouched = HeaderMap::new();
    assert!(
        later
            .start(Kind::Client, &mut untouched, &mut rand::rng())
            .is_none()
    );
    assert!(untouched.is_empty());
}

#[tokio::test]
async fn what_a_peer_chooses_is_clipped() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let mut span = tracer
        .start(Kind::Server, &mut HeaderMap::new(), &mut rand::rng())
        .unwrap();
    span.path(&"/".repeat(50_000));
    span.authority(&"a".repeat(50_000));
    span.method(&Method::from_bytes(&[b'M'; 5_000]).unwrap());
    span.finish();
    let span = collector.wait_for(1).await.pop().unwrap();
    assert_eq!(attribute(&span, "url.path").unwrap().len(), 1024);
    assert_eq!(attribute(&span, "server.address").unwrap().len(), 1024);
    assert_eq!(
        attribute(&span, "http.request.method").as_deref(),
        Some("_OTHER")
    );
}

#[tokio::test]
async fn a_span_that_is_dropped_ends_with_dc() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    drop(tracer.start(Kind::Server, &mut HeaderMap::new(), &mut rand::rng()));
    let span = collector.wait_for(1).await.pop().unwrap();
    assert_eq!(attribute(&span, names::FLAGS).as_deref(), Some("DC"));
}

#[tokio::test]
async fn spans_from_worker_threads_arrive() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let tracer = tracer.clone();
            std::thread::spawn(move || {
                (0..100).for_each(|_| request(&tracer, Kind::Client, &mut HeaderMap::new()));
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let spans = collector.wait_for(400).await;
    let traces: std::collections::HashSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 400);
    assert!(collector.requests().len() < 200, "batched");
}

#[tokio::test]
async fn spans_wait_for_the_name_of_their_service() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let unnamed = Workload {
        service: String::new(),
        ..workload()
    };
    let limits = ExportLimits {
        unnamed: Duration::from_secs(600),
        ..quick()
    };
    let tracer = Tracer::with_limits(&Handle::current(), unnamed, None, &metrics, limits);
    tracer.configure(ALWAYS, collector.spec());
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(collector.spans().is_empty());
    tracer.set_resource(workload());
    collector.wait_for(1).await;
    assert_eq!(
        collector.resource("service.name").as_deref(),
        Some("productpage")
    );
}

#[tokio::test]
async fn an_unnamed_workload_goes_by_its_pod() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let unnamed = Workload {
        service: String::new(),
        ..workload()
    };
    let limits = ExportLimits {
        unnamed: Duration::from_millis(1),
        ..quick()
    };
    let tracer = Tracer::with_limits(&Handle::current(), unnamed, None, &metrics, limits);
    tracer.configure(ALWAYS, collector.spec());
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    collector.wait_for(1).await;
    assert_eq!(
        collector.resource("service.name").as_deref(),
        Some("productpage-v1-0")
    );
}

#[tokio::test]
async fn a_collector_that_is_away_is_waited_for_within_bounds() {
    let metrics = Metrics::default();
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let limits = ExportLimits {
        queue: 8,
        batch: 4,
        attempts: u32::MAX,
        ..quick()
    };
    let tracer = tracer(&metrics, limits);
    tracer.configure(ALWAYS, spec(address));
    (0..100).for_each(|_| request(&tracer, Kind::Client, &mut HeaderMap::new()));
    let dropped = count(
        &metrics,
        "heddle_spans_dropped_total{reason=\"queue_full\"}",
    );
    assert!((88..=92).contains(&dropped), "{dropped}");
    let collector = Collector::on(TcpListener::bind(address).unwrap());
    let kept = 100 - dropped as usize;
    assert_eq!(collector.wait_for(kept).await.len(), kept);
}

#[tokio::test]
async fn a_batch_that_is_refused_for_ever_is_given_up() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    collector.refuse(true);
    let tracer = tracer(
        &metrics,
        ExportLimits {
            attempts: 2,
            ..quick()
        },
    );
    tracer.configure(ALWAYS, collector.spec());
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    eventually(|| {
        count(
            &metrics,
            "heddle_spans_dropped_total{reason=\"export_failed\"}",
        ) == 1
    })
    .await;
    collector.refuse(false);
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    collector.wait_for(1).await;
}

#[tokio::test]
async fn a_new_collector_gets_what_the_old_one_did_not_take() {
    let (old, new, metrics) = (Collector::start(), Collector::start(), Metrics::default());
    old.refuse(true);
    let limits = ExportLimits {
        backoff: Duration::from_secs(600),
        attempts: u32::MAX,
        ..quick()
    };
    let tracer = tracer(&metrics, limits);
    tracer.configure(ALWAYS, old.spec());
    let running = tracer
        .start(Kind::Client, &mut HeaderMap::new(), &mut rand::rng())
        .unwrap();
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    tokio::time::sleep(Duration::from_millis(50)).await;
    tracer.configure(ALWAYS, new.spec());
    new.wait_for(1).await;
    running.finish();
    new.wait_for(2).await;
    assert!(old.spans().is_empty());
}

#[tokio::test]
async fn shutdown_exports_what_is_queued_and_is_bounded() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let limits = ExportLimits {
        delay: Duration::from_secs(600),
        batch: 3,
        ..quick()
    };
    let tracer = tracer(&metrics, limits);
    tracer.configure(ALWAYS, collector.spec());
    (0..10).for_each(|_| request(&tracer, Kind::Client, &mut HeaderMap::new()));
    tracer.shutdown().await;
    assert_eq!(collector.spans().len(), 10);
    assert!(
        tracer
            .start(Kind::Client, &mut HeaderMap::new(), &mut rand::rng())
            .is_none()
    );

    // Connects (the backlog takes it) and then hears nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    tracer.configure(ALWAYS, spec(silent.local_addr().unwrap()));
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    let began = std::time::Instant::now();
    tracer.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_mesh_collector_is_reached_through_the_factory() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let address = collector.address;
    let mesh: MeshChannel = Arc::new(move |authority, identity| {
        assert_eq!(authority, "otel.observe:4317");
        assert_eq!(
            identity.to_string(),
            "spiffe://cluster.local/ns/observe/sa/otel"
        );
        let uri = format!("http://{address}");
        Ok(tonic::transport::Endpoint::from_shared(uri)?.connect_lazy())
    });
    let tracer = Tracer::with_limits(
        &Handle::current(),
        workload(),
        Some(mesh),
        &metrics,
        quick(),
    );
    let identity = "spiffe://cluster.local/ns/observe/sa/otel";
    let spec =
        heddle_proxy_telemetry::CollectorSpec::parse("spiffe+https://otel.observe:4317", identity);
    tracer.configure(ALWAYS, spec.unwrap());
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    collector.wait_for(1).await;
}

#[tokio::test]
async fn the_task_ends_with_the_tracer_after_a_last_export() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let limits = ExportLimits {
        delay: Duration::from_secs(600),
        ..quick()
    };
    let tracer = tracer(&metrics, limits);
    tracer.configure(ALWAYS, collector.spec());
    request(&tracer, Kind::Client, &mut HeaderMap::new());
    drop(tracer);
    collector.wait_for(1).await;
}

#[tokio::test]
async fn an_app_that_drops_the_context_is_joined_and_marked() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let mut rng = rand::rng();
    let (server, serving) = tracer.serve(&mut HeaderMap::new(), &mut rng);
    let mut dropped = HeaderMap::new();
    let client = tracer.start(Kind::Client, &mut dropped, &mut rng).unwrap();
    assert!(dropped.contains_key("traceparent"));
    client.finish();
    server.unwrap().finish();
    drop(serving);
    let spans = collector.wait_for(2).await;
    let inferred = |span: &&Span| span.attributes.iter().any(|kv| kv.key == names::INFERRED);
    let client = spans.iter().find(inferred).unwrap();
    let server = spans.iter().find(|span| !inferred(span)).unwrap();
    assert_eq!(
        (&client.trace_id, &client.parent_span_id),
        (&server.trace_id, &server.span_id)
    );
}

#[tokio::test]
async fn nothing_is_joined_when_it_would_be_a_guess() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let mut rng = rand::rng();
    let (one, _serving_one) = tracer.serve(&mut HeaderMap::new(), &mut rng);
    let opaque = tracer.serve_opaque();
    tracer
        .start(Kind::Client, &mut HeaderMap::new(), &mut rng)
        .unwrap()
        .finish();
    drop(opaque);
    one.unwrap().finish();
    let spans = collector.wait_for(2).await;
    assert_ne!(spans[0].trace_id, spans[1].trace_id);
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn the_only_inbound_request_decides_for_what_it_causes() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    let mut headers = HeaderMap::new();
    headers.insert("b3", HeaderValue::from_static("0"));
    let (span, _serving) = tracer.serve(&mut headers, &mut rand::rng());
    assert!(span.is_none());
    let mut caused = HeaderMap::new();
    assert!(
        tracer
            .start(Kind::Client, &mut caused, &mut rand::rng())
            .is_none()
    );
    assert_eq!(caused["b3"], "0");
}

#[tokio::test]
async fn grpc_errors_are_errors_of_the_side_that_made_them() {
    let (collector, metrics) = (Collector::start(), Metrics::default());
    let tracer = tracer(&metrics, quick());
    tracer.configure(ALWAYS, collector.spec());
    for (kind, code) in [
        (Kind::Client, 5),
        (Kind::Server, 5),
        (Kind::Server, 13),
        (Kind::Client, 0),
    ] {
        let mut span = tracer
            .start(kind, &mut HeaderMap::new(), &mut rand::rng())
            .unwrap();
        span.status(StatusCode::OK);
        span.grpc_status(code);
        span.finish();
    }
    let spans = collector.wait_for(4).await;
    let errors: Vec<_> = spans
        .iter()
        .map(|span| attribute(span, "error.type"))
        .collect();
    assert_eq!(errors, [Some("5".into()), None, Some("13".into()), None]);
}
