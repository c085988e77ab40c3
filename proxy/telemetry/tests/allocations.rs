//! A request that is not sampled allocates nothing here, nor does counting it.
#![allow(clippy::unwrap_used)]

mod support;

use allocation_counter::measure;
use heddle_proxy_telemetry::{
    Kind, Labels, Metrics, Peer, Reporter, RequestProtocol, ResponseFlag, Security, Service,
    Tracer, Workload,
};
use http::{HeaderMap, HeaderValue};
use rand::{SeedableRng, rngs::SmallRng};
use std::sync::Arc;
use std::time::Duration;

const ROUNDS: usize = 1000;
/// Allocations that a sampled start may make: span, context, attributes, headers. 10 when written.
const MOST: u64 = 12;

fn labels(app: &str) -> Labels {
    let peer = Arc::new(Peer {
        app: app.into(),
        ..Peer::default()
    });
    Labels {
        reporter: Reporter::Source,
        source: Arc::clone(&peer),
        destination: peer,
        service: Arc::new(Service::default()),
        protocol: RequestProtocol::Http,
        security: Security::Unknown,
    }
}

#[tokio::test]
async fn an_unsampled_start_allocates_nothing() {
    let runtime = tokio::runtime::Handle::current();
    let tracer = Tracer::new(&runtime, Workload::default(), None, &Metrics::default());
    let mut rng = SmallRng::seed_from_u64(1);
    let collector = support::spec("127.0.0.1:4317".parse().unwrap());
    let parent =
        HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    let mut with_parent = HeaderMap::with_capacity(16);
    with_parent.insert("traceparent", parent);
    with_parent.insert("tracestate", HeaderValue::from_static("a=1"));
    let plain = HeaderMap::with_capacity(16);
    for (ppm, collector) in [(0, collector.clone()), (1, collector), (1_000_000, None)] {
        tracer.configure(ppm, collector);
        for headers in [&plain, &with_parent] {
            // As hyper makes them: with room for what came in and a little more.
            let mut copies: Vec<_> = (0..ROUNDS)
                .map(|_| {
                    let mut copy = HeaderMap::with_capacity(16);
                    copy.extend(headers.clone());
                    copy
                })
                .collect();
            let mut sampled = 0;
            let used = measure(|| {
                for headers in &mut copies {
                    sampled += usize::from(tracer.start(Kind::Client, headers, &mut rng).is_some());
                }
            });
            assert_eq!((used.count_total, sampled), (0, 0));
            let mut copy = HeaderMap::with_capacity(16);
            copy.extend(headers.clone());
            let used = measure(|| drop(tracer.serve(&mut copy, &mut rng)));
            assert_eq!(used.count_total, 0);
        }
    }
}

#[tokio::test]
async fn a_sampled_start_is_seen_to_allocate() {
    let runtime = tokio::runtime::Handle::current();
    let tracer = Tracer::new(&runtime, Workload::default(), None, &Metrics::default());
    tracer.configure(1_000_000, support::spec("127.0.0.1:1".parse().unwrap()));
    let mut rng = SmallRng::seed_from_u64(1);
    let mut start = || tracer.start(Kind::Client, &mut HeaderMap::new(), &mut rng);
    drop(start());
    let mut span = None;
    let used = measure(|| span = start()).count_total;
    assert!(span.is_some() && (1..=MOST).contains(&used), "{used}");
}

#[test]
fn recording_allocates_nothing() {
    let shard = Metrics::default().shard();
    let (http, tcp) = (shard.http(labels("a")), shard.tcp(labels("a")));
    let record = |n: usize| {
        let status = if n.is_multiple_of(7) { 503 } else { 200 };
        let took = Duration::from_micros(n as u64 * 37);
        http.record(status, None, ResponseFlag::None, took, n as u64, 1024);
        tcp.opened();
        tcp.sent(1);
        tcp.received(1);
        tcp.closed(ResponseFlag::None);
    };
    (0..8).for_each(record);
    assert_eq!(measure(|| (0..ROUNDS).for_each(record)).count_total, 0);
}

#[test]
fn outcomes_beyond_the_limit_allocate_nothing() {
    let shard = Metrics::new(1).shard();
    let http = shard.http(labels("a"));
    let record = |status| http.record(status, None, ResponseFlag::None, Duration::ZERO, 0, 0);
    (100..=999).for_each(record);
    assert_eq!(measure(|| (100..=999).for_each(record)).count_total, 0);
}
