//! The same of Gateway API's routes: several of one Service, of either kind, with and without hosts.

use std::fmt::Write as _;

use heddle_control::check::Code;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::made;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: cart, namespace: default}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
";

const PATHS: [&str; 9] = [
    "path: {value: /}",
    "path: {value: /a}",
    "path: {value: /a/}",
    "path: {value: /a/b}",
    "path: {type: Exact, value: /a}",
    "path: {type: Exact, value: /a/b}",
    "path: {type: RegularExpression, value: '/a.*'}",
    "path: {type: RegularExpression, value: '.*'}",
    "path: {type: RegularExpression, value: 'a/.*'}",
];
const METHODS: [&str; 7] = [
    "method: {service: a}",
    "method: {service: a, method: b}",
    "method: {method: b}",
    "method: {type: RegularExpression, service: 'a|c'}",
    "method: {type: RegularExpression, service: '.*', method: '.*'}",
    "method: {type: RegularExpression, service: a, method: b}",
    "method: {type: RegularExpression, method: '[a-b]'}",
];
const HEADERS: [&str; 5] = [
    "{name: x, value: a}",
    "{name: X, type: RegularExpression, value: 'a|b'}",
    "{name: x, type: RegularExpression, value: '.*'}",
    "{name: z, value: ' a'}",
    "{name: host, value: cart}",
];
const QUERIES: [&str; 3] = [
    "{name: q, value: '1'}",
    "{name: q, type: RegularExpression, value: '.*'}",
    "{name: q, value: '1 2'}",
];
const HOSTS: [&str; 4] = ["cart", "b.example", "'*.example'", "CART"];

/// One route: hosts, a port of the parent, rules with their matches.
#[derive(Clone, Debug)]
struct Written {
    hosts: Vec<&'static str>,
    port: Option<u16>,
    rules: Vec<Vec<String>>,
}

fn matcher(grpc: bool) -> impl Strategy<Value = String> {
    let targets: &[&str] = if grpc { &METHODS } else { &PATHS };
    let most = usize::from(!grpc);
    (
        prop::option::of(select(targets)),
        prop::option::of(select(&HEADERS[..])),
        subsequence(QUERIES.to_vec(), 0..=most),
        prop::option::of(select(&["method: GET", "method: POST"][..])),
    )
        .prop_map(move |(target, header, query, method)| {
            let mut all: Vec<String> = target.into_iter().map(str::to_owned).collect();
            all.extend(header.map(|one| format!("headers: [{one}]")));
            all.extend(query.first().map(|one| format!("queryParams: [{one}]")));
            all.extend(method.filter(|_| !grpc).map(str::to_owned));
            format!("{{{}}}", all.join(", "))
        })
}

fn routes(grpc: bool) -> impl Strategy<Value = Vec<Written>> {
    let rules = prop::collection::vec(prop::collection::vec(matcher(grpc), 0..3), 1..4);
    let hosts = subsequence(HOSTS.to_vec(), 0..=2);
    let port = prop::option::of(select(vec![80_u16, 81]));
    let one = (hosts, port, rules).prop_map(|(hosts, port, rules)| Written { hosts, port, rules });
    prop::collection::vec(one, 1..4)
}

/// The documents, and the line of each rule.
fn written(routes: &[Written], grpc: bool) -> (String, Vec<Vec<u32>>) {
    let (mut text, mut lines) = (SERVICE.to_owned(), Vec::new());
    let kind = if grpc { "GRPCRoute" } else { "HTTPRoute" };
    for (i, route) in routes.iter().enumerate() {
        let port = route.port.map(|port| format!(", port: {port}"));
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{i}, namespace: default}}\n\
             spec:\n  parentRefs: [{{group: '', kind: Service, name: cart{}}}]\n  hostnames: [{}]\n  rules:\n",
            port.unwrap_or_default(),
            route.hosts.join(", ")
        );
        let mut own = Vec::new();
        for matches in &route.rules {
            own.push(u32::try_from(text.lines().count()).unwrap() + 1);
            let _ = writeln!(
                text,
                "  - {{matches: [{}], backendRefs: [{{name: cart, port: 80}}]}}",
                matches.join(", ")
            );
        }
        lines.push(own);
    }
    (text, lines)
}

/// Rules, as `ROUTE#RULE`, that are said to take nothing.
fn dead(routes: &[Written], grpc: bool) -> (heddle_proxy_config::route::HttpTable, Vec<String>) {
    let (text, lines) = written(routes, grpc);
    let (table, all) = made(&text);
    let of = |code: Code, line: u32| {
        let found = all.iter().filter(|w| w.code == code && w.at.line == line);
        found.count()
    };
    let mut dead = Vec::new();
    for (i, own) in lines.iter().enumerate() {
        for (j, line) in own.iter().enumerate() {
            let matches = routes[i].rules[j].len();
            let without = of(Code::VainMatch, *line) + of(Code::DeadMatch, *line);
            if of(Code::DeadRule, *line) > 0 || (matches > 0 && without == matches) {
                dead.push(format!("r{i}#{j}"));
            }
        }
    }
    (table, dead)
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    uri: &'static str,
    authority: &'static str,
    x: Option<&'static str>,
    port: u16,
}

fn request() -> impl Strategy<Value = Asked> {
    let uris = [
        "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a?q=1", "/a/b?q", "/b?q=2", "/c/b", "/c",
    ];
    (
        select(vec![Method::GET, Method::POST]),
        select(uris.to_vec()),
        select(vec![
            "cart",
            "cart:80",
            "b.example",
            "a.example:81",
            "other",
        ]),
        prop::option::of(select(vec!["a", "b", "ab"])),
        select(vec![80, 81]),
    )
        .prop_map(|(method, uri, authority, x, port)| Asked {
            method,
            uri,
            authority,
            x,
            port,
        })
}

fn nothing_dead_takes_a_request(
    routes: &[Written],
    grpc: bool,
    requests: &[Asked],
) -> Result<(), TestCaseError> {
    let (table, dead) = dead(routes, grpc);
    for asked in requests {
        let uri: Uri = asked.uri.parse().unwrap();
        let mut headers = HeaderMap::new();
        if let Some(value) = asked.x {
            headers.append(
                HeaderName::from_static("x"),
                HeaderValue::from_static(value),
            );
        }
        let found = table.find(&asked.method, &uri, asked.authority, &headers, asked.port);
        let Some(place) = found else { continue };
        let origin = &table.rules()[place].origin;
        let rule = origin.rsplit('/').next().unwrap_or_default();
        prop_assert!(
            !dead.iter().any(|dead| dead == rule),
            "{asked:?} reaches {rule} of {routes:#?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_of_http_routes_to_take_nothing_takes_nothing(
        routes in routes(false),
        requests in prop::collection::vec(request(), 40),
    ) {
        nothing_dead_takes_a_request(&routes, false, &requests)?;
    }

    #[test]
    fn what_is_said_of_grpc_routes_to_take_nothing_takes_nothing(
        routes in routes(true),
        requests in prop::collection::vec(request(), 40),
    ) {
        nothing_dead_takes_a_request(&routes, true, &requests)?;
    }
}

/// The properties above speak of something.
#[test]
fn hidden_rules_are_found_among_random_ones() {
    let one = |rules: &[&str]| Written {
        hosts: Vec::new(),
        port: None,
        rules: rules.iter().map(|rule| vec![(*rule).to_owned()]).collect(),
    };
    let routes = [
        one(&["{path: {value: /a}}", "{path: {value: /a/}}", "{}"]),
        one(&[
            "{path: {value: /a/b}}",
            "{}",
            "{path: {type: RegularExpression, value: 'a/.*'}}",
        ]),
    ];
    assert_eq!(dead(&routes, false).1, ["r0#1", "r1#1", "r1#2"]);
    let routes = [one(&[
        "{method: {service: a}}",
        "{method: {service: a, method: b}}",
        "{}",
        "{}",
    ])];
    assert_eq!(dead(&routes, true).1, ["r0#3"]);
}
