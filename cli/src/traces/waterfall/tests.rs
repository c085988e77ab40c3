#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn span(
    id: &str,
    parent: Option<&str>,
    kind: SpanKind,
    service: &str,
    at: u64,
    took: u64,
    more: Value,
) -> Span {
    let Value::Object(attributes) = more else {
        panic!("attributes are an object")
    };
    Span {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        span_id: id.to_owned(),
        parent_id: parent.map(str::to_owned),
        name: format!("GET {service}"),
        kind,
        service: service.to_owned(),
        start_unix_nanos: 1_795_000_000_000_000_000 + at * 1_000,
        duration_nanos: took * 1_000,
        error: attributes.contains_key("heddle.flags"),
        message: String::new(),
        attributes: attributes.into_iter().collect(),
        resource: [].into(),
    }
}

fn sample() -> Trace {
    let server = |path: &str, status: u16| json!({"http.request.method": "GET", "url.path": path, "http.response.status_code": status});
    let client = |to: &str, subset: &str, route: &str, status: u16| json!({"heddle.destination.service": to, "heddle.subset": subset, "heddle.route": route, "http.response.status_code": status});
    use SpanKind::{Client, Server};
    let mut failed = client("ratings.default", "v1", "", 503);
    failed["heddle.flags"] = json!("UF");
    let route = "VirtualService/default/reviews-route#1 (/some/where.yaml:9)";
    Trace {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        spans: vec![
            span(
                "a",
                None,
                Server,
                "productpage",
                0,
                12_400,
                server("/productpage", 200),
            ),
            span(
                "b",
                Some("a"),
                Client,
                "productpage",
                300,
                2_100,
                client("details.default", "", "", 200),
            ),
            span(
                "c",
                Some("b"),
                Server,
                "details",
                700,
                1_200,
                server("/details/0", 200),
            ),
            span(
                "d",
                Some("a"),
                Client,
                "productpage",
                2_600,
                9_300,
                client("reviews.default", "v2", route, 200),
            ),
            span(
                "e",
                Some("d"),
                Server,
                "reviews",
                3_000,
                8_500,
                server("/reviews/0", 200),
            ),
            span("f", Some("e"), Client, "reviews", 11_000, 10, failed),
        ],
    }
}

const fn canvas(columns: usize, unicode: bool) -> Canvas {
    Canvas {
        columns,
        unicode,
        style: Style::PLAIN,
    }
}

/// Compares with the file beside this one; `BLESS=1` writes the file instead.
fn snapshot(file: &str, drawn: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/traces/waterfall")
        .join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, drawn).unwrap();
    }
    assert_eq!(drawn, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn a_trace_in_a_wide_terminal() {
    snapshot("wide.txt", &draw(&sample(), canvas(120, true)));
}

#[test]
fn a_trace_in_a_narrow_ascii_terminal() {
    let drawn = draw(&sample(), canvas(72, false));
    assert!(drawn.is_ascii());
    snapshot("narrow.txt", &drawn);
}

#[test]
fn every_line_fits() {
    for columns in [60, 80, 100, 200] {
        for line in draw(&sample(), canvas(columns, true)).lines().skip(2) {
            assert!(width(line) <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn cycles_and_orphans_are_drawn_once() {
    let mut trace = sample();
    trace.spans[0].parent_id = Some("a".to_owned());
    trace.spans[1].parent_id = Some("c".to_owned());
    trace.spans[3].parent_id = Some("gone".to_owned());
    let drawn = draw(&trace, canvas(100, true));
    assert_eq!(drawn.lines().count(), 3 + trace.spans.len(), "{drawn}");
}

#[test]
fn spans_without_time_have_a_tick() {
    let mut trace = sample();
    for span in &mut trace.spans {
        span.duration_nanos = 0;
        span.start_unix_nanos = 7;
    }
    assert!(draw(&trace, canvas(80, true)).contains('▏'));
}
