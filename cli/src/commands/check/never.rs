//! A rule that is said to be dead, and a match that is said to take nothing, never takes a request: random
//! rules are judged by the control plane, and random requests are put to the sidecar's own table.

mod circles;
mod gateway;

use heddle_control::check::Code;
use heddle_control::model::{Client, Model, Settings};
use heddle_control::name::NsName;
use heddle_control::resources::labels::{Interner, Labels};
use heddle_control::source::document::split;
use heddle_control::source::read::{Item, read};
use heddle_control::source::{Change, Refusal};
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::route::HttpTable;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use proptest::sample::select;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: cart, namespace: default}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own, namespace: default}
spec:
  hosts: [cart]
  http:
";
/// Line of the first rule.
const FIRST: u32 = 12;

/// Conditions, few enough that one often implies another.
const PATHS: [&str; 16] = [
    "uri: {exact: /a}",
    "uri: {exact: /A}",
    "uri: {exact: /a/b}",
    "uri: {prefix: /}",
    "uri: {prefix: /a}",
    "uri: {prefix: /a/}",
    "uri: {prefix: /A}, ignoreUriCase: true",
    "uri: {exact: /A/b}, ignoreUriCase: true",
    "uri: {regex: '/a.*'}",
    "uri: {regex: '/[a-b]'}",
    "uri: {regex: '(?i)/a/b'}",
    "uri: {regex: '.*'}",
    "uri: {regex: 'a/.*'}",
    "uri: {prefix: a}",
    "uri: {prefix: '/a?x=1'}",
    "uri: {prefix: ''}",
];
const OTHERS: [&str; 24] = [
    "method: {exact: GET}",
    "method: {exact: get}",
    "method: {regex: 'GET|POST'}",
    "authority: {exact: cart}",
    "authority: {prefix: ca}",
    "port: 80",
    "port: 81",
    "headers: {x: {}}",
    "headers: {x: {exact: a}}",
    "headers: {X: {prefix: a}}",
    "headers: {x: {regex: 'a|b'}}",
    "headers: {x: {exact: ' a'}}",
    "headers: {host: {exact: cart}}",
    "headers: {x: {exact: 'a,b'}}",
    "withoutHeaders: {x: {}}",
    "withoutHeaders: {x: {exact: a}}",
    "withoutHeaders: {x: {prefix: a}}",
    "withoutHeaders: {x: {regex: 'a|b'}}",
    "queryParams: {q: {}}",
    "queryParams: {q: {exact: '1'}}",
    "queryParams: {q: {exact: '1 2'}}",
    "queryParams: {q: {prefix: ''}}",
    "scheme: {exact: http}",
    "scheme: {exact: ftp}",
];

fn matcher() -> impl Strategy<Value = String> {
    let others = prop::sample::subsequence(OTHERS.to_vec(), 0..=2);
    (prop::option::of(select(PATHS.to_vec())), others).prop_filter_map(
        "a field twice",
        |(path, others)| {
            let all: Vec<&str> = path.into_iter().chain(others).collect();
            let field = |one: &str| one.split(':').next().unwrap_or_default().to_owned();
            let mut fields: Vec<String> = all.iter().map(|one| field(one)).collect();
            fields.sort();
            fields.dedup();
            (fields.len() == all.len()).then(|| format!("{{{}}}", all.join(", ")))
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(matcher(), 0..3), 2..7)
}

/// Rules, each on a line of its own, and of each what no request reaches.
fn judged(rules: &[Vec<String>]) -> (HttpTable, Vec<u32>) {
    let mut text = SERVICE.to_owned();
    for matches in rules {
        text += "  - {";
        if !matches.is_empty() {
            text += &format!("match: [{}], ", matches.join(", "));
        }
        text += "route: [{destination: {host: cart}}]}\n";
    }
    let (table, all) = made(&text);
    let of = |code: Code, line: u32| {
        let found = all.iter().filter(|w| w.code == code && w.at.line == line);
        found.count()
    };
    let dead = (0..).zip(rules).filter(|(i, matches)| {
        let line = FIRST + i;
        let without = of(Code::VainMatch, line) + of(Code::DeadMatch, line);
        of(Code::DeadRule, line) > 0 || (!matches.is_empty() && without == matches.len())
    });
    let dead = dead.map(|(i, _)| i).collect();
    (table, dead)
}

/// What a sidecar in `default` has of the service `cart`, and what is said of the documents.
fn made(text: &str) -> (HttpTable, Vec<Refusal>) {
    let mut interner = Interner::default();
    let items = split(text)
        .iter()
        .flat_map(|document| read(document, None, &mut interner))
        .collect::<Vec<_>>();
    let changes = items.into_iter().map(|item| match item {
        Item::Good(object) => Change::Upsert(object),
        Item::Bad { refusals, .. } => panic!("{refusals:?}"),
    });
    let mut model = Model::new(Settings::default());
    model.apply(changes.collect());
    let all = model.warnings();
    let client = Client {
        namespace: "default".into(),
        labels: Labels::default(),
    };
    let name = NsName::parse("default/cart").unwrap();
    let view = model.route_table(&name, &client).unwrap();
    match compile(Kind::RouteTable, name.as_str(), &view.encoded.body).unwrap() {
        Compiled::Routes(_, table) => (table.http, all),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    uri: &'static str,
    authority: &'static str,
    x: Vec<&'static str>,
    port: u16,
}

fn request() -> impl Strategy<Value = Asked> {
    let uris = [
        "/",
        "/a",
        "/A",
        "/a/b",
        "/A/B",
        "/a/b?q=1",
        "/b?q",
        "/a?x=1",
        "/ab?q=2&q=1",
        "/c",
    ];
    (
        select(vec![Method::GET, Method::POST]),
        select(uris.to_vec()),
        select(vec!["cart", "cart:80", "b"]),
        prop::sample::subsequence(vec!["a", "b", "ab"], 0..=2),
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_take_nothing_takes_nothing(
        rules in rules(),
        requests in prop::collection::vec(request(), 40),
    ) {
        let (table, dead) = judged(&rules);
        for asked in requests {
            let uri: Uri = asked.uri.parse().unwrap();
            let mut headers = HeaderMap::new();
            for value in &asked.x {
                headers.append(HeaderName::from_static("x"), HeaderValue::from_static(value));
            }
            let Some(place) = table.find(&asked.method, &uri, asked.authority, &headers, asked.port) else {
                continue;
            };
            let origin = &table.rules()[place].origin;
            let rule = origin.split('#').nth(1).and_then(|rest| rest.split(' ').next());
            let rule: u32 = rule.unwrap().parse().unwrap();
            prop_assert!(!dead.contains(&rule), "{asked:?} reaches rule {rule} of {rules:#?}");
        }
    }
}

/// The property above speaks of something: among such rules many are dead.
#[test]
fn hidden_rules_are_found_among_random_ones() {
    let rule = |text: &str| vec![format!("{{{text}}}")];
    let rules = [
        rule("uri: {prefix: /a}"),
        rule("uri: {exact: /a/b}, method: {exact: GET}"),
        rule("method: {exact: get}"),
        vec![],
        rule("port: 80"),
    ];
    let (_, dead) = judged(&rules);
    assert_eq!(dead, [1, 2, 4]);
}
