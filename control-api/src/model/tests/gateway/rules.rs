//! What rules become on the wire.

use heddle_proto::mesh::{http_rule::Answer, path_rewrite};

use super::*;

/// The rules of one HTTPRoute.
fn of(rules_text: &str) -> Vec<HttpRule> {
    let model = with(&[http(
        "shop/r",
        "name: echo",
        &format!("  rules:\n{rules_text}"),
    )]);
    rules(&model, "shop/echo", "shop")
}

#[test]
fn absent_fields_have_the_defaults_of_the_api() {
    let rules = of(
        "  - backendRefs: [{name: v1, port: 80}, {name: v2, port: 8080}]\n  - filters: [{type: RequestRedirect, requestRedirect: {hostname: a.example}}]\n    matches: [{path: {value: /r}, headers: [{name: X-A, value: b}]}]\n",
    );
    let (redirect, split) = (&rules[0], &rules[1]);
    assert_eq!(split.matches, [mesh::HttpMatch::default()]);
    let to: Vec<_> = split
        .destinations
        .iter()
        .map(|to| (to.port, to.weight))
        .collect();
    assert_eq!(to, [(80, 1), (8080, 1)]);
    assert!(split.timeout.is_none() && split.retries.is_none());
    assert_eq!(redirect.matches[0].path_segments, "/r");
    assert_eq!(redirect.matches[0].headers[0].name, "x-a");
    let Some(Answer::Redirect(to)) = &redirect.answer else {
        panic!("no redirect")
    };
    assert_eq!(
        (to.status, to.authority.as_str(), to.keep_port),
        (302, "a.example", true)
    );
    assert!(redirect.destinations.is_empty());
}

#[test]
fn shares_that_nobody_can_have_answer_with_an_error() {
    for (backends, wanted) in [
        (
            "[{name: v1, port: 80, weight: 3}, {name: gone, port: 80, weight: 1}]",
            vec![("shop/v1", 3), ("!there is no Service shop/gone", 1)],
        ),
        (
            "[{name: v1, port: 80}, {name: gone, port: 80, weight: 0}]",
            vec![("shop/v1", 1)],
        ),
        (
            "[{name: v1, port: 80, weight: 0}]",
            vec![("!the weights of its backendRefs total 0", 1)],
        ),
        (
            "[{name: v1, port: 80, weight: 0}, {name: v2, port: 80, weight: 0}]",
            vec![("!the weights of its backendRefs total 0", 1)],
        ),
        ("[]", vec![("!the rule has no backendRefs", 1)]),
        (
            "[{name: v1, port: 81}]",
            vec![("!Service shop/v1 has no port 81", 1)],
        ),
        (
            "[{name: v1, kind: Bucket, group: storage.example}]",
            vec![(
                "!`Bucket` of the group \"storage.example\" is no kind that requests can be sent to",
                1,
            )],
        ),
        (
            "[{name: v1, port: 80, weight: 0}, {name: v2, port: 80}]",
            vec![("shop/v1", 0), ("shop/v2", 1)],
        ),
    ] {
        let rules = of(&format!("  - backendRefs: {backends}\n"));
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(to, weight)| (to.to_owned(), weight))
            .collect();
        assert_eq!(shares(&rules[0]), wanted, "{backends}");
    }
}

#[test]
fn a_filter_that_nobody_has_fails_its_rule_alone() {
    let rules = of(
        "  - matches: [{path: {value: /a}}]\n    filters:\n    - {type: ExtensionRef, extensionRef: {group: x.example, kind: Auth, name: a}}\n    backendRefs: [{name: v1, port: 80}]\n  - backendRefs: [{name: v2, port: 80}]\n",
    );
    assert_eq!(
        shares(&rules[0]),
        [(
            "!filters of type ExtensionRef are not supported".to_owned(),
            1
        )]
    );
    assert_eq!(shares(&rules[1]), [("shop/v2".to_owned(), 1)]);
    let rules = of(
        "  - backendRefs: [{name: v1, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}]}]\n",
    );
    assert_eq!(
        shares(&rules[0]),
        [(
            "!filters of type RequestMirror are not supported for a backendRef".to_owned(),
            1
        )]
    );
}

#[test]
fn filters_are_carried_over() {
    let rules = of("  - matches: [{path: {value: /old/}}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: '50%'}, {name: x-a, value: second}], add: [{name: X-B, value: b}], remove: [X-C]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-D, value: d}]}}
    - {type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, fraction: {numerator: 1, denominator: 3}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, percent: 7}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}
    - {type: CORS, cors: {allowOrigins: ['https://*.a.example', 'http://b.example'], allowMethods: [GET, '*'], allowCredentials: true}}
    backendRefs:
    - name: v1
      port: 80
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-E, value: e}]}}
      - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}
");
    let rule = &rules[0];
    let headers = rule.headers.as_ref().unwrap();
    let request = headers.request.as_ref().unwrap();
    let set: Vec<_> = request
        .set
        .iter()
        .map(|h| (h.name.as_str(), h.value.as_str()))
        .collect();
    assert_eq!(
        set,
        [("x-a", "50%")],
        "the first of a name, and values are literal"
    );
    assert_eq!(
        (request.add[0].name.as_str(), request.remove[0].as_str()),
        ("x-b", "x-c")
    );
    assert_eq!(headers.response.as_ref().unwrap().add[0].value, "d");
    let rewrite = rule.rewrite.as_ref().unwrap();
    assert_eq!(rewrite.authority, "other.example");
    let Some(path_rewrite::Kind::Prefix(prefix)) = rewrite.path.clone().unwrap().kind else {
        panic!("no prefix")
    };
    assert_eq!(
        (
            prefix.prefix.as_str(),
            prefix.replacement.as_str(),
            prefix.segments
        ),
        ("/old/", "/new", true)
    );
    let mirrors: Vec<_> = rule
        .mirrors
        .iter()
        .map(|m| (m.destination.as_ref().unwrap().service.as_str(), m.ppm))
        .collect();
    assert_eq!(mirrors, [("shop/v2", 333_333), ("shop/v1", 70_000)]);
    let cors = rule.cors.as_ref().unwrap();
    assert_eq!(cors.max_age.as_ref().unwrap().millis, 5000);
    assert_eq!(
        cors.allow_origins[0].kind,
        Some(string_match::Kind::Regex(
            r"https://[^/:]+\.a\.example".into()
        ))
    );
    let own = &rule.destinations[0];
    assert_eq!(
        own.headers.as_ref().unwrap().request.as_ref().unwrap().set[0].name,
        "x-e"
    );
    let path = own.rewrite.as_ref().unwrap().path.clone().unwrap().kind;
    assert_eq!(path, Some(path_rewrite::Kind::Full("/all".into())));
}

#[test]
fn times_bound_the_request_and_each_try() {
    let of = |text: &str| {
        let rule = of(&format!(
            "  - backendRefs: [{{name: v1, port: 80}}]\n{text}"
        ))
        .remove(0);
        let retries = rule.retries.map(|r| {
            let each = r.per_try_timeout.map(|t| t.millis);
            (r.attempts, each, r.retry_on, r.backoff.map(|b| b.millis))
        });
        (rule.timeout.map(|t| t.millis), retries)
    };
    assert_eq!(
        of("    timeouts: {request: 10s, backendRequest: 2s500ms}\n"),
        (Some(2500), None),
        "without retries a try is the request"
    );
    assert_eq!(of("    timeouts: {request: 0s}\n"), (None, None));
    let codes = vec!["500".to_owned(), "503".to_owned()];
    assert_eq!(
        of(
            "    timeouts: {request: 10s, backendRequest: 2s}\n    retry: {codes: [500, 503], attempts: 3, backoff: 100ms}\n"
        ),
        (Some(10_000), Some((3, Some(2000), codes, Some(100))))
    );
    assert_eq!(of("    retry: {}\n"), (None, Some((2, None, vec![], None))));
}

#[test]
fn matches_of_one_rule_stay_one_rule_where_nothing_comes_between() {
    let rules = of(
        "  - matches: [{path: {value: /a}}, {path: {value: /b}}, {path: {value: /very/long}}]\n    backendRefs: [{name: v1, port: 80}, {name: v2, port: 80}]\n  - matches: [{path: {value: /between}}]\n    backendRefs: [{name: v2, port: 80}]\n",
    );
    let told: Vec<_> = rules
        .iter()
        .map(|rule| (first_match(rule), rule.matches.len()))
        .collect();
    assert_eq!(
        told,
        [
            ("/very/long".to_owned(), 1),
            ("/between".to_owned(), 1),
            ("/a".to_owned(), 2)
        ]
    );
}

#[test]
fn an_annotation_makes_splits_sticky() {
    let split = "  rules:\n  - backendRefs: [{name: v1, port: 80}, {name: v2, port: 80}]\n  - matches: [{path: {value: /one}}]\n    backendRefs: [{name: v1, port: 80}]\n";
    let document = http("shop/r", "name: echo", split).replace(
        "namespace: shop}",
        "namespace: shop, annotations: {heddle.io/sticky: 'header: X-User'}}",
    );
    let rules = rules(&with(&[document]), "shop/echo", "shop");
    let sticky: Vec<bool> = rules.iter().map(|rule| rule.sticky.is_some()).collect();
    assert_eq!(sticky, [false, true], "only what is split");
}

#[test]
fn a_route_without_rules_matches_nothing() {
    let model = with(&[http("shop/r", "name: echo, port: 80", "  rules: []\n")]);
    let table = routes(&model, "shop/echo", &client("shop"));
    assert_eq!(table.http_ports, [80]);
    let Some(Answer::DirectResponse(answer)) = &table.http[0].answer else {
        panic!("no answer")
    };
    assert_eq!(answer.status, 404);
}
