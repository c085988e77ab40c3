//! What a sidecar says that it would do is what it does: requests by the hundred through real sidecars,
//! each asked about first at the admin endpoint.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use heddle_proto::mesh::{
    Destination, HttpMatch, HttpRule, MtlsMode, NamedMatch, PathRewrite, Protocol, Redirect,
    Rewrite, StringMatch, http_rule, path_rewrite, string_match,
};
use heddle_proxy_config::decision::{Admission, Decision, Outcome};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{Answer, Client, empty};
use crate::support::mesh::{Mesh, Pod, PodSpec};
use crate::support::resources::{ServiceSpec, header_is, rule};

const TABLES: usize = 8;
const REQUESTS: usize = 40;

/// A request: path and headers.
type Asked = (String, Vec<(String, String)>);

/// What the pod's sidecar answers at its admin endpoint.
fn explain(pod: &Pod, path: &'static str, question: Value) -> Answer {
    pod.run(async move {
        let admin = (Ipv4Addr::LOCALHOST, 15000).into();
        let mut client = Client::http1(admin).await.unwrap();
        client.post(path, question.to_string()).await.unwrap()
    })
}

fn text(kind: string_match::Kind) -> StringMatch {
    StringMatch { kind: Some(kind) }
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

fn rules(web: ServiceSpec) -> impl Strategy<Value = Vec<HttpRule>> {
    let paths = &["/", "/a", "/a/b", "/b"];
    let path = prop_oneof![
        one_of(paths).prop_map(string_match::Kind::Exact),
        one_of(paths).prop_map(string_match::Kind::Prefix),
        Just(string_match::Kind::Regex("/[ab]/.*".into())),
    ];
    let condition = (path, proptest::option::of(one_of(&["x", "y"])));
    let condition = condition.prop_map(|(path, user)| HttpMatch {
        path: Some(text(path)),
        headers: (user.into_iter())
            .map(|user| NamedMatch {
                name: "x-user".into(),
                value: Some(text(string_match::Kind::Exact(user))),
            })
            .collect(),
        ..HttpMatch::default()
    });
    let to = |subset: &'static str, weight| Destination {
        rewrite: (subset == "v2").then(|| Rewrite {
            path: None,
            authority: "second.example".into(),
        }),
        ..web.to(subset, weight)
    };
    let destinations = proptest::sample::select(vec![
        vec![to("v1", 1)],
        vec![to("v2", 1)],
        vec![to("v1", 0), to("v2", 3)],
    ]);
    let rewrite = proptest::option::of(one_of(&["/new", "/"])).prop_map(|replacement| {
        let prefix = |replacement| path_rewrite::PrefixRewrite {
            prefix: "/a".into(),
            replacement,
            segments: true,
        };
        replacement.map(|replacement| Rewrite {
            path: Some(PathRewrite {
                kind: Some(path_rewrite::Kind::Prefix(prefix(replacement))),
            }),
            authority: String::new(),
        })
    });
    let redirect = proptest::bool::weighted(0.15).prop_map(|yes| {
        yes.then(|| {
            http_rule::Answer::Redirect(Redirect {
                scheme: "https".into(),
                status: 307,
                ..Redirect::default()
            })
        })
    });
    let matches = proptest::collection::vec(condition, 1..3);
    let one = (matches, destinations, rewrite, redirect);
    proptest::collection::vec(one, 1..6).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(
            |(place, (matches, destinations, rewrite, answer))| HttpRule {
                origin: format!("VirtualService/default/web#{place}"),
                matches,
                rewrite: rewrite.filter(|_| answer.is_none()),
                destinations: match answer {
                    None => destinations,
                    Some(_) => Vec::new(),
                },
                answer,
                ..HttpRule::default()
            },
        );
        rules.collect()
    })
}

fn requests() -> impl Strategy<Value = Vec<Asked>> {
    let path = one_of(&["/", "/a", "/a/b?q=1", "/b/c", "/ab", "/x/../a", "/%61/b"]);
    let header = proptest::option::of(one_of(&["x", "y", "z"]));
    let header = header.prop_map(|user| {
        let user = user.map(|user| ("x-user".to_owned(), user));
        Vec::from_iter(user)
    });
    proptest::collection::vec((path, header), REQUESTS)
}

#[test]
fn what_is_explained_is_what_traffic_meets() {
    let mesh = Mesh::new();
    let (client, one, two) = (
        mesh.strict("client"),
        mesh.strict("one"),
        mesh.strict("two"),
    );
    let _apps = [
        App::echo(&one.netns, 8080, "v1"),
        App::echo(&two.netns, 8080, "v2"),
    ];
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&one, &two], &["v1", "v2"]);
    let mut runner = TestRunner::deterministic();
    let (mut forwarded, mut own) = (0, 0);
    for table in 0..TABLES {
        let rules = rules(ServiceSpec::http("web", 1))
            .new_tree(&mut runner)
            .unwrap();
        let mut rules = rules.current();
        let last = format!("table-{table}");
        // One that no other request takes tells when the table is there.
        let mark = HttpRule {
            matches: vec![header_is("x-table", &last)],
            ..rule(&last, vec![web.to("v1", 1)])
        };
        rules.insert(0, mark);
        web.set_rules(&mesh.control, rules);
        let (host, port) = (web.ip.to_string(), web.port);
        eventually("the sidecar decides by the new routes", || {
            let headers = [["x-table", &last]];
            let question = json!({"host": host, "port": port, "headers": headers});
            let answer = explain(&client, "/explain", question);
            let told: Decision = serde_json::from_slice(&answer.body).unwrap();
            told.rule.is_some_and(|rule| rule.text == last)
        });
        let requests = requests().new_tree(&mut runner).unwrap().current();
        for (path, headers) in requests {
            let question = json!({"host": host, "port": port, "path": path, "headers": headers});
            let answer = explain(&client, "/explain", question);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let told: Decision = serde_json::from_slice(&answer.body).unwrap();
            let at = web.at();
            let asked = path.clone();
            let met = client.run(async move {
                let mut client = Client::http1(at).await.unwrap();
                let request = client.request("GET", &asked);
                let request = headers.iter().fold(request, |r, (k, v)| r.header(k, v));
                client.call(request.body(empty()).unwrap()).await.unwrap()
            });
            match told.outcome {
                Outcome::Forwarded => {
                    forwarded += 1;
                    let shares = told.destinations.iter();
                    let share = shares
                        .max_by(|a, b| a.percent.total_cmp(&b.percent))
                        .unwrap();
                    assert_eq!(share.percent, 100.0, "{told:?}");
                    assert_eq!(
                        Some(met.app()),
                        share.subset.as_deref(),
                        "{path} {met:?} {told:?}"
                    );
                    let spelled = told.spelled.as_ref().unwrap_or(&path);
                    let seen = share.path.as_ref().unwrap_or(spelled);
                    assert!(
                        met.text().starts_with(&format!("GET {seen} ")),
                        "{seen} {}",
                        met.text()
                    );
                    let host = share.authority.clone();
                    let host = host.unwrap_or_else(|| at.to_string());
                    assert_eq!(met.seen("host"), [host], "{told:?}");
                }
                Outcome::Redirected | Outcome::NoRoute => {
                    own += 1;
                    assert_eq!(Some(met.status), told.status, "{path} {told:?}");
                    assert_eq!(met.header("location"), told.location.unwrap_or_default());
                    if told.outcome == Outcome::NoRoute {
                        assert_eq!(met.header("x-heddle-flag"), "NR");
                    }
                }
                other => panic!("{other:?} {told:?}"),
            }
        }
    }
    assert!(forwarded > 50 && own > 10, "{forwarded} {own}");
}

#[test]
fn shares_are_explained_exactly_and_nothing_is_drawn_by_asking() {
    let mesh = Mesh::new();
    let (client, one, two) = (
        mesh.strict("client"),
        mesh.strict("one"),
        mesh.strict("two"),
    );
    let _apps = [
        App::echo(&one.netns, 8080, "v1"),
        App::echo(&two.netns, 8080, "v2"),
    ];
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&one, &two], &["v1", "v2"]);
    let split = rule("split", vec![web.to("v1", 30), web.to("v2", 10)]);
    web.set_rules(&mesh.control, vec![split]);
    let question = json!({"host": web.ip.to_string(), "port": 80});
    let mut met = BTreeMap::new();
    // One block of four, asked about between any two of its requests.
    for _ in 0..4 {
        let told: Decision =
            serde_json::from_slice(&explain(&client, "/explain", question.clone()).body).unwrap();
        let shares: Vec<f64> = told
            .destinations
            .iter()
            .map(|share| share.percent)
            .collect();
        assert_eq!(shares, [75.0, 25.0]);
        let at = web.at();
        let answer = client.run(async move { crate::support::http::get(at, "/").await.unwrap() });
        *met.entry(answer.app().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(
        met,
        BTreeMap::from([("v1".to_owned(), 3), ("v2".to_owned(), 1)])
    );
}

#[test]
fn an_address_that_nobody_called_yet_is_asked_for_and_servers_tell_their_side() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(PodSpec {
        mtls: MtlsMode::Permissive,
        ..PodSpec::new("server")
    });
    let web = ServiceSpec::new("web", 1, Protocol::Unspecified);
    web.set(&mesh.control, &[&server], &[]);
    let told = explain(
        &client,
        "/explain",
        json!({"host": "10.96.0.1", "port": 80}),
    );
    let told: Decision = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told.outcome, Outcome::Forwarded);
    let endpoint = &told.destinations[0].endpoints[0];
    assert_eq!(endpoint.identity.as_deref(), Some(server.id().as_str()));
    let admitted = |pod: &Pod, mutual: bool| -> Admission {
        let question = json!({"port": 8080, "mutual": mutual});
        serde_json::from_slice(&explain(pod, "/explain/inbound", question).body).unwrap()
    };
    assert!(admitted(&server, false).allowed && admitted(&server, true).allowed);
    assert!(!admitted(&client, false).allowed && admitted(&client, true).allowed);
    for wrong in [
        json!({"host": "10.96.0.1", "port": 80, "method": "G T"}),
        json!({"host": "10.96.0.1", "port": 80, "unknown": 1}),
        json!(7),
        json!({"host": "", "port": 80}),
    ] {
        let answer = explain(&client, "/explain", wrong);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("error"));
    }
}
