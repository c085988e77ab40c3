//! Finding a rule and drawing a destination allocate nothing.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use heddle_proxy_config::route::{
    Field, FieldMatch, HttpMatch, HttpTable, QueryMatch, Split, StringMatch,
};
use heddle_proxy_config::snapshot::HttpRule;
use http::{HeaderMap, HeaderValue, Method, Uri};
use rand::SeedableRng;

#[test]
fn a_request_costs_no_allocation() {
    let header = |name: &str, value| FieldMatch {
        field: Field::parse(name).unwrap(),
        value,
    };
    let rule = HttpRule {
        origin: Arc::from("r"),
        destinations: Vec::new(),
        ..HttpRule::default()
    };
    let miss = StringMatch::exact("no");
    let matches = [
        HttpMatch {
            path: Some(StringMatch::exact("/a")),
            headers: vec![header("x", miss.clone())],
            ..HttpMatch::default()
        },
        HttpMatch {
            path: Some(StringMatch::exact("/A")),
            ignore_path_case: true,
            headers: vec![header("cookie", miss.clone())],
            ..HttpMatch::default()
        },
        HttpMatch {
            path: Some(StringMatch::regex("/.*").unwrap()),
            headers: vec![header("x", miss.clone())],
            ..HttpMatch::default()
        },
        HttpMatch {
            headers: vec![header("x", StringMatch::regex("a,[c-z]").unwrap())],
            ..HttpMatch::default()
        },
        HttpMatch {
            path: Some(StringMatch::prefix("/")),
            authority: Some(StringMatch::Present),
            query: vec![QueryMatch {
                name: "q".into(),
                value: StringMatch::exact("1"),
            }],
            without_headers: vec![header("y", StringMatch::Present)],
            ..HttpMatch::default()
        },
    ];
    let table = HttpTable::new(
        matches
            .into_iter()
            .map(|m| (vec![m], rule.clone()))
            .collect(),
    )
    .unwrap();
    let uri: Uri = "/a?p&q=1".parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.append("x", HeaderValue::from_static("a"));
    headers.append("x", HeaderValue::from_static("b"));
    let find = || table.find(&Method::GET, &uri, "a:80", &headers, 80);
    // The first request of a thread warms the caches of its regexes.
    assert_eq!(find(), Some(4));
    let allocated = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert_eq!(find(), Some(4));
        }
    });
    assert_eq!(allocated.count_total, 0, "{allocated:?}");

    let mut split = Split::new(&[90, 10]);
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let allocated =
        allocation_counter::measure(|| (0..100).for_each(|_| assert!(split.next(&mut rng) < 2)));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
