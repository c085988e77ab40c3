//! The compiled route table against a reference that walks every rule, and the semantics users rely on.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use heddle_proxy_config::route::{
    Field, FieldMatch, HttpMatch, HttpTable, QueryMatch, StringMatch,
};
use heddle_proxy_config::snapshot::{Destination, HttpRule, Name};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;

fn rule(origin: &str) -> HttpRule {
    HttpRule {
        origin: Arc::from(origin),
        destinations: vec![Destination {
            service: Name::new("default/a"),
            subset: None,
            port: None,
            weight: 1,
        }],
        timeout: None,
        retries: None,
    }
}

fn table(rules: Vec<Vec<HttpMatch>>) -> HttpTable {
    HttpTable::new(
        rules
            .into_iter()
            .map(|matches| (matches, rule("r")))
            .collect(),
    )
    .unwrap()
}

/// A request in plain values.
#[derive(Clone, Debug)]
struct Plain {
    method: Method,
    path: String,
    query: Option<String>,
    authority: String,
    headers: Vec<(&'static str, String)>,
    port: u16,
}

impl Plain {
    fn get(path: &str) -> Self {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Self {
            method: Method::GET,
            path: path.to_owned(),
            query,
            authority: "a:80".to_owned(),
            headers: Vec::new(),
            port: 80,
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn find(&self, table: &HttpTable) -> Option<usize> {
        let uri: Uri = match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
        .parse()
        .unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        table.find(&self.method, &uri, &self.authority, &headers, self.port)
    }
}

/// The reference: builds every text and walks every rule.
fn reference(rules: &[Vec<HttpMatch>], request: &Plain) -> Option<usize> {
    rules
        .iter()
        .position(|matches| matches.is_empty() || matches.iter().any(|m| holds(m, request)))
}

fn compare(pattern: &StringMatch, value: Option<&str>, ignore_case: bool) -> bool {
    let Some(value) = value else { return false };
    let fold = |text: &str| {
        if ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match pattern {
        StringMatch::Exact(text) => fold(value) == fold(text),
        StringMatch::Prefix(text) => fold(value).starts_with(&fold(text)),
        StringMatch::Regex(regex) => regex.is_match(value.as_bytes()),
        StringMatch::Present => true,
    }
}

fn holds(m: &HttpMatch, request: &Plain) -> bool {
    let header = |field: &FieldMatch| {
        let Field::Header(name) = &field.field else {
            return false;
        };
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect();
        compare(
            &field.value,
            (!values.is_empty()).then(|| values.join(",")).as_deref(),
            false,
        )
    };
    let parameter = |name: &str| -> Option<&str> {
        let query = request.query.as_deref()?;
        query
            .split('&')
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v)
    };
    m.port.is_none_or(|port| port == request.port)
        && m.path
            .as_ref()
            .is_none_or(|p| compare(p, Some(&request.path), m.ignore_path_case))
        && m.method
            .as_ref()
            .is_none_or(|p| compare(p, Some(request.method.as_str()), false))
        && m.authority
            .as_ref()
            .is_none_or(|p| compare(p, Some(&request.authority), false))
        && m.headers.iter().all(header)
        && !m.without_headers.iter().any(header)
        && m.query
            .iter()
            .all(|q| compare(&q.value, parameter(&q.name), false))
}

fn pattern(texts: &'static [&'static str]) -> impl Strategy<Value = StringMatch> {
    let text = proptest::sample::select(texts);
    prop_oneof![
        4 => text.clone().prop_map(StringMatch::exact),
        2 => text.clone().prop_map(StringMatch::prefix),
        1 => text.prop_map(|text| StringMatch::regex(&format!("{text}.?")).unwrap()),
        1 => Just(StringMatch::Present),
    ]
}

const PATHS: &[&str] = &["/", "/a", "/A", "/a/b", "/a/B", "/ab", "/b"];
const VALUES: &[&str] = &["", "x", "y", "x,y", "X"];
const NAMES: &[&str] = &["user-type", "x-b"];

fn field() -> impl Strategy<Value = FieldMatch> {
    (proptest::sample::select(NAMES), pattern(VALUES)).prop_map(|(name, value)| FieldMatch {
        field: Field::parse(name).unwrap(),
        value,
    })
}

prop_compose! {
    fn any_match()(
        path in proptest::option::weighted(0.8, pattern(PATHS)),
        ignore_path_case: bool,
        method in proptest::option::weighted(0.2, pattern(&["GET", "POST", "P"])),
        authority in proptest::option::weighted(0.2, pattern(&["a:80", "a", "A"])),
        headers in proptest::collection::vec(field(), 0..2),
        without_headers in proptest::collection::vec(field(), 0..2),
        query in proptest::collection::vec(
            (proptest::sample::select(&["q", "r", ""][..]), pattern(VALUES))
                .prop_map(|(name, value)| QueryMatch { name: name.into(), value }),
            0..2,
        ),
        port in proptest::option::weighted(0.2, 80_u16..82),
    ) -> HttpMatch {
        HttpMatch { path, ignore_path_case, method, authority, headers, without_headers, query, port }
    }
}

prop_compose! {
    fn any_request()(
        method in proptest::sample::select(&[Method::GET, Method::POST][..]),
        path in proptest::sample::select(PATHS),
        query in proptest::option::of(proptest::sample::select(&["", "q", "q=x", "r=y&q=x", "q=&q=x", "q=x%2Cy", "=x"][..])),
        authority in proptest::sample::select(&["a:80", "a", "b"][..]),
        headers in proptest::collection::vec(
            (proptest::sample::select(NAMES), proptest::sample::select(VALUES).prop_map(str::to_owned)), 0..4),
        port in 80_u16..82,
    ) -> Plain {
        Plain { method, path: path.to_owned(), query: query.map(str::to_owned), authority: authority.to_owned(), headers, port }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn finds_what_walking_every_rule_finds(
        rules in proptest::collection::vec(proptest::collection::vec(any_match(), 0..4), 0..8),
        requests in proptest::collection::vec(any_request(), 1..20),
    ) {
        let table = table(rules.clone());
        for request in requests {
            prop_assert_eq!(request.find(&table), reference(&rules, &request), "{:?}", request);
        }
    }
}

fn header(name: &str, value: StringMatch) -> HttpMatch {
    HttpMatch {
        headers: vec![FieldMatch {
            field: Field::parse(name).unwrap(),
            value,
        }],
        ..HttpMatch::default()
    }
}

#[test]
fn the_example_sends_premium_users_to_the_first_rule() {
    let table = table(vec![
        vec![header("User-Type", StringMatch::exact("premium"))],
        vec![],
    ]);
    assert_eq!(
        Plain::get("/").with("user-type", "premium").find(&table),
        Some(0)
    );
    assert_eq!(
        Plain::get("/").with("user-type", "Premium").find(&table),
        Some(1),
        "values are exact"
    );
    assert_eq!(
        Plain::get("/")
            .with("user-type", "premium")
            .with("user-type", "premium")
            .find(&table),
        Some(1)
    );
    assert_eq!(Plain::get("/").find(&table), Some(1));
    assert_eq!(table.rules().len(), 2);
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(Plain::get("/").find(&HttpTable::default()), None);
}

#[test]
fn a_prefix_is_of_the_text_and_not_of_segments() {
    let path = |path| HttpMatch {
        path: Some(path),
        ..HttpMatch::default()
    };
    let table = table(vec![vec![path(StringMatch::prefix("/foo"))]]);
    assert_eq!(Plain::get("/foobar?x").find(&table), Some(0));
    assert_eq!(Plain::get("/fo").find(&table), None);
}

#[test]
fn host_is_the_authority_and_cookies_join_as_cookies() {
    let hosts = table(vec![vec![header("Host", StringMatch::exact("a:80"))]]);
    assert_eq!(Plain::get("/").find(&hosts), Some(0));
    let cookies = table(vec![vec![header("cookie", StringMatch::exact("a=1; b=2"))]]);
    assert_eq!(
        Plain::get("/")
            .with("cookie", "a=1")
            .with("cookie", "b=2")
            .find(&cookies),
        Some(0)
    );
    let pseudo = table(vec![vec![header(":path", StringMatch::exact("/x?y"))]]);
    assert_eq!(Plain::get("/x?y").find(&pseudo), Some(0));
    assert_eq!(Field::parse(":scheme"), None);
    assert_eq!(Field::parse("no spaces"), None);
}

#[test]
fn ten_thousand_exact_paths_leave_one_to_compare() {
    // Each rule also carries a regex-free header condition that fails, so a table that walked all
    // of them would still answer; the time of many requests tells the two apart by orders.
    let rules = (0..10_000).map(|n| {
        let path = Some(StringMatch::exact(&format!("/items/{n}")));
        vec![HttpMatch {
            path,
            ignore_path_case: n % 2 == 0,
            ..HttpMatch::default()
        }]
    });
    let large = table(rules.clone().collect());
    let small = table(rules.take(10).collect());
    let uris: Vec<Uri> = (0..10_000)
        .map(|n| format!("/items/{n}").parse().unwrap())
        .collect();
    let time = |table: &HttpTable, uris: &[Uri]| {
        let start = std::time::Instant::now();
        for _ in 0..(20_000 / uris.len()) {
            for uri in uris {
                assert!(
                    table
                        .find(&Method::GET, uri, "a", &HeaderMap::new(), 80)
                        .is_some()
                );
            }
        }
        start.elapsed()
    };
    let (small, large) = (time(&small, &uris[..10]), time(&large, &uris));
    // Walking would make the large table 1,000 times slower; caches alone make it a few times.
    assert!(
        large < small * 100 + std::time::Duration::from_millis(200),
        "{small:?} {large:?}"
    );
}
