#![allow(clippy::unwrap_used)]
use super::super::SpanKind;
use super::*;

fn span(trace: u128, id: u64, status: u16) -> Span {
    Span {
        trace_id: format!("{trace:032x}"),
        span_id: format!("{id:016x}"),
        parent_id: None,
        name: "GET /".to_owned(),
        kind: SpanKind::Server,
        service: "web".to_owned(),
        start_unix_nanos: u64::try_from(trace).unwrap(),
        duration_nanos: 1_000_000,
        error: status >= 500,
        message: String::new(),
        attributes: [("http.response.status_code".to_owned(), status.into())].into(),
        resource: [].into(),
    }
}

fn add(store: &Store, span: Span) {
    store.inner().add(span, &store.limits);
}

#[test]
fn the_oldest_trace_goes_first() {
    let store = Store::with_limits(Limits {
        traces: 2,
        ..Limits::default()
    });
    for trace in 1..=3 {
        add(&store, span(trace, 1, 200));
    }
    let listed = store.list(&Filter {
        limit: 10,
        ..Filter::default()
    });
    assert_eq!(
        listed
            .iter()
            .map(|t| t.start_unix_nanos)
            .collect::<Vec<_>>(),
        [3, 2]
    );
    assert_eq!(store.usage().dropped_traces, 1);
}

#[test]
fn bytes_and_spans_are_bounded() {
    let one = size(&span(1, 1, 200));
    let store = Store::with_limits(Limits {
        bytes: one * 2,
        spans_of_one: 1,
        ..Limits::default()
    });
    for trace in 1..=5 {
        add(&store, span(trace, 1, 200));
        add(&store, span(trace, 2, 200));
    }
    let usage = store.usage();
    assert_eq!((usage.traces, usage.spans, usage.bytes), (2, 2, one * 2));
    assert_eq!(usage.dropped_spans, 5);
}

#[test]
fn filters_and_prefixes() {
    let store = Store::default();
    add(&store, span(0xa1, 1, 200));
    add(&store, span(0xa2, 1, 503));
    let list = |status: &str| {
        let filter = Filter {
            limit: 10,
            status: Some(status.to_owned()),
            ..Filter::default()
        };
        store.list(&filter).len()
    };
    assert_eq!(
        (
            list("5xx"),
            list("503"),
            list("200"),
            list("error"),
            list("404")
        ),
        (1, 1, 1, 1, 0)
    );
    assert!(store.find("0000").is_none(), "ambiguous");
    let full = format!("{:032x}", 0xa2);
    assert_eq!(store.find(&full).unwrap().trace_id, full);
    assert_eq!(store.find("").unwrap().trace_id, full);
}
