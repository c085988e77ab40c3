//! What a VirtualService's rules do besides routing.

use heddle_proto::mesh::{
    HttpRule, PathRewrite, fault::abort::Status, http_rule::Answer, path_rewrite, sticky::Key,
    string_match,
};

use super::*;

/// A VirtualService for ratings whose only HTTP rule this is.
fn virtual_service(annotations: &str, rule: &str) -> String {
    let rule = rule.replace('\n', "\n    ");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: r, annotations: {{{annotations}}}}}\n\
         spec:\n  hosts: [ratings]\n  http:\n  - {rule}\n"
    )
}

fn table_of(route: &str) -> mesh::RouteTable {
    let mut model = model(REVIEWS);
    model.apply(batch(route).changes);
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    routes(&model, "default/ratings", &client("default"))
}

fn rules(rule: &str) -> Vec<HttpRule> {
    table_of(&virtual_service("", rule)).http
}

fn only(rule: &str) -> HttpRule {
    let mut rules = rules(rule);
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

const ROUTE: &str = "route: [{destination: {host: ratings}}]\n";

fn full(path: &str) -> Option<PathRewrite> {
    let kind = path_rewrite::Kind::Full(path.into());
    Some(PathRewrite { kind: Some(kind) })
}

fn prefix(prefix: &str, replacement: &str) -> Option<PathRewrite> {
    let rewrite = path_rewrite::PrefixRewrite {
        prefix: prefix.into(),
        replacement: replacement.into(),
        segments: false,
    };
    let kind = path_rewrite::Kind::Prefix(rewrite);
    Some(PathRewrite { kind: Some(kind) })
}

#[test]
fn faults_say_when_and_how() {
    let rule = only(&format!(
        "fault: {{delay: {{fixedDelay: 1.5s, percentage: {{value: 0.5}}}}, abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}\n{ROUTE}"
    ));
    let fault = rule.fault.unwrap();
    let (delay, abort) = (fault.delay.unwrap(), fault.abort.unwrap());
    assert_eq!((delay.fixed.unwrap().millis, delay.ppm), (1500, 5000));
    assert_eq!(
        (abort.status, abort.ppm),
        (Some(Status::Http(503)), 1_000_000)
    );
    for (status, number) in [("UNAVAILABLE", 14), ("'7'", 7)] {
        let rule = only(&format!(
            "fault: {{abort: {{grpcStatus: {status}}}, delay: {{fixedDelay: 1s, percent: 3}}}}\n{ROUTE}"
        ));
        let fault = rule.fault.unwrap();
        let abort = fault.abort.unwrap();
        assert_eq!((abort.status, abort.ppm), (Some(Status::Grpc(number)), 0));
        assert_eq!(fault.delay.unwrap().ppm, 30_000);
    }
}

#[test]
fn a_fault_without_percentage_is_told() {
    let mut model = model(REVIEWS);
    let rule = format!("fault: {{delay: {{fixedDelay: 1s}}, abort: {{httpStatus: 500}}}}\n{ROUTE}");
    model.apply(batch(&virtual_service("", &rule)).changes);
    let told: Vec<_> = model
        .warnings()
        .into_iter()
        .filter(|w| w.code == crate::check::Code::FaultOfNobody)
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|w| w.at.line == 7 && w.suggestion.contains("value: 100")),
        "{told:?}"
    );
}

#[test]
fn copies_go_where_they_are_sent_and_bring_their_services() {
    let mut model = model(REVIEWS);
    let one = |more: &str| format!("mirror: {{host: details}}\n{more}{ROUTE}");
    for (more, ppm) in [
        ("", 1_000_000),
        ("mirrorPercentage: {value: 2.5}\n", 25_000),
        ("mirrorPercent: 7\n", 70_000),
    ] {
        model.apply(batch(&virtual_service("", &one(more))).changes);
        let rule = &routes(&model, "default/ratings", &client("default")).http[0];
        let mirror = &rule.mirrors[0];
        let to = mirror.destination.as_ref().unwrap();
        assert_eq!(
            (&*to.service, to.port, mirror.ppm),
            ("default/details", 9080, ppm)
        );
    }
    let view = model
        .route_table(&name("default/ratings"), &client("default"))
        .unwrap();
    assert_eq!(
        &*view.names,
        [name("default/details"), name("default/ratings")]
    );
    let several = format!(
        "mirrors: [{{destination: {{host: details}}, percentage: {{value: 1}}}}, {{destination: {{host: reviews, subset: v1}}}}]\n{ROUTE}"
    );
    let rule = only(&several);
    let shown: Vec<_> = rule
        .mirrors
        .iter()
        .map(|m| (m.destination.as_ref().unwrap().subset.as_str(), m.ppm))
        .collect();
    assert_eq!(shown, [("", 10_000), ("v1", 1_000_000)]);
    // A copy to nowhere is refused like a route to nowhere.
    model.apply(
        batch(&virtual_service(
            "",
            &several.replace("subset: v1", "subset: v9"),
        ))
        .changes,
    );
    let refusals = model.refusals();
    assert!(
        refusals[0]
            .reason
            .contains("spec.http[0].mirrors[1].destination.subset"),
        "{refusals:?}"
    );
}

#[test]
fn answers_stand_in_the_place_of_destinations() {
    let redirect = |text: &str| match only(&format!("redirect: {{{text}}}")).answer {
        Some(Answer::Redirect(redirect)) => redirect,
        other => panic!("{other:?}"),
    };
    let shown =
        redirect("uri: /new, authority: a.example, scheme: https, redirectCode: 308, port: 8443");
    assert_eq!(
        (
            &*shown.scheme,
            &*shown.authority,
            shown.port,
            shown.path,
            shown.status
        ),
        ("https", "a.example", 8443, full("/new"), 308)
    );
    let shown = redirect("authority: a.example");
    assert_eq!((shown.port, shown.path, shown.status), (0, None, 301));
    assert_eq!(
        redirect("scheme: https, derivePort: FROM_PROTOCOL_DEFAULT").port,
        443
    );
    assert_eq!(redirect("derivePort: FROM_PROTOCOL_DEFAULT").port, 80);
    assert_eq!(redirect("derivePort: FROM_REQUEST_PORT").port, 0);
    let by_prefix = rules(
        "match: [{uri: {prefix: /a/}}, {uri: {prefix: /b}}]\nredirect: {uri: '%PREFIX()%/c'}",
    );
    let paths: Vec<_> = by_prefix
        .iter()
        .map(|rule| match &rule.answer {
            Some(Answer::Redirect(redirect)) => (rule.matches.len(), redirect.path.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, [(1, prefix("/a/", "/c")), (1, prefix("/b", "/c"))]);

    let rule = only(
        "directResponse: {status: 418, body: {string: short}}\nheaders: {response: {set: {X-Why: pot}}}",
    );
    let Some(Answer::DirectResponse(answer)) = &rule.answer else {
        panic!("{rule:?}")
    };
    assert_eq!((answer.status, &*answer.body), (418, &b"short"[..]));
    assert!(rule.destinations.is_empty() && rule.headers.is_some());
}

#[test]
fn a_rewrite_replaces_what_each_match_named() {
    let rule = format!(
        "match: [{{uri: {{prefix: /v1/}}}}, {{uri: {{prefix: /v1/}}, method: {{exact: GET}}}}, {{uri: {{exact: /old}}}}, {{uri: {{regex: '/x.*'}}}}, {{headers: {{a: {{}}}}}}]\nrewrite: {{uri: /, authority: b.example}}\n{ROUTE}"
    );
    let rules = rules(&rule);
    let shown: Vec<_> = rules
        .iter()
        .map(|rule| {
            let rewrite = rule.rewrite.as_ref().unwrap();
            assert_eq!(rewrite.authority, "b.example");
            (rule.matches.len(), rewrite.path.clone())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (2, prefix("/v1/", "/")),
            (2, full("/")),
            (1, prefix("/", "/"))
        ]
    );
    assert!(rules.iter().all(|rule| rule.origin == rules[0].origin));
    let rule = only(&format!(
        "rewrite: {{uriRegexRewrite: {{match: '^/a/([^/]+)', rewrite: '/b/\\1'}}}}\n{ROUTE}"
    ));
    let Some(path_rewrite::Kind::Regex(regex)) = rule.rewrite.unwrap().path.unwrap().kind else {
        panic!("a regex")
    };
    assert_eq!(
        (&*regex.pattern, &*regex.substitution),
        ("^/a/([^/]+)", "/b/\\1")
    );
}

#[test]
fn headers_change_at_the_rule_and_at_the_destination() {
    let rule = only(
        "headers: {request: {set: {X-A: '5%%', Host: a.example}, add: {X-B: b}, remove: [X-C]}, response: {remove: [server]}}\n\
         route: [{destination: {host: ratings}, headers: {request: {set: {':authority': c.example}}, response: {add: {x-d: d}}}}]\n",
    );
    let header = |name: &str, value: &str| mesh::Header {
        name: name.into(),
        value: value.into(),
    };
    let changes = rule.headers.unwrap();
    let request = changes.request.unwrap();
    assert_eq!(request.set, [header("x-a", "5%")]);
    assert_eq!(
        (&request.add[..], &request.remove[..]),
        (&[header("x-b", "b")][..], &["x-c".to_owned()][..])
    );
    assert_eq!(changes.response.unwrap().remove, ["server"]);
    assert_eq!(rule.rewrite.unwrap().authority, "a.example");
    let to = &rule.destinations[0];
    let changes = to.headers.clone().unwrap();
    assert_eq!(
        (changes.request, changes.response.unwrap().add),
        (None, vec![header("x-d", "d")])
    );
    assert_eq!(to.rewrite.clone().unwrap().authority, "c.example");
    let plain = only(ROUTE);
    assert!(
        plain.headers.is_none()
            && plain.rewrite.is_none()
            && plain.destinations[0].headers.is_none()
    );
}

#[test]
fn cors_and_retries_are_carried_over() {
    let cors = |text: &str| {
        only(&format!("corsPolicy: {{{text}}}\n{ROUTE}"))
            .cors
            .unwrap()
    };
    let policy = cors(
        "allowOrigins: [{exact: 'https://a.example'}, {exact: '*'}, {regex: 'https://.*'}], allowMethods: [GET], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE",
    );
    let kinds: Vec<_> = policy
        .allow_origins
        .into_iter()
        .filter_map(|o| o.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            string_match::Kind::Exact("https://a.example".into()),
            string_match::Kind::Present(true),
            string_match::Kind::Regex("https://.*".into()),
        ]
    );
    assert_eq!(
        (
            policy.allow_methods[0].as_str(),
            policy.allow_headers[0].as_str(),
            policy.expose_headers[0].as_str()
        ),
        ("GET", "x-a", "x-b")
    );
    assert_eq!(
        (
            policy.max_age.unwrap().millis,
            policy.allow_credentials,
            policy.forward_unmatched_preflights
        ),
        (86_400_000, true, false)
    );
    let older = cors("allowOrigin: ['https://b.example', '*']");
    assert!(older.forward_unmatched_preflights && older.allow_origins.len() == 2);

    let retries = |text: &str| {
        only(&format!("retries: {{attempts: 1{text}}}\n{ROUTE}"))
            .retries
            .unwrap()
    };
    let plain = retries("");
    assert_eq!((plain.backoff, plain.ignore_previous_hosts), (None, false));
    let said = retries(", backoff: 50ms, retryIgnorePreviousHosts: false");
    assert_eq!(
        (said.backoff.unwrap().millis, said.ignore_previous_hosts),
        (50, true)
    );
    assert!(!retries(", retryIgnorePreviousHosts: true").ignore_previous_hosts);
    let scheme = only(&format!("match: [{{scheme: {{exact: http}}}}]\n{ROUTE}"));
    assert_eq!(
        scheme.matches[0].scheme.clone().unwrap().kind,
        Some(string_match::Kind::Exact("http".into()))
    );
}

#[test]
fn an_annotation_makes_splits_sticky() {
    let split = "route: [{destination: {host: ratings}, weight: 1}, {destination: {host: details}, weight: 1}]\n";
    let sticky = |annotation: &str, rule: &str| {
        table_of(&virtual_service(annotation, rule)).http[0]
            .sticky
            .clone()
            .and_then(|s| s.key)
    };
    assert_eq!(sticky("", split), None);
    assert_eq!(
        sticky("heddle.io/sticky: source", split),
        Some(Key::SourceIp(true))
    );
    assert_eq!(
        sticky("heddle.io/sticky: 'header: X-User'", split),
        Some(Key::Header("x-user".into()))
    );
    let cookie = mesh::Cookie {
        name: "who".into(),
        path: "/".into(),
        ttl: Some(mesh::Millis { millis: 3_600_000 }),
    };
    assert_eq!(
        sticky("heddle.io/sticky: 'cookie: who; path=/; ttl=1h'", split),
        Some(Key::Cookie(cookie))
    );
    assert_eq!(
        sticky("heddle.io/sticky: source", ROUTE),
        None,
        "nothing is split"
    );
}

#[test]
fn tls_routes_come_first_and_by_name() {
    let route = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [ratings]
  tls:
  - match:
    - {sniHosts: [A.example, '*.b.example'], port: 9080}
    - {sniHosts: [c.example], sourceNamespace: other}
    route: [{destination: {host: details}}]
  tcp:
  - route: [{destination: {host: ratings}}]
";
    let table = table_of(route);
    let shown: Vec<_> = table
        .tcp
        .iter()
        .map(|r| {
            (
                r.port,
                r.sni_hosts.len(),
                r.destinations[0].service.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [(9080, 2, "default/details"), (0, 0, "default/ratings")]
    );
    assert_eq!(table.tcp[0].sni_hosts, ["a.example", "*.b.example"]);
    let mut model = model(REVIEWS);
    model.apply(batch(route).changes);
    assert_eq!(
        routes(&model, "default/ratings", &client("other"))
            .tcp
            .len(),
        3
    );
}
