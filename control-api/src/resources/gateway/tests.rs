//! What is read, what is refused by name and line, and what is known and unknown.
#![allow(clippy::unwrap_used)]

use crate::{
    resources::{gateway::Route, labels::Interner},
    source::{
        Resource,
        document::split,
        read::{Item, read},
    },
};

/// The route, or line and reason of each mistake.
fn read_one(kind: &str, version: &str, spec: &str) -> Result<Route, Vec<(u32, String)>> {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: r}}\nspec:\n{spec}"
    );
    let mut items = read(&split(&text)[0], None, &mut Interner::default());
    match items.remove(0) {
        Item::Good(object) => match &object.resource {
            Resource::GatewayRoute(route) => Ok((**route).clone()),
            other => panic!("{other:?}"),
        },
        Item::Bad { refusals, .. } => Err(refusals
            .into_iter()
            .map(|refusal| (refusal.at.line, refusal.to_string()))
            .collect()),
    }
}

#[test]
fn every_field_of_the_api_is_read() {
    let http = "
  parentRefs: [{group: '', kind: Service, name: a, namespace: b, port: 80, sectionName: http}, {name: edge}]
  hostnames: [a.example, '*.b.example']
  useDefaultGateways: None
  rules:
  - name: first
    matches:
    - path: {type: RegularExpression, value: '/v[0-9]+'}
      method: PATCH
      headers: [{name: X-A, value: a}, {type: RegularExpression, name: x-b, value: b.*}]
      queryParams: [{type: Exact, name: q, value: ''}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: a, value: b}], remove: [c]}}
    - {type: ExtensionRef, extensionRef: {group: x, kind: K, name: n}}
    - {type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: a, port: 1}}}
    backendRefs: [{group: '', kind: Service, name: a, namespace: b, port: 80, weight: 2, filters: []}]
    timeouts: {request: 1h, backendRequest: 1m}
    retry: {codes: [500], attempts: 1, backoff: 10ms}
";
    for version in ["v1", "v1beta1"] {
        let route = read_one("HTTPRoute", version, http).unwrap();
        assert_eq!(route.parents[1].group, "gateway.networking.k8s.io");
        assert_eq!(
            (
                route.rules[0].matches[0].headers.len(),
                route.rules[0].filters.len()
            ),
            (2, 3)
        );
    }
    let grpc = "
  parentRefs: [{group: '', kind: Service, name: a}]
  hostnames: [a.example]
  rules:
  - name: first
    matches: [{method: {type: Exact, service: a.B, method: C}, headers: [{name: a, value: b}]}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [c]}}]
    backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}]}]
";
    assert_eq!(read_one("GRPCRoute", "v1", grpc).unwrap().rules.len(), 1);
    assert!(
        read_one("GRPCRoute", "v1alpha2", grpc).unwrap_err()[0]
            .1
            .contains("unknown apiVersion")
    );
}

#[test]
fn what_the_api_would_refuse_is_refused_by_line() {
    let mut wrong = Vec::new();
    let rule = |text: &str| format!("  rules:\n  - {text}\n");
    let filter = |text: &str| rule(&format!("filters: [{text}]"));
    let one = |text: &str| rule(&format!("matches: [{text}]"));
    let redirect = |text: &str| {
        filter(&format!(
            "{{type: RequestRedirect, requestRedirect: {text}}}"
        ))
    };
    for (spec, reason) in [
        (rule("bakendRefs: []"), "unknown field `bakendRefs`"),
        (
            rule("backendRefs: [{name: a}]"),
            "backendRefs[0]: the field `port` is missing",
        ),
        (
            rule("backendRefs: [{name: a, port: 80, weight: 1000001}]"),
            "weight: 1000001 is above 1000000",
        ),
        (
            rule("backendRefs: [{name: a, port: 0}]"),
            "port: 0 is no port",
        ),
        (one("{path: {value: a}}"), "does not begin with `/`"),
        (
            one("{path: {type: Prefix, value: /a}}"),
            "unknown value `Prefix`",
        ),
        (
            one("{path: {type: RegularExpression, value: '('}}"),
            "does not compile",
        ),
        (one("{method: get}"), "unknown value `get`"),
        (
            one("{headers: [{name: 'a b', value: c}]}"),
            "headers[0].name: \"a b\" is no name",
        ),
        (
            one("{headers: [{name: ':path', value: c}]}"),
            "a pseudo-header is not matched here",
        ),
        (
            filter("{type: RequestHeaderModifer}"),
            "did you mean `RequestHeaderModifier`?",
        ),
        (
            filter("{type: URLRewrite}"),
            "its type needs the field `urlRewrite`",
        ),
        (
            filter("{type: CORS, cors: {}, urlRewrite: {}}"),
            "it is of another type than the filter",
        ),
        (
            filter("{type: CORS, cors: {}}, {type: CORS, cors: {}}"),
            "is there already",
        ),
        (
            filter("{type: CORS, cors: {allowOrigins: [a]}}"),
            "is no origin",
        ),
        (
            filter(
                "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}",
            ),
            "the host is not changed here",
        ),
        (
            filter(
                "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 101}}",
            ),
            "101 is not from 0 to 100",
        ),
        (
            filter(
                "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 2, denominator: 1}}}",
            ),
            "it is not from 0 to 1",
        ),
        (
            filter("{type: RequestMirror, requestMirror: {backendRef: {name: a}}}"),
            "the field `port` is missing",
        ),
        (redirect("{statusCode: 304}"), "304 is no redirect"),
        (redirect("{scheme: ftp}"), "use `http` or `https`"),
        (redirect("{hostname: 'a:80'}"), "is no host name"),
        (
            redirect("{path: {type: ReplaceFullPath, replacePrefixMatch: /}}"),
            "its type needs the field `replaceFullPath`",
        ),
        (
            rule(
                "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}",
            ),
            "ReplacePrefixMatch needs a rule with exactly one match",
        ),
        (
            rule(
                "{backendRefs: [{name: a, port: 1}], filters: [{type: RequestRedirect, requestRedirect: {}}]}",
            ),
            "a redirect sends nothing on",
        ),
        (rule("timeouts: {request: 1.5s}"), "\"1.5s\" is no duration"),
        (
            rule("timeouts: {request: 1s, backendRequest: 2s}"),
            "it is longer than `request`",
        ),
        (rule("retry: {codes: [200]}"), "200 is not from 400 to 599"),
        (
            rule("sessionPersistence: {sessionName: a}"),
            "sessionPersistence is not supported",
        ),
        ("  hostnames: ['10.0.0.1']\n".to_owned(), "is no host name"),
        (
            "  parentRefs: [{kind: Service}]\n".to_owned(),
            "the field `name` is missing",
        ),
        ("  rulez: []\n".to_owned(), "unknown field `rulez`"),
    ] {
        let problems = read_one("HTTPRoute", "v1", &spec).err().unwrap_or_default();
        let found = |(line, text): &(u32, String)| *line >= 5 && text.contains(reason);
        if !problems.iter().any(found) {
            wrong.push((spec, reason, problems));
        }
    }
    for (spec, reason) in [
        (one("{method: {}}"), "it names neither service nor method"),
        (one("{method: {service: a/b}}"), "is no name of gRPC"),
        (one("{path: {value: /}}"), "unknown field `path`"),
        (
            filter("{type: URLRewrite, urlRewrite: {}}"),
            "unknown value `URLRewrite`",
        ),
        (rule("timeouts: {request: 1s}"), "unknown field `timeouts`"),
    ] {
        let problems = read_one("GRPCRoute", "v1", &spec).err().unwrap_or_default();
        if !problems.iter().any(|(_, text)| text.contains(reason)) {
            wrong.push((spec, reason, problems));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn durations_are_those_of_the_api() {
    for (text, millis) in [
        ("1h30m5s10ms", Some(5_405_010)),
        ("0s", Some(0)),
        ("9999h", Some(35_996_400_000)),
        ("", None),
        ("1", None),
        ("1.5s", None),
        ("1us", None),
        ("100000s", None),
        ("1s1s1s1s1s", None),
    ] {
        let read = super::check::duration(text).map(|span| span.millis());
        assert_eq!(read, millis, "{text}");
    }
}
