//! What is in force of Gateway API's routes and hardly meant: each lint where it must speak, and where
//! it must not.

use super::*;
use crate::check::Code;

/// Codes with the routes they are about and what is said, of everything in these documents.
fn told(documents: &[String]) -> Vec<(String, Code, String)> {
    let found = with(documents).warnings().into_iter();
    let found = found.filter(|one| one.code != Code::UndeclaredPort);
    let mut found: Vec<_> = found.map(|one| (one.name, one.code, one.reason)).collect();
    found.sort();
    found
}

fn codes(documents: &[String]) -> Vec<(String, Code)> {
    let found = told(documents).into_iter();
    found.map(|(name, code, _)| (name, code)).collect()
}

fn one(rules: &str) -> Vec<Code> {
    let found = codes(&[http("shop/a", "name: echo", &format!("  rules:\n{rules}"))]);
    found.into_iter().map(|(_, code)| code).collect()
}

#[test]
fn rules_of_one_route_that_an_earlier_one_hides() {
    use Code::{DeadMatch, DeadRule, RepeatedMatch};
    let prefix = |value: &str| format!("{{path: {{value: {value}}}}}");
    let header = |path: &str, kind: &str, value: &str| {
        format!(
            "{{path: {{value: {path}}}, headers: [{{name: x, type: {kind}, value: '{value}'}}]}}"
        )
    };
    for (matches, codes) in [
        (vec![prefix("/a"), prefix("/a/")], vec![DeadRule]),
        // The longer one is tried first, however they are written.
        (vec![prefix("/a"), prefix("/a/b")], vec![]),
        (vec![prefix("/"), header("/", "Exact", "1")], vec![]),
        (
            vec![
                header("/", "RegularExpression", ".*"),
                header("/", "Exact", "1"),
            ],
            vec![DeadRule],
        ),
        (
            vec![
                header("/", "Exact", "1"),
                header("/", "RegularExpression", ".*"),
            ],
            vec![],
        ),
        (
            vec![
                "{path: {type: RegularExpression, value: '/.*'}}".to_owned(),
                prefix("/a"),
                "{path: {type: Exact, value: /b}}".to_owned(),
            ],
            vec![DeadRule],
        ),
        (
            vec![prefix("/a"), format!("{}, {}", prefix("/a"), prefix("/b"))],
            vec![DeadMatch],
        ),
        (
            vec![format!("{}, {}", prefix("/a"), prefix("/a"))],
            vec![RepeatedMatch],
        ),
        (vec!["{}".to_owned(), "{}".to_owned()], vec![DeadRule]),
    ] {
        let rules: String = matches.iter().map(|one| rule_to(one, "v1")).collect();
        assert_eq!(one(&rules), codes, "{rules}");
    }
}

#[test]
fn a_port_among_others_of_which_no_requests_are_read_is_told() {
    use crate::check::Severity;
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: mixed, namespace: shop}\n\
                   spec: {clusterIP: 10.0.1.9, ports: [{name: http, port: 80}, {name: tcp-admin, port: 90}]}\n";
    let rule = "  rules:\n  - backendRefs: [{name: v1, port: 80}]\n";
    for (parent, note) in [
        ("name: mixed", true),
        ("name: mixed, port: 80", false),
        // An error, as where every port is such a one.
        ("name: mixed, port: 90", false),
        ("name: echo", false),
    ] {
        let model = with(&[service.to_owned(), http("shop/r", parent, rule)]);
        let found = model.warnings().into_iter();
        let found: Vec<_> = found.filter(|one| one.code == Code::OpaquePort).collect();
        assert_eq!(found.len(), usize::from(note), "{parent}: {found:?}");
        for one in found {
            assert_eq!(one.severity, Severity::Note);
            assert!(one.reason.contains("port 90 speaks TCP"), "{one:?}");
            assert!(one.suggestion.contains("`port: 80`"), "{one:?}");
            assert_eq!(model.refusals(), []);
        }
    }
}

#[test]
fn rules_that_another_route_of_the_same_service_hides() {
    let to = |name: &str, parent: &str, matches: &str| {
        http(
            name,
            parent,
            &format!("  rules:\n{}", rule_to(matches, "v1")),
        )
    };
    let a = to("shop/a", "name: echo", "{path: {value: /a}}");
    let b = |parent: &str| to("shop/b", parent, "{path: {value: /a}}");
    let found = told(&[a.clone(), b("name: echo")]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1), ("b", Code::DeadRule));
    assert!(
        found[0].2.contains("of HTTPRoute shop/a (test.yaml:"),
        "{found:?}"
    );
    // At another port, and at one of several.
    let at = |port: u16| format!("name: echo, port: {port}");
    assert_eq!(
        codes(&[to("shop/a", &at(80), "{}"), to("shop/b", &at(8080), "{}")]),
        []
    );
    assert_eq!(
        codes(&[
            to("shop/a", &at(80), "{}"),
            to("shop/b", "name: echo", "{}")
        ]),
        []
    );
    assert_eq!(
        codes(&[
            to("shop/a", "name: echo", "{}"),
            to("shop/b", &at(80), "{}")
        ]),
        [("b".to_owned(), Code::DeadRule)]
    );
    // A consumer's stands in the place of a producer's, for its own clients.
    let mine = to(
        "mine/c",
        "name: echo, namespace: shop",
        "{path: {value: /a}}",
    )
    .replace("name: v1, port", "name: v1, namespace: shop, port");
    assert_eq!(codes(&[a.clone(), mine]), []);
    // Hosts: what is for any host is tried last.
    let hosted = |name: &str, hosts: &str| {
        let rules = rule_to("{path: {value: /a}}", "v1");
        http(
            name,
            "name: echo",
            &format!("  hostnames: {hosts}\n  rules:\n{rules}"),
        )
    };
    assert_eq!(codes(&[a.clone(), hosted("shop/h", "[echo]")]), []);
    assert_eq!(
        codes(&[
            hosted("shop/g", "[echo, e.example]"),
            hosted("shop/h", "[e.example]")
        ]),
        [("h".to_owned(), Code::DeadRule)]
    );
    assert_eq!(
        codes(&[
            hosted("shop/g", "[echo]"),
            hosted("shop/h", "[echo, e.example]")
        ]),
        []
    );
}

#[test]
fn rules_of_grpc_routes_too() {
    let grpc = |name: &str, methods: &[&str]| {
        let rules = methods.iter().map(|method| {
            format!(
                "  - matches: [{{method: {method}}}]\n    backendRefs: [{{name: v1, port: 7070}}]\n"
            )
        });
        let rules: String = rules.collect();
        route(
            "GRPCRoute",
            name,
            "name: echo",
            &format!("  rules:\n{rules}"),
        )
    };
    let found = codes(&[grpc(
        "shop/a",
        &[
            "{service: a.B}",
            "{service: a.B, method: C}",
            "{type: RegularExpression, service: 'a[.]B', method: '.*'}",
            "{service: a.B}",
        ],
    )]);
    assert_eq!(found, [("a".to_owned(), Code::DeadRule)]);
    let found = codes(&[
        grpc("shop/a", &["{service: a.B}"]),
        grpc("shop/b", &["{service: a.B}"]),
    ]);
    assert_eq!(found, [("b".to_owned(), Code::DeadRule)]);
}

#[test]
fn what_a_rule_asks_for_and_does_in_vain() {
    use Code::{
        LateRetry, NoShare, SelfMirror, TightTimeout, UnsafeRetry, UnseenHeader, UnsentHeader,
        VainMatch,
    };
    let rule = |matches: &str, rest: &str| {
        format!("  - matches: [{{{matches}}}]\n    backendRefs: [{{name: v1, port: 80}}]\n{rest}")
    };
    let header = |name: &str, value: &str| format!("headers: [{{name: {name}, value: '{value}'}}]");
    let filter = |text: &str| rule("", &format!("    filters: [{{{text}}}]\n"));
    let mirror = |name: &str| {
        filter(&format!(
            "type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}}}"
        ))
    };
    let set = |name: &str| {
        filter(&format!(
            "type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: {name}, value: a}}]}}"
        ))
    };
    let retry = |matches: &str, retry: &str, times: &str| {
        rule(
            matches,
            &format!("    retry: {{{retry}}}\n    timeouts: {{{times}}}\n"),
        )
    };
    for (rule, codes) in [
        (
            rule("path: {type: RegularExpression, value: 'v1/.*'}", ""),
            vec![VainMatch],
        ),
        (rule(&header("x", " a"), ""), vec![VainMatch]),
        (rule(&header("x", "a"), ""), vec![]),
        (
            rule("queryParams: [{name: q, value: 'a b'}]", ""),
            vec![VainMatch],
        ),
        (rule(&header("connection", "close"), ""), vec![UnseenHeader]),
        (
            rule(&header("Proxy-Authorization", "a"), ""),
            vec![UnseenHeader],
        ),
        (rule(&header("te", "trailers"), ""), vec![]),
        (rule(&header("te", "gzip"), ""), vec![UnseenHeader]),
        (set("x-forwarded-client-cert"), vec![UnsentHeader]),
        (set("x_a"), vec![]),
        (mirror("v1"), vec![SelfMirror]),
        (mirror("v2"), vec![]),
        (retry("", "codes: [500, 503]", ""), vec![UnsafeRetry]),
        (retry("method: GET", "codes: [500]", ""), vec![]),
        (retry("", "codes: [503]", ""), vec![]),
        (retry("", "codes: [500], attempts: 0", ""), vec![]),
        (
            retry("", "attempts: 1", "request: 1s, backendRequest: 1s"),
            vec![LateRetry],
        ),
        (
            retry("", "attempts: 1", "request: 2s, backendRequest: 1s"),
            vec![TightTimeout],
        ),
        (
            retry("", "attempts: 1", "request: 3s, backendRequest: 1s"),
            vec![],
        ),
        (
            "  - backendRefs: [{name: v1, port: 80, weight: 0}]\n".to_owned(),
            vec![NoShare],
        ),
    ] {
        assert_eq!(one(&rule), codes, "{rule}");
    }
}

/// Each of many routes is held against few others, and all are looked at once.
#[test]
fn two_thousand_routes_of_one_service() {
    let mut documents: Vec<String> = (0..2_000)
        .map(|n| {
            let rules = rule_to(&format!("{{path: {{value: /p{n}}}}}"), "v1");
            http(
                &format!("shop/r{n}"),
                "name: echo",
                &format!("  rules:\n{rules}"),
            )
        })
        .collect();
    let rules = rule_to("{path: {value: /p7/}}", "v1");
    documents.push(http("shop/z", "name: echo", &format!("  rules:\n{rules}")));
    assert_eq!(codes(&documents), [("z".to_owned(), Code::DeadRule)]);
}
