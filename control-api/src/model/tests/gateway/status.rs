//! Every reason of a status, and what is told of it.

use serde_json::{Value, json};

use super::*;
use crate::check::Code;
use crate::model::gateway::status::{ConditionType, Reason};

type Told = Vec<(ConditionType, bool, Reason)>;

fn told(documents: &[String], kind: Kind, of: &str) -> (Told, String) {
    let model = with(documents);
    let key = ObjectKey {
        kind,
        name: name(of),
    };
    let status = model.route_status(&key).unwrap();
    let conditions = &status.parents[0].conditions;
    let messages: Vec<&str> = conditions.iter().map(|c| c.message.as_str()).collect();
    let told = conditions.iter().map(|c| (c.kind, c.status, c.reason));
    (told.collect(), messages.join(" | "))
}

#[test]
fn each_mistake_has_its_reason_and_says_what_to_change() {
    use ConditionType::{Accepted as A, PartiallyInvalid as P, ResolvedRefs as R};
    let good = "  rules:\n  - backendRefs: [{name: v1, namespace: shop, port: 80}]\n";
    let accepted = (A, true, Reason::Accepted);
    let resolved = (R, true, Reason::ResolvedRefs);
    let no_parent = vec![(A, false, Reason::NoMatchingParent), resolved];
    let extension = "{type: ExtensionRef, extensionRef: {group: x, kind: K, name: a}}";
    let both = "[{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]";
    let cases: Vec<(&str, String, Told, &str)> = vec![
        ("name: echo", good.into(), vec![accepted, resolved], "The route applies."),
        ("name: ecoh", good.into(), no_parent.clone(), "there is no Service shop/ecoh (did you mean `echo`?)"),
        ("name: bare", good.into(), vec![accepted, resolved], "The route applies."),
        ("name: away", good.into(), no_parent.clone(), "is of type ExternalName"),
        ("name: echo, port: 81", good.into(), no_parent.clone(), "its ports: 80 (http), 7070 (rpc), 8080 (http-alt)"),
        ("name: echo, sectionName: htp", good.into(), no_parent, "has no such port"),
        (
            "name: echo",
            "  rules:\n  - backendRefs: [{name: v1, port: 80}, {name: ecko, port: 80}]\n".into(),
            vec![accepted, (R, false, Reason::BackendNotFound)],
            "spec.rules[0].backendRefs[1]: there is no Service shop/ecko (did you mean `echo`?)",
        ),
        (
            "name: echo",
            "  rules:\n  - backendRefs: [{name: v1, port: 81}]\n".into(),
            vec![accepted, (R, false, Reason::BackendNotFound)],
            "its ports: 80, 7070, 8080",
        ),
        (
            "name: echo",
            "  rules:\n  - backendRefs: [{name: b, group: x, kind: K}]\n".into(),
            vec![accepted, (R, false, Reason::InvalidKind)],
            "name a Service",
        ),
        (
            "name: echo",
            "  rules:\n  - backendRefs: [{name: v1, port: 80}]\n    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}}}]\n".into(),
            vec![accepted, (R, false, Reason::BackendNotFound)],
            "spec.rules[0].filters[0].requestMirror.backendRef: there is no Service shop/none",
        ),
        (
            "name: echo",
            format!("  rules:\n  - filters: [{extension}]\n"),
            vec![(A, false, Reason::UnsupportedValue), resolved],
            "filters of type ExtensionRef are not supported",
        ),
        (
            "name: echo",
            format!("  rules:\n  - filters: [{extension}]\n  - backendRefs: [{{name: v1, port: 80}}]\n"),
            vec![accepted, resolved, (P, true, Reason::UnsupportedValue)],
            "Dropped Rule",
        ),
        (
            "name: echo",
            format!("  rules:\n  - filters: {both}\n"),
            vec![(A, false, Reason::IncompatibleFilters), resolved],
            "take RequestRedirect or URLRewrite out",
        ),
    ];
    for (parent, rest, wanted, message) in cases {
        let (conditions, messages) =
            told(&[http("shop/r", parent, &rest)], Kind::HttpRoute, "shop/r");
        assert_eq!(conditions, wanted, "{parent} {rest}");
        assert!(messages.contains(message), "{messages}");
    }
}

#[test]
fn a_port_of_which_no_requests_are_read_takes_no_route() {
    let service = |ports: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: bytes, namespace: shop}}\nspec: {{clusterIP: 10.0.1.9, ports: [{ports}]}}\n"
        )
    };
    let rule = "  rules:\n  - backendRefs: [{name: v1, port: 80}]\n";
    let accepted = (true, Reason::Accepted);
    let opaque = (false, Reason::UnsupportedProtocol);
    for (kind, ports, parent, wanted, message) in [
        (
            "HTTPRoute",
            "{name: tcp, port: 90}",
            "",
            opaque,
            "write `appProtocol: http` at the port, or begin its name with `http-`",
        ),
        (
            "HTTPRoute",
            "{name: tls-x, port: 90}",
            "",
            opaque,
            "port 90 of Service shop/bytes speaks TLS",
        ),
        (
            "HTTPRoute",
            "{port: 3306}",
            "",
            opaque,
            "port 3306 of Service shop/bytes speaks TCP",
        ),
        (
            "GRPCRoute",
            "{name: x, port: 90, appProtocol: tcp}",
            "",
            opaque,
            "`appProtocol: grpc`",
        ),
        (
            "GRPCRoute",
            "{name: tcp-x, port: 90}",
            ", port: 90",
            accepted,
            "",
        ),
        (
            "HTTPRoute",
            "{name: tcp-x, port: 90, appProtocol: http}",
            "",
            accepted,
            "",
        ),
        ("HTTPRoute", "{name: x, port: 90}", "", accepted, ""),
        (
            "HTTPRoute",
            "{name: tcp, port: 90}, {name: http, port: 80}",
            "",
            accepted,
            "",
        ),
        (
            "HTTPRoute",
            "{name: tcp, port: 90}, {name: http, port: 80}",
            ", port: 90",
            opaque,
            "port 90",
        ),
    ] {
        let documents = [
            service(ports),
            route(kind, "shop/r", &format!("name: bytes{parent}"), rule),
        ];
        let of = match kind {
            "HTTPRoute" => Kind::HttpRoute,
            _ => Kind::GrpcRoute,
        };
        let (conditions, messages) = told(&documents, of, "shop/r");
        assert_eq!(
            (conditions[0].1, conditions[0].2),
            wanted,
            "{kind} {ports} {parent}"
        );
        assert!(messages.contains(message), "{messages}");
    }
}

#[test]
fn the_loser_of_a_port_is_told_who_has_it() {
    let rule = "  rules:\n  - backendRefs: [{name: v1, port: 7070}]\n";
    let documents = [
        http("shop/web", "name: echo, port: 7070", rule),
        route("GRPCRoute", "shop/rpc", "name: echo", rule),
    ];
    let (conditions, messages) = told(&documents, Kind::HttpRoute, "shop/web");
    assert_eq!(
        conditions[0],
        (ConditionType::Accepted, false, Reason::Conflicted)
    );
    assert!(messages.contains("GRPCRoute shop/rpc"), "{messages}");
    let (conditions, _) = told(&documents, Kind::GrpcRoute, "shop/rpc");
    assert_eq!(
        conditions[0],
        (ConditionType::Accepted, true, Reason::Accepted)
    );
}

#[test]
fn a_status_is_written_as_kubernetes_has_it() {
    let document = http("shop/r", "name: echo, port: 80", "  rules: []\n")
        .replace("namespace: shop}", "namespace: shop, generation: 7}")
        .replace("port: 80}]", "port: 80}, {name: edge}]");
    let model = with(&[document]);
    let key = ObjectKey {
        kind: Kind::HttpRoute,
        name: name("shop/r"),
    };
    let status: Value = serde_json::to_value(model.route_status(&key).unwrap()).unwrap();
    assert_eq!(
        status,
        json!({"parents": [{
            "parentRef": {"group": "", "kind": "Service", "name": "echo", "port": 80},
            "controllerName": "heddle.io/mesh/heddle-system",
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted",
                 "message": "The route applies.", "observedGeneration": 7},
                {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs",
                 "message": "Every Service that it names is there.", "observedGeneration": 7},
            ],
        }]}),
        "a Gateway is another's"
    );
}

#[test]
fn refusals_point_to_the_line_and_say_what_follows() {
    let document = http(
        "shop/r",
        "name: echo",
        "  rules:\n  - backendRefs:\n    - {name: v1, port: 80}\n    - {name: v3, port: 80}\n    - {name: v4, port: 80, weight: 0}\n",
    );
    let model = with(&[document]);
    let mut refusals = model.refusals();
    refusals.sort_by_key(|refusal| refusal.at.line);
    let lines: Vec<u32> = refusals.iter().map(|refusal| refusal.at.line).collect();
    assert_eq!(lines[1], lines[0] + 1);
    let told = |i: usize| {
        (
            refusals[i].code,
            refusals[i].is_warning(),
            refusals[i].consequence.as_str(),
        )
    };
    let lost = "its share is answered with 500 (gRPC: UNAVAILABLE)";
    assert_eq!(told(0), (Code::NoBackend, false, lost));
    assert_eq!(
        told(1),
        (Code::NoBackend, true, "it has no share, so nothing is lost")
    );
}
