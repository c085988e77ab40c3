//! The text is read back by a strict parser, so that what Prometheus would refuse fails here.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::flag::ResponseFlag;
use std::collections::{HashMap, HashSet};

type Sample = (String, BTreeLabels);
type BTreeLabels = std::collections::BTreeMap<String, String>;

/// Every sample by name and labels. Panics on anything that the format does not allow.
fn parse(text: &str) -> HashMap<Sample, f64> {
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let mut family: Option<(String, String)> = None;
    let mut lines = text.lines();
    assert!(text.ends_with('\n'));
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split_once(' ').unwrap().0;
            assert!(families.insert(name.to_owned()), "{name} twice");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind));
            if kind == "counter" {
                assert!(name.ends_with("_total"), "{name}");
            }
            family = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}').unwrap())),
            None => (series, BTreeLabels::new()),
        };
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        let (family, kind) = family.as_ref().unwrap();
        let suffix = name
            .strip_prefix(family.as_str())
            .unwrap_or_else(|| panic!("{name} in {family}"));
        let allowed: &[&str] = if kind == "histogram" {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        assert!(allowed.contains(&suffix), "{name} in {family}");
        assert_eq!(suffix == "_bucket", labels.contains_key("le"));
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0);
        let fresh = samples.insert((name.to_owned(), labels), value).is_none();
        assert!(fresh, "{line} twice");
    }
    check_histograms(&samples);
    samples
}

fn parse_labels(mut rest: &str) -> BTreeLabels {
    let mut labels = BTreeLabels::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap();
        let name = name.strip_prefix(',').unwrap_or(name);
        assert_eq!(rest.starts_with(','), !labels.is_empty());
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.is_empty());
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("escape {other}"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} twice"
        );
        rest = &after[end + 1..];
    }
    labels
}

fn check_histograms(samples: &HashMap<Sample, f64>) {
    for ((name, labels), count) in samples {
        let Some(base) = name.strip_suffix("_count") else {
            continue;
        };
        let mut below = 0.0;
        for le in histogram::LE {
            let mut labels = labels.clone();
            labels.insert("le".into(), le.into());
            let bucket = samples[&(format!("{base}_bucket"), labels)];
            assert!(bucket >= below, "{base} {le}");
            below = bucket;
        }
        assert_eq!(below, *count);
        assert!(samples.contains_key(&(format!("{base}_sum"), labels.clone())));
    }
}

fn read(metrics: &Metrics) -> HashMap<Sample, f64> {
    let mut text = String::new();
    metrics.render(&mut text);
    parse(&text)
}

fn labels(app: &str) -> Labels {
    Labels {
        reporter: Reporter::Source,
        source: Arc::new(Peer {
            workload: "productpage-v1".into(),
            ..Peer::default()
        }),
        destination: Arc::new(Peer {
            app: app.into(),
            version: "v1".into(),
            ..Peer::default()
        }),
        service: Arc::new(Service {
            host: format!("{app}.default.svc.cluster.local"),
            name: app.into(),
            namespace: "default".into(),
        }),
        protocol: RequestProtocol::Http,
        security: Security::Unknown,
    }
}

fn ok(series: &HttpSeries) {
    series.record(
        200,
        None,
        ResponseFlag::None,
        Duration::from_micros(1500),
        10,
        1024,
    );
}

/// Sum of the samples of this name whose labels include these.
fn total(samples: &HashMap<Sample, f64>, name: &str, with: &[(&str, &str)]) -> f64 {
    let matches = |labels: &BTreeLabels| {
        with.iter()
            .all(|(name, value)| labels.get(*name).is_some_and(|have| have == value))
    };
    samples
        .iter()
        .filter(|((n, labels), _)| n == name && matches(labels))
        .map(|(_, v)| v)
        .sum()
}

#[test]
fn requests_of_all_shards_are_summed() {
    let metrics = Metrics::default();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let metrics = metrics.clone();
            std::thread::spawn(move || {
                let shard = metrics.shard();
                let series = shard.http(labels("reviews"));
                (0..100).for_each(|_| ok(&series));
                series.record(
                    503,
                    None,
                    ResponseFlag::UpstreamConnectFailure,
                    Duration::ZERO,
                    0,
                    0,
                );
                series.record(
                    200,
                    Some(14),
                    ResponseFlag::None,
                    Duration::from_secs(7200),
                    u64::MAX,
                    0,
                );
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let samples = read(&metrics);
    let ok = [
        ("response_code", "200"),
        ("response_flags", "-"),
        ("destination_app", "reviews"),
    ];
    assert_eq!(total(&samples, "istio_requests_total", &ok), 303.0);
    let failed = [
        ("response_code", "503"),
        ("response_flags", "UF"),
        ("reporter", "source"),
    ];
    assert_eq!(total(&samples, "istio_requests_total", &failed), 3.0);
    let grpc = [("grpc_response_status", "14"), ("source_app", "unknown")];
    assert_eq!(total(&samples, "istio_requests_total", &grpc), 3.0);
    let sum = total(
        &samples,
        "istio_request_duration_milliseconds_sum",
        &[("response_flags", "UF")],
    );
    assert_eq!(sum, 0.0);
    let le = [("le", "5"), ("response_code", "200")];
    assert_eq!(
        total(&samples, "istio_request_duration_milliseconds_bucket", &le),
        300.0
    );
    let canonical = [
        ("destination_canonical_service", "reviews"),
        ("source_canonical_revision", "latest"),
    ];
    assert_eq!(total(&samples, "istio_requests_total", &canonical), 306.0);
}

#[test]
fn connections_are_counted() {
    let metrics = Metrics::default();
    let series = metrics.shard().tcp(labels("db"));
    series.opened();
    series.opened();
    series.sent(5);
    series.received(7);
    series.closed(ResponseFlag::UpstreamClosed);
    let samples = read(&metrics);
    assert_eq!(
        total(&samples, "istio_tcp_connections_opened_total", &[]),
        2.0
    );
    assert_eq!(total(&samples, "istio_tcp_sent_bytes_total", &[]), 5.0);
    assert_eq!(total(&samples, "istio_tcp_received_bytes_total", &[]), 7.0);
    assert_eq!(
        total(
            &samples,
            "istio_tcp_connections_closed_total",
            &[("response_flags", "UC")]
        ),
        1.0
    );
}

#[test]
fn hostile_label_values_are_escaped() {
    let metrics = Metrics::default();
    let shard = metrics.shard();
    let nasty = "a\"b\\c\nd{}=,é";
    ok(&shard.http(labels(nasty)));
    metrics
        .counter("heddle_test_total", "Help.", &[("reason", nasty)])
        .inc();
    let samples = read(&metrics);
    assert_eq!(
        total(
            &samples,
            "istio_requests_total",
            &[("destination_app", nasty)]
        ),
        1.0
    );
    assert_eq!(
        total(&samples, "heddle_test_total", &[("reason", nasty)]),
        1.0
    );
}

#[test]
fn a_series_made_again_continues() {
    let metrics = Metrics::default();
    let shard = metrics.shard();
    for _ in 0..3 {
        ok(&shard.http(labels("a")));
    }
    let (one, two) = (shard.http(labels("a")), shard.http(labels("a")));
    ok(&one);
    ok(&two);
    assert_eq!(total(&read(&metrics), "istio_requests_total", &[]), 5.0);
}

#[test]
fn series_are_bounded_and_the_rest_is_other() {
    let metrics = Metrics::with_limits(MetricLimits {
        series: 3,
        ..MetricLimits::default()
    });
    let shard = metrics.shard();
    let kept: Vec<_> = (0..10)
        .map(|n| shard.http(labels(&format!("app{n}"))))
        .collect();
    kept.iter().for_each(ok);
    kept.iter().for_each(ok);
    let tcp = shard.tcp(labels("db"));
    tcp.opened();
    let samples = read(&metrics);
    assert_eq!(total(&samples, "istio_requests_total", &[]), 20.0);
    assert_eq!(
        total(
            &samples,
            "istio_requests_total",
            &[("destination_service", "other")]
        ),
        14.0
    );
    assert_eq!(
        total(
            &samples,
            "istio_tcp_connections_opened_total",
            &[("reporter", "other")]
        ),
        1.0
    );
    assert!(total(&samples, "heddle_metric_series_refused_total", &[]) >= 7.0);
}

#[test]
fn a_peer_cannot_make_a_series_per_status() {
    let metrics = Metrics::default();
    let series = metrics.shard().http(labels("a"));
    for status in 100..=999 {
        series.record(status, None, ResponseFlag::None, Duration::ZERO, 0, 0);
    }
    let samples = read(&metrics);
    assert_eq!(total(&samples, "istio_requests_total", &[]), 900.0);
    assert_eq!(
        samples
            .keys()
            .filter(|(name, _)| name == "istio_requests_total")
            .count(),
        65
    );
}

#[test]
fn series_without_a_handle_go_after_a_while_and_free_their_room() {
    let metrics = Metrics::with_limits(MetricLimits {
        series: 1,
        stale_after: Duration::ZERO,
    });
    let shard = metrics.shard();
    let series = shard.http(labels("a"));
    ok(&series);
    assert_eq!(
        total(
            &read(&metrics),
            "istio_requests_total",
            &[("destination_app", "a")]
        ),
        1.0
    );
    drop(series);
    assert_eq!(total(&read(&metrics), "istio_requests_total", &[]), 0.0);
    ok(&shard.http(labels("b")));
    let kept = Metrics::default();
    let shard = kept.shard();
    ok(&shard.http(labels("a")));
    assert_eq!(
        total(&read(&kept), "istio_requests_total", &[]),
        1.0,
        "not stale yet"
    );
}

#[test]
fn the_process_describes_itself() {
    let metrics = Metrics::default();
    metrics.gauge("heddle_test_age", "Help.", &[]).set(7);
    let samples = read(&metrics);
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
        "heddle_build_info",
    ] {
        assert!(total(&samples, name, &[]) > 0.0, "{name}");
    }
    assert_eq!(total(&samples, "heddle_test_age", &[]), 7.0);
}

#[test]
fn labels_of_counters_are_bounded() {
    let metrics = Metrics::default();
    for n in 0..1000 {
        metrics
            .counter("heddle_test_total", "Help.", &[("reason", &n.to_string())])
            .inc();
    }
    let samples = read(&metrics);
    assert_eq!(total(&samples, "heddle_test_total", &[]), 1000.0);
    assert_eq!(
        total(&samples, "heddle_test_total", &[("reason", "other")]),
        744.0
    );
}

#[test]
fn handles_are_one_word_and_an_outcome_is_small() {
    assert_eq!(size_of::<HttpSeries>(), size_of::<usize>());
    assert_eq!(size_of::<TcpSeries>(), size_of::<usize>());
    assert!(size_of::<series::HttpCells>() <= 512);
}
