//! Which rule of Gateway API's routes takes a request, against a reference that knows neither order nor
//! table: of all matches that hold, the best by the API's own list. Comparing any two gives a total order,
//! so that the order in which routes are written changes nothing.
#![allow(clippy::unwrap_used)]

use std::cmp::Ordering;
use std::fmt::Write as _;

use heddle_control::model::{Client, Model, Settings};
use heddle_control::name::NsName;
use heddle_control::resources::labels::Labels;
use heddle_control::source::directory;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::route::HttpTable;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
                       spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}\n";

/// One match, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    exact: bool,
    path: &'static str,
    method: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
    /// Seconds after some time; the name of the route; the number of its rule.
    created: u8,
    route: String,
    rule: usize,
}

#[derive(Clone, Debug)]
struct Request {
    path: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

impl Place {
    fn holds(&self, request: &Request) -> bool {
        let path = match self.exact {
            true => request.path == self.path,
            // By whole segments.
            false => {
                let prefix = self.path.trim_end_matches('/');
                let rest = request.path.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        let first = |all: &[(&str, &str)], name: &str| {
            let found = all.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let all = |wanted: &[(&str, &str)], given: &[(&str, &str)]| {
            let holds =
                |(name, value): &(&str, &str)| first(given, name).as_deref() == Some(*value);
            wanted.iter().all(holds)
        };
        path && self.method.is_none_or(|method| method == request.method)
            && all(&self.headers, &request.headers)
            && all(&self.query, &request.query)
    }

    /// The API's list, in its order: `Less` comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let length = |one: &Self| one.path.trim_end_matches('/').len();
        (other.exact.cmp(&self.exact))
            .then(match self.exact && other.exact {
                true => other.path.len().cmp(&self.path.len()),
                false => length(other).cmp(&length(self)),
            })
            .then(other.method.is_some().cmp(&self.method.is_some()))
            .then(other.headers.len().cmp(&self.headers.len()))
            .then(other.query.len().cmp(&self.query.len()))
            .then(self.created.cmp(&other.created))
            .then(self.route.cmp(&other.route))
            .then(self.rule.cmp(&other.rule))
    }
}

fn place() -> impl Strategy<Value = (bool, &'static str, Option<&'static str>, u8, u8)> {
    (
        any::<bool>(),
        proptest::sample::select(&["/", "/a", "/a/b", "/ab"][..]),
        proptest::option::of(proptest::sample::select(&["GET", "POST"][..])),
        0_u8..4,
        0_u8..4,
    )
}

/// Bits choose headers and parameters: `x: 1`, `y: 1`.
fn chosen(bits: u8) -> Vec<(&'static str, &'static str)> {
    let all = [("x", "1"), ("y", "1")];
    let all = all.into_iter().enumerate();
    all.filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, one)| one)
        .collect()
}

prop_compose! {
    /// Routes, each with an age and rules of one match each.
    fn places()(
        routes in proptest::collection::vec((0_u8..3, proptest::collection::vec(place(), 1..4)), 1..4),
    ) -> Vec<Place> {
        let mut all = Vec::new();
        for (number, (created, rules)) in routes.into_iter().enumerate() {
            for (rule, (exact, path, method, headers, query)) in rules.into_iter().enumerate() {
                all.push(Place {
                    exact, path, method, created, rule,
                    headers: chosen(headers),
                    query: chosen(query),
                    route: format!("r{number}"),
                });
            }
        }
        all
    }
}

prop_compose! {
    fn request()(
        path in proptest::sample::select(&["/", "/a", "/a/b", "/a/b/c", "/ab", "/c"][..]),
        method in proptest::sample::select(&["GET", "POST", "PUT"][..]),
        headers in 0_u8..4,
        query in 0_u8..4,
    ) -> Request {
        Request { path, method, headers: chosen(headers), query: chosen(query) }
    }
}

/// The routes as documents, in this order.
fn documents(places: &[Place], order: &[String]) -> String {
    let mut text = SERVICE.to_owned();
    for route in order {
        let rules = places.iter().filter(|place| place.route == *route);
        let mut rules = rules.peekable();
        let created = rules.peek().map_or(0, |place| place.created);
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: {route}, creationTimestamp: '2026-01-01T00:00:0{created}Z'}}\n\
             spec:\n  parentRefs: [{{group: '', kind: Service, name: web}}]\n  rules:\n"
        );
        for place in rules {
            let kind = if place.exact { "Exact" } else { "PathPrefix" };
            let list = |pairs: &[(&str, &str)]| {
                let pairs = pairs.iter();
                let pairs =
                    pairs.map(|(name, value)| format!("{{name: {name}, value: '{value}'}}"));
                // `y` alone is a truth to some readers of YAML.
                pairs
                    .collect::<Vec<_>>()
                    .join(", ")
                    .replace("name: y", "name: 'y'")
            };
            let method = place.method.map(|method| format!(", method: {method}"));
            let _ = write!(
                text,
                "  - matches: [{{path: {{type: {kind}, value: {}}}, headers: [{}], queryParams: [{}]{}}}]\n    \
                 backendRefs: [{{name: web, port: 80}}]\n",
                place.path,
                list(&place.headers),
                list(&place.query),
                method.unwrap_or_default()
            );
        }
    }
    text
}

fn table(text: &str) -> HttpTable {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.yaml");
    std::fs::write(&file, text).unwrap();
    let batch = directory::read_once(&[file]).unwrap();
    assert_eq!(batch.refusals.len(), 0, "{:?}\n{text}", batch.refusals);
    let mut model = Model::new(Settings::default());
    model.apply(batch.changes);
    let client = Client {
        namespace: "default".into(),
        labels: Labels::default(),
    };
    let service = NsName::new("default", "web").unwrap();
    let view = model.route_table(&service, &client).unwrap();
    match compile(Kind::RouteTable, service.as_str(), &view.encoded.body).unwrap() {
        Compiled::Routes(_, table) => table.http,
        other => panic!("{other:?}"),
    }
}

/// `ROUTE#RULE` of the rule that takes it.
fn taken(table: &HttpTable, request: &Request) -> Option<String> {
    let query: Vec<String> = (request.query.iter())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let uri: Uri = format!("{}?{}", request.path, query.join("&"))
        .parse()
        .unwrap();
    let headers: HeaderMap = (request.headers.iter())
        .map(|(name, value)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
        })
        .collect();
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let found = table.find(&method, &uri, "web", &headers, 80)?;
    let origin = table.rules()[found].origin.to_string();
    let named = origin.split(" (").next().unwrap();
    named.rsplit('/').next().map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn the_best_match_takes_a_request_in_whatever_order_routes_are_written(
        places in places(),
        requests in proptest::collection::vec(request(), 1..10),
    ) {
        let mut order: Vec<String> = places.iter().map(|place| place.route.clone()).collect();
        order.dedup();
        let forward = table(&documents(&places, &order));
        order.reverse();
        let backward = table(&documents(&places, &order));
        for request in &requests {
            let held = places.iter().filter(|place| place.holds(request));
            let best = held.min_by(|a, b| a.compare(b));
            let want = best.map(|place| format!("{}#{}", place.route, place.rule));
            let found = taken(&forward, request);
            prop_assert_eq!(&found, &want, "{:?}\n{:?}", request, places);
            prop_assert_eq!(taken(&backward, request), want);
        }
    }

    #[test]
    fn the_reference_is_a_total_order(places in places()) {
        for a in &places {
            for b in &places {
                prop_assert_eq!(a.compare(b), b.compare(a).reverse());
                prop_assert_eq!(a.compare(b) == Ordering::Equal, a == b);
                for c in &places {
                    if a.compare(b).is_lt() && b.compare(c).is_lt() {
                        prop_assert!(a.compare(c).is_lt());
                    }
                }
            }
        }
    }
}
