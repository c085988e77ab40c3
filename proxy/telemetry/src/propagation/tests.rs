//! Vectors from the W3C recommendation and the B3 specification, and properties of the round trip.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN_ID: u64 = 0x00f0_67aa_0ba9_02b7;
const NEXT: Outbound = Outbound {
    trace_id: TRACE_ID,
    span_id: 0xabc,
};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn read(pairs: &[(&str, &str)]) -> Inbound {
    extract(&headers(pairs))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn traceparent_is_read() {
    let inbound = read(&[("traceparent", VALID)]);
    let context = inbound.context.unwrap();
    assert_eq!(
        (context.trace_id, context.span_id, context.flags),
        (TRACE_ID, SPAN_ID, 1)
    );
    assert_eq!(inbound.decision, Some(true));
    assert!(context.w3c && inbound.formats.w3c);
    let unsampled = VALID.replace("-01", "-00");
    assert_eq!(read(&[("traceparent", &unsampled)]).decision, Some(false));
    let random = VALID.replace("-01", "-03");
    assert_eq!(read(&[("traceparent", &random)]).context.unwrap().flags, 3);
    let unknown = VALID.replace("-01", "-fc");
    let inbound = read(&[("traceparent", &unknown)]);
    assert_eq!(
        (inbound.context.unwrap().flags, inbound.decision),
        (0, Some(false))
    );
}

#[test]
fn broken_traceparents_are_refused() {
    let zero_trace = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let zero_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
    let broken = [
        "",
        "00",
        "-",
        &VALID[..54],
        &format!("{VALID}-"),
        &format!("{VALID}0"),
        &format!("{VALID}-00"),
        &VALID.replacen("00", "ff", 1),
        &VALID.replacen("00", "0X", 1),
        &VALID.replacen("00", "0", 1),
        &VALID.replacen('-', "_", 1),
        &VALID.to_uppercase(),
        &VALID.replace("-01", "-0g"),
        &VALID.replace("-01", "-1"),
        &zero_trace,
        &zero_span,
        &format!(" {VALID}"),
        &VALID.replacen('4', "-", 1),
        &format!("cc-{TRACE}-{SPAN}-01.what"),
        &format!("FF-{TRACE}-{SPAN}-01"),
        &format!("0A-{TRACE}-{SPAN}-01"),
    ];
    for value in broken {
        assert_eq!(
            read(&[("traceparent", value)]),
            Inbound::default(),
            "{value:?}"
        );
    }
    let twice = read(&[("traceparent", VALID), ("traceparent", VALID)]);
    assert_eq!(twice, Inbound::default());
}

#[test]
fn future_versions_are_read_by_their_first_four_fields() {
    for value in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("01-{TRACE}-{SPAN}-ff-"),
    ] {
        let inbound = read(&[("traceparent", &value)]);
        assert_eq!(inbound.context.unwrap().flags, FLAG_SAMPLED, "{value}");
        assert_eq!(inbound.context.unwrap().trace_id, TRACE_ID);
    }
}

#[test]
fn b3_single_is_read() {
    let both = format!("{TRACE}-{SPAN}");
    let cases = [
        (
            format!("{both}-1-05e3ac9a4f6e3b90"),
            true,
            Some(true),
            false,
        ),
        (format!("{both}-1"), true, Some(true), false),
        (format!("{both}-0"), true, Some(false), false),
        (format!("{both}-d"), true, Some(true), true),
        (both.clone(), true, None, false),
        ("0".into(), false, Some(false), false),
        ("1".into(), false, Some(true), false),
        ("d".into(), false, Some(true), true),
    ];
    for (value, context, decision, debug) in cases {
        let inbound = read(&[("b3", &value)]);
        assert_eq!(inbound.context.is_some(), context, "{value}");
        assert_eq!(
            (inbound.decision, inbound.debug),
            (decision, debug),
            "{value}"
        );
        assert!(inbound.formats.b3_single && !inbound.formats.b3_multi && !inbound.formats.w3c);
    }
    let short = read(&[("b3", &format!("a3ce929d0e0e4736-{SPAN}-1"))]);
    assert_eq!(short.context.unwrap().trace_id, 0xa3ce_929d_0e0e_4736);
}

#[test]
fn broken_b3_says_nothing() {
    let zero = format!("{}-{SPAN}-1", "0".repeat(32));
    let both = format!("{TRACE}-{SPAN}");
    for value in [
        "",
        "2",
        "-",
        TRACE,
        &zero,
        &format!("{both}-2"),
        &format!("{both}-1-"),
        &format!("{both}-1-xyz"),
        &format!("{both}-1-05e3ac9a4f6e3b90-1"),
        &format!("{TRACE}-"),
        &format!("{}-{SPAN}", &TRACE[1..]),
    ] {
        let inbound = read(&[("b3", value)]);
        assert_eq!(
            (inbound.context, inbound.decision),
            (None, None),
            "{value:?}"
        );
    }
    let twice = read(&[("b3", &both), ("b3", &both)]);
    assert_eq!((twice.context, twice.decision), (None, None));
}

#[test]
fn b3_multi_is_read() {
    let ids = [("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)];
    let with = |more: &[(&str, &str)]| read(&[&ids[..], more].concat());
    assert_eq!(with(&[]).decision, None);
    assert_eq!(with(&[("X-B3-Sampled", "1")]).decision, Some(true));
    assert_eq!(with(&[("X-B3-Sampled", "true")]).decision, Some(true));
    assert_eq!(with(&[("X-B3-Sampled", "0")]).decision, Some(false));
    let debug = with(&[("X-B3-Flags", "1"), ("X-B3-Sampled", "0")]);
    assert_eq!((debug.decision, debug.debug), (Some(true), true));
    assert_eq!(debug.context.unwrap().trace_id, TRACE_ID);
    let only_decision = read(&[("X-B3-Sampled", "0")]);
    assert_eq!(
        (only_decision.context, only_decision.decision),
        (None, Some(false))
    );
    assert!(only_decision.formats.b3_multi);
    assert_eq!(read(&[("X-B3-TraceId", TRACE)]).context, None);
}

#[test]
fn w3c_wins_over_b3_and_single_over_multi() {
    let other = "1111111111111111-2222222222222222-0";
    let inbound = read(&[("traceparent", VALID), ("b3", other), ("X-B3-Sampled", "0")]);
    assert_eq!(inbound.context.unwrap().trace_id, TRACE_ID);
    assert_eq!(inbound.decision, Some(true));
    assert_eq!(
        inbound.formats,
        Formats {
            w3c: true,
            b3_single: true,
            b3_multi: true
        }
    );
    let inbound = read(&[
        ("b3", other),
        ("X-B3-TraceId", TRACE),
        ("X-B3-SpanId", SPAN),
    ]);
    assert_eq!(inbound.context.unwrap().span_id, 0x2222_2222_2222_2222);
    let inbound = read(&[
        ("b3", "rubbish"),
        ("X-B3-TraceId", TRACE),
        ("X-B3-SpanId", SPAN),
    ]);
    assert_eq!(inbound.context.unwrap().trace_id, TRACE_ID);
    let inbound = read(&[("traceparent", "rubbish"), ("b3", other)]);
    assert_eq!(inbound.decision, Some(false));
}

#[test]
fn sampled_context_goes_out_in_the_forms_that_came_in() {
    let mut map = headers(&[("traceparent", VALID), ("tracestate", "vendor=1,other@x=2")]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(
        text(&map, "traceparent"),
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-01")
    );
    assert_eq!(text(&map, "tracestate"), Some("vendor=1,other@x=2"));
    assert_eq!(map.len(), 2);

    let mut map = headers(&[("b3", &format!("{TRACE}-{SPAN}-d"))]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(
        text(&map, "b3").unwrap(),
        format!("{TRACE}-0000000000000abc-d-{SPAN}")
    );
    assert!(map.contains_key("traceparent"));

    let mut map = headers(&[
        ("X-B3-TraceId", TRACE),
        ("X-B3-SpanId", SPAN),
        ("X-B3-Sampled", "1"),
    ]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(text(&map, "x-b3-spanid"), Some("0000000000000abc"));
    assert_eq!(text(&map, "x-b3-parentspanid"), Some(SPAN));
    assert_eq!(text(&map, "x-b3-sampled"), Some("1"));
    assert!(!map.contains_key("b3") && map.contains_key("traceparent"));

    let mut map = headers(&[("X-B3-Flags", "1")]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(text(&map, "x-b3-flags"), Some("1"));
    assert!(!map.contains_key("x-b3-sampled") && !map.contains_key("x-b3-parentspanid"));

    let mut map = headers(&[("b3", "1")]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(
        text(&map, "b3").unwrap(),
        format!("{TRACE}-0000000000000abc-1")
    );
}

#[test]
fn tracestate_without_its_traceparent_or_broken_is_dropped() {
    for pairs in [
        &[("tracestate", "a=1")][..],
        &[("traceparent", "rubbish"), ("tracestate", "a=1")],
        &[("traceparent", VALID), ("tracestate", "a=1,no member")],
        &[("traceparent", VALID), ("tracestate", "A=1")],
        &[
            ("traceparent", VALID),
            ("tracestate", "a=1"),
            ("tracestate", "=1"),
        ],
    ] {
        let mut map = headers(pairs);
        let inbound = extract(&map);
        inject(&mut map, &inbound, NEXT);
        assert!(!map.contains_key("tracestate"), "{pairs:?}");
    }
    let mut map = headers(&[
        ("traceparent", VALID),
        ("tracestate", "a=1, ,"),
        ("tracestate", "b=2"),
    ]);
    let inbound = extract(&map);
    inject(&mut map, &inbound, NEXT);
    assert_eq!(map.get_all("tracestate").iter().count(), 2);
}

#[test]
fn a_decision_not_to_sample_is_passed_on_and_understood() {
    for pairs in [
        &[][..],
        &[("traceparent", "rubbish")],
        &[("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7")],
        &[("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)],
        &[
            ("b3", "rubbish"),
            ("X-B3-TraceId", TRACE),
            ("X-B3-SpanId", SPAN),
        ],
    ] {
        let mut map = headers(pairs);
        let inbound = extract(&map);
        assert_eq!(inbound.decision, None, "{pairs:?}");
        inject_unsampled(&mut map, &inbound);
        assert_eq!(extract(&map).decision, Some(false), "{pairs:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(trace_id in 1_u128.., span_id in 1_u64.., formats in 0_u8..8, debug: bool) {
        let inbound = Inbound {
            debug,
            formats: Formats { w3c: formats & 1 != 0, b3_single: formats & 2 != 0, b3_multi: formats & 4 != 0 },
            ..Inbound::default()
        };
        let mut map = HeaderMap::new();
        inject(&mut map, &inbound, Outbound { trace_id, span_id });
        let w3c = extract(&map);
        prop_assert_eq!(w3c.context.map(|c| (c.trace_id, c.span_id)), Some((trace_id, span_id)));
        map.remove(TRACEPARENT);
        if inbound.formats.b3_single || inbound.formats.b3_multi {
            let b3 = extract(&map);
            prop_assert_eq!(b3.context.map(|c| (c.trace_id, c.span_id)), Some((trace_id, span_id)));
            prop_assert_eq!((b3.decision, b3.debug), (Some(true), debug));
        }
    }

    #[test]
    fn no_bytes_of_a_peer_panic(values in proptest::collection::vec((0_usize..6, "[ -~]{0,80}"), 0..8)) {
        let names = [TRACEPARENT, TRACESTATE, B3, B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED];
        let mut map = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_str(&value) {
                map.append(names[name].clone(), value);
            }
        }
        let inbound = extract(&map);
        inject(&mut map, &inbound, NEXT);
        prop_assert!(extract(&map).context.is_some());
    }
}
