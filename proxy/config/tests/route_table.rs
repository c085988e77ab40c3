//! The compiled route table against a reference that walks every rule, and the semantics users rely on.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};

use heddle_proxy_config::route::{
    Explained, Field, FieldMatch, HostMatch, HttpMatch, HttpTable, QueryMatch, StringMatch, Verdict,
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
        ..HttpRule::default()
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
        let (uri, headers) = self.asked();
        table.find(&self.method, &uri, &self.authority, &headers, self.port)
    }

    fn explain(&self, table: &HttpTable) -> Vec<Verdict> {
        let told = self.explain_some(table, usize::MAX);
        assert_eq!(told.left_out, 0);
        let verdicts = told.verdicts.into_iter();
        verdicts.map(|(_, verdict)| verdict).collect()
    }

    fn explain_some(&self, table: &HttpTable, most: usize) -> Explained {
        let (uri, headers) = self.asked();
        table.explain(
            &self.method,
            &uri,
            &self.authority,
            &headers,
            self.port,
            most,
        )
    }

    fn asked(&self) -> (Uri, HeaderMap) {
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
        (uri, headers)
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
        StringMatch::Segments(path) => {
            let below = format!("{}/", fold(path));
            fold(value) == fold(path) || fold(value).starts_with(&below)
        }
        StringMatch::Regex(regex) => regex.is_match(value.as_bytes()),
        StringMatch::Present => true,
    }
}

fn holds(m: &HttpMatch, request: &Plain) -> bool {
    let header = |field: &FieldMatch| {
        let (separator, name) = match &field.field {
            Field::Header(name) if name == "cookie" => ("; ", name),
            Field::Header(name) => (",", name),
            Field::Authority => return compare(&field.value, Some(&request.authority), false),
            Field::Method => return compare(&field.value, Some(request.method.as_str()), false),
            Field::PathAndQuery => {
                let query = request.query.as_ref().map(|query| format!("?{query}"));
                let whole = request.path.clone() + &query.unwrap_or_default();
                return compare(&field.value, Some(&whole), false);
            }
        };
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect();
        let joined = (!values.is_empty()).then(|| values.join(separator));
        compare(&field.value, joined.as_deref(), false)
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
        && m.host.as_ref().is_none_or(|wanted| {
            let name = request.authority.split(':').next().unwrap_or_default();
            let name = name.to_ascii_lowercase();
            match wanted {
                HostMatch::Exact(host) => name == **host,
                HostMatch::Below(end) => name.ends_with(&**end) && name.len() > end.len(),
            }
        })
        // No request of these names its scheme.
        && m.scheme
            .as_ref()
            .is_none_or(|p| compare(p, Some("http"), false))
        && m.headers.iter().all(header)
        && !m.without_headers.iter().any(header)
        && m.query
            .iter()
            .all(|q| compare(&q.value, parameter(&q.name), false))
}

/// Compiled once: the regexes that patterns draw from.
static REGEXES: LazyLock<Vec<StringMatch>> = LazyLock::new(|| {
    let patterns = [
        ".*",
        "/a.?",
        "/a/.*",
        "(?i)/A/[a-z]",
        "/(a|ab)/?.*",
        "x.?",
        "[xy]",
        "x,.*",
        "(?i)X+",
        "",
        "GET|POST",
        "a.*",
        "^/a/b$",
        r"\Q/a\E",
    ];
    let compile = |pattern: &&str| StringMatch::regex(pattern).unwrap();
    patterns.iter().map(compile).collect()
});

fn pattern(texts: &'static [&'static str]) -> impl Strategy<Value = StringMatch> {
    let text = proptest::sample::select(texts);
    prop_oneof![
        4 => text.clone().prop_map(StringMatch::exact),
        3 => text.prop_map(StringMatch::prefix),
        1 => proptest::sample::select(&**REGEXES),
        1 => Just(StringMatch::Present),
    ]
}

const PATHS: &[&str] = &[
    "/", "/a", "/A", "/a/b", "/a/B", "/A/b", "/a/b/", "/a/b/c", "/a/bc", "/ab", "/aB", "/b", "/b/a",
];
/// As patterns only: no path is so.
const ODD_PATHS: &[&str] = &[
    "", "/", "/a", "/A", "/a/b", "/a/B/", "/ab", "/b", "/a/b/c/d", "/é",
];
const VALUES: &[&str] = &["", "x", "y", "x,y", "x,", ",", "X", "xy", "y,x,y"];
const NAMES: &[&str] = &["user-type", "x-b", "cookie", "x-c"];
const AUTHORITIES: &[&str] = &["a:80", "a", "A", "b", "", "x.a", "X.A:81"];
const QUERIES: &[&str] = &[
    "", "q", "q=x", "r=y&q=x", "q=&q=x", "q=x&q=y", "q=x%2Cy", "=x", "&&", "Q=x&r=X", "r=xy",
];

fn field() -> impl Strategy<Value = FieldMatch> {
    let field = |field: &str| Field::parse(field).unwrap();
    let paired = move |(name, value)| FieldMatch {
        field: field(name),
        value,
    };
    prop_oneof![
        6 => (proptest::sample::select(NAMES), pattern(VALUES)).prop_map(paired),
        1 => (Just(":path"), pattern(&["/a?q", "/a", "/", "/a/b?q=x"])).prop_map(paired),
        1 => (Just(":method"), pattern(&["GET", "P", "get"])).prop_map(paired),
        1 => (Just("host"), pattern(AUTHORITIES)).prop_map(paired),
    ]
}

prop_compose! {
    fn any_match()(
        path in proptest::option::weighted(0.7, prop_oneof![
            pattern(PATHS),
            pattern(ODD_PATHS),
            proptest::sample::select(ODD_PATHS).prop_map(StringMatch::segments),
        ]),
        scheme in proptest::option::weighted(0.1, pattern(&["http", "https"])),
        ignore_path_case: bool,
        method in proptest::option::weighted(0.2, pattern(&["GET", "POST", "P"])),
        authority in proptest::option::weighted(0.2, pattern(AUTHORITIES)),
        host in proptest::option::weighted(0.2, host()),
        headers in proptest::collection::vec(field(), 0..3),
        without_headers in proptest::collection::vec(field(), 0..2),
        query in proptest::collection::vec(
            (proptest::sample::select(&["q", "r", ""][..]), pattern(VALUES))
                .prop_map(|(name, value)| QueryMatch { name: name.into(), value }),
            0..2,
        ),
        port in proptest::option::weighted(0.2, 80_u16..82),
    ) -> HttpMatch {
        HttpMatch { path, ignore_path_case, method, scheme, authority, host, headers, without_headers, query, port }
    }
}

fn host() -> impl Strategy<Value = HostMatch> {
    let hosts = proptest::sample::select(&["a", "b", "*.a", "x.a"][..]);
    hosts.prop_map(|host| HostMatch::new(host).unwrap())
}

prop_compose! {
    fn any_request()(
        method in proptest::sample::select(&[Method::GET, Method::POST][..]),
        path in prop_oneof![8 => proptest::sample::select(PATHS), 1 => Just("*")],
        query in proptest::option::of(proptest::sample::select(QUERIES)),
        authority in proptest::sample::select(AUTHORITIES),
        headers in proptest::collection::vec(
            (proptest::sample::select(NAMES), proptest::sample::select(VALUES).prop_map(str::to_owned)), 0..6),
        port in 80_u16..82,
    ) -> Plain {
        // `*` has no query.
        let query = query.filter(|_| path != "*").map(str::to_owned);
        Plain { method, path: path.to_owned(), query, authority: authority.to_owned(), headers, port }
    }
}

prop_compose! {
    /// One that shares each of its conditions with many others.
    fn common_match()(
        path in prop_oneof![Just(StringMatch::prefix("/")), pattern(&["/a", "/A/b"])],
        method in proptest::option::weighted(0.2, Just(StringMatch::exact("GET"))),
        headers in proptest::collection::vec(
            (proptest::sample::select(&["x-b", "cookie"][..]), pattern(&["x", "x,y"])).prop_map(
                |(name, value)| FieldMatch { field: Field::parse(name).unwrap(), value }),
            0..3,
        ),
        query in proptest::option::weighted(0.3, pattern(&["x", "y"])),
        port in proptest::option::weighted(0.6, 79_u16..82),
        never in proptest::bool::weighted(0.8),
    ) -> HttpMatch {
        let query = query.map(|value| QueryMatch { name: "q".into(), value }).into_iter().collect();
        // Most hold for no request, so that more than the first few rules are looked at.
        let without_headers = Vec::from_iter(never.then(|| FieldMatch {
            field: Field::Method,
            value: StringMatch::Present,
        }));
        let path = Some(path);
        HttpMatch { path, method, headers, without_headers, query, port, ..HttpMatch::default() }
    }
}

fn agrees(rules: Vec<Vec<HttpMatch>>, requests: &[Plain]) -> Result<(), TestCaseError> {
    let table = table(rules.clone());
    for request in requests {
        let found = request.find(&table);
        prop_assert_eq!(found, reference(&rules, request), "{:?}", request);
        let explained = request.explain(&table);
        let taken = |verdict: &Verdict| matches!(verdict, Verdict::Taken(_));
        prop_assert_eq!(explained.iter().position(taken), found);
        prop_assert_eq!(explained.len(), found.map_or(rules.len(), |rule| rule + 1));
        let some = request.explain_some(&table, 2);
        prop_assert_eq!(some.taken(), found);
        let missed = some.verdicts.len() - usize::from(found.is_some());
        prop_assert!(missed <= 2, "{:?}", some);
        prop_assert_eq!(missed + some.left_out, found.unwrap_or(rules.len()));
        for verdict in explained {
            if let Verdict::Missed(reasons) = verdict {
                let known = |reason: &String| reason != "it does not match";
                prop_assert!(!reasons.is_empty() && reasons.iter().all(known));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn finds_what_walking_every_rule_finds(
        rules in proptest::collection::vec(proptest::collection::vec(any_match(), 0..4), 0..8),
        requests in proptest::collection::vec(any_request(), 1..20),
    ) {
        agrees(rules, &requests)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]
    /// Many rules, hardly one of which holds for every request: the index decides.
    #[test]
    fn finds_what_walking_many_rules_finds(
        rules in proptest::collection::vec(proptest::collection::vec(any_match(), 1..3), 30..120),
        requests in proptest::collection::vec(any_request(), 40),
    ) {
        agrees(rules, &requests)?;
    }

    /// Many rules alike: an index within an index decides.
    #[test]
    fn finds_what_walking_many_rules_alike_finds(
        matches in proptest::collection::vec(common_match(), 50..200),
        requests in proptest::collection::vec(any_request(), 40),
    ) {
        agrees(matches.into_iter().map(|one| vec![one]).collect(), &requests)?;
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
fn every_service_is_named_once() {
    let to = |services: &[&str]| {
        let destination = rule("r").destinations.remove(0);
        let named = |name: &&str| Destination {
            service: Name::new(*name),
            ..destination.clone()
        };
        let destinations = services.iter().map(named).collect();
        (
            vec![],
            HttpRule {
                destinations,
                ..rule("r")
            },
        )
    };
    let table = HttpTable::new(vec![to(&["n/b", "n/a"]), to(&["n/c", "n/b"])]).unwrap();
    assert_eq!(table.services(), ["n/a", "n/b", "n/c"].map(Name::new));
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
fn what_is_explained_is_said_in_the_words_of_the_rule() {
    let mut post = header("User-Type", StringMatch::exact("premium"));
    post.method = Some(StringMatch::exact("POST"));
    let mut debug = header("x-debug", StringMatch::Present);
    debug.path = Some(StringMatch::segments("/v1"));
    let table = table(vec![vec![post, debug], vec![]]);
    let missed = |reasons: [&str; 2]| Verdict::Missed(reasons.map(str::to_owned).into());
    let request = Plain::get("/v1/a").with("user-type", "basic");
    assert_eq!(
        request.explain(&table),
        [
            missed([
                r#"method "GET" is not "POST""#,
                "header x-debug is not there"
            ]),
            Verdict::Taken(vec![])
        ]
    );
    let taken = ["path is \"/v1\" or below it", "header x-debug is there"];
    assert_eq!(
        request.with("x-debug", "1").explain(&table),
        [Verdict::Taken(taken.map(str::to_owned).into())]
    );
}
