//! Each criterion of precedence against the next, and their ties.

use super::*;

/// Matches (flow mappings) of routes `shop/a`, `shop/b`… in the order in which they are met; each
/// rule is told by what its matches are called.
fn order(routes: &[&[&str]]) -> Vec<String> {
    let documents: Vec<String> = routes
        .iter()
        .enumerate()
        .map(|(i, matches)| {
            let name = format!("shop/{}", char::from(b'a' + i as u8));
            let rules: String = matches.iter().map(|one| rule_to(one, "v1")).collect();
            http(&name, "name: echo", &format!("  rules:\n{rules}"))
        })
        .collect();
    let rules = rules(&with(&documents), "shop/echo", "shop");
    let told = |rule: &HttpRule| {
        rule.origin
            .split(' ')
            .next()
            .unwrap()
            .replace("HTTPRoute/shop/", "")
    };
    rules.iter().map(told).collect()
}

#[test]
fn each_criterion_comes_before_the_next() {
    let path = |kind: &str, value: &str| format!("path: {{type: {kind}, value: {value}}}");
    let header = |name: &str| format!("{{name: {name}, value: x}}");
    let two_headers = format!("headers: [{}, {}]", header("a"), header("b"));
    let one_header = format!("headers: [{}]", header("a"));
    let two_params = format!("queryParams: [{}, {}]", header("a"), header("b"));
    let one_param = format!("queryParams: [{}]", header("a"));
    // From the first to the last.
    let all = [
        format!("{{{}}}", path("Exact", "/a")),
        format!("{{{}}}", path("RegularExpression", "/a.*")),
        format!("{{{}}}", path("PathPrefix", "/a/long")),
        format!(
            "{{{}, method: GET, {two_headers}}}",
            path("PathPrefix", "/a")
        ),
        format!("{{{}, method: GET}}", path("PathPrefix", "/b")),
        format!("{{{}, {two_headers}}}", path("PathPrefix", "/b")),
        format!(
            "{{{}, {one_header}, {two_params}}}",
            path("PathPrefix", "/b")
        ),
        format!(
            "{{{}, {one_header}, {one_param}}}",
            path("PathPrefix", "/b")
        ),
        format!("{{{}, {one_header}}}", path("PathPrefix", "/b")),
        format!("{{{}, {one_param}}}", path("PathPrefix", "/b")),
        format!("{{{}}}", path("PathPrefix", "/b/")),
        format!("{{method: GET, {two_headers}, {two_params}}}"),
        "{}".to_owned(),
    ];
    let wanted: Vec<String> = (0..all.len()).map(|i| format!("a#{i}")).collect();
    let forward: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(order(&[&forward]), wanted);
    let backward: Vec<&str> = forward.iter().rev().copied().collect();
    let wanted: Vec<String> = (0..all.len()).rev().map(|i| format!("a#{i}")).collect();
    assert_eq!(order(&[&backward]), wanted, "however they are written");
    // One route each: the same.
    let single: Vec<[&str; 1]> = forward.iter().map(|one| [*one]).collect();
    let split: Vec<&[&str]> = single.iter().rev().map(|one| one.as_slice()).collect();
    let wanted: Vec<String> = (0..all.len() as u8)
        .rev()
        .map(|i| format!("{}#0", char::from(b'a' + i)))
        .collect();
    assert_eq!(order(&split), wanted, "nor in which route");
}

#[test]
fn ties_go_to_the_oldest_then_to_the_first_by_name_then_to_the_first_rule() {
    assert_eq!(order(&[&["{}", "{}"], &["{}"]]), ["a#0", "a#1", "b#0"]);
    let aged = |name: &str, year: u32| {
        http(
            name,
            "name: echo",
            &format!("  rules:\n{}", rule_to("{}", "v1")),
        )
        .replace(
            "namespace: shop}",
            &format!("namespace: shop, creationTimestamp: '{year}-01-01T00:00:00Z'}}"),
        )
    };
    let model = with(&[
        aged("shop/a", 2024),
        aged("shop/b", 2023),
        http(
            "shop/aa",
            "name: echo",
            &format!("  rules:\n{}", rule_to("{}", "v1")),
        ),
    ]);
    let rules = rules(&model, "shop/echo", "shop");
    let names: Vec<&str> = rules
        .iter()
        .map(|r| r.origin.split('#').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["HTTPRoute/shop/b", "HTTPRoute/shop/a", "HTTPRoute/shop/aa"]
    );
}

#[test]
fn hosts_come_before_everything_else() {
    let on = |name: &str, hosts: &str, one: &str| {
        http(
            name,
            "name: echo",
            &format!("  hostnames: {hosts}\n  rules:\n{}", rule_to(one, "v1")),
        )
    };
    let exact = "{path: {type: Exact, value: /a}}";
    let model = with(&[
        on("shop/any", "[]", exact),
        on("shop/below", "['*.example.com']", exact),
        on("shop/deeper", "['*.a.example.com']", "{}"),
        on("shop/one", "[echo.example.com, Echo]", "{}"),
    ]);
    let rules = rules(&model, "shop/echo", "shop");
    let met: Vec<&str> = rules
        .iter()
        .flat_map(|rule| &rule.matches)
        .map(|one| one.host.as_str())
        .collect();
    assert_eq!(
        met,
        [
            "echo.example.com",
            "echo",
            "*.a.example.com",
            "*.example.com",
            ""
        ]
    );
}

#[test]
fn grpc_methods_are_ordered_by_their_length() {
    let rules_of: String = [
        "{}",
        "{headers: [{name: a, value: b}]}",
        "{method: {method: Login}}",
        "{method: {service: foo.Bar}}",
        "{method: {service: foo.Bar, method: Login}}",
        "{method: {service: foo.Bar, method: Logins}}",
        "{method: {service: foo.Barr}}",
        "{method: {type: RegularExpression, service: 'foo[.].+'}}",
    ]
    .iter()
    .map(|one| format!("  - matches: [{one}]\n    backendRefs: [{{name: v1, port: 7070}}]\n"))
    .collect();
    let document = route(
        "GRPCRoute",
        "shop/g",
        "name: echo, port: 7070",
        &format!("  rules:\n{rules_of}"),
    );
    let rules = rules(&with(&[document]), "shop/echo", "shop");
    let met: Vec<String> = rules.iter().map(first_match).collect();
    assert_eq!(
        met,
        [
            "^/foo.Barr/",
            "=/foo.Bar/Logins",
            "=/foo.Bar/Login",
            "^/foo.Bar/",
            "~/[^/]+/Login",
            "~/(?:foo[.].+)/[^/]+",
            "*",
            "*"
        ]
    );
    assert_eq!(rules[6].matches[0].headers.len(), 1);
}
