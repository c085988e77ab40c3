//! Gateway API's routes: to what they are attached, which match comes first, what they become on the
//! wire, and what is said of them.

mod attach;
mod lints;
mod order;
mod rules;
mod status;

use heddle_proto::mesh::{Destination, HttpRule, string_match};

use super::*;
use crate::model::testing::model;

/// Services `echo`, `v1` and `v2` in `shop`, and a namespace of consumers without any.
const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  clusterIP: 10.0.1.1
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: http-alt, port: 8080}, {name: rpc, port: 7070}]
---
apiVersion: v1
kind: Service
metadata: {name: v1, namespace: shop}
spec:
  clusterIP: 10.0.1.2
  selector: {app: echo, version: v1}
  ports: [{name: http, port: 80, targetPort: 8080}, {port: 8080}, {name: grpc-x, port: 7070}]
---
apiVersion: v1
kind: Service
metadata: {name: v2, namespace: shop}
spec:
  clusterIP: 10.0.1.3
  selector: {app: echo, version: v2}
  ports: [{name: http, port: 80, targetPort: 8080}, {port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec:
  clusterIP: None
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec:
  type: ExternalName
  externalName: away.example.com
";

/// A route of a kind, in a namespace, attached to a parent (a flow mapping), with more of its spec.
fn route(kind: &str, name: &str, parent: &str, rest: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  parentRefs: [{{group: '', kind: Service, {parent}}}]\n{rest}"
    )
}

fn http(name: &str, parent: &str, rest: &str) -> String {
    route("HTTPRoute", name, parent, rest)
}

/// A rule that sends to one service's port 80.
fn rule_to(matches: &str, to: &str) -> String {
    format!("  - matches: [{matches}]\n    backendRefs: [{{name: {to}, port: 80}}]\n")
}

fn with(documents: &[String]) -> Model {
    model(&format!("{SERVICES}{}", documents.concat()))
}

fn rules(model: &Model, service: &str, namespace: &str) -> Vec<HttpRule> {
    routes(model, service, &client(namespace)).http
}

/// Who gets requests of a rule: names of services with their weights, or why nobody.
fn shares(rule: &HttpRule) -> Vec<(String, u32)> {
    let share = |to: &Destination| match to.invalid.as_str() {
        "" => (to.service.clone(), to.weight),
        why => (format!("!{why}"), to.weight),
    };
    rule.destinations.iter().map(share).collect()
}

/// What a rule matches first: path, or method, or the first header's or parameter's name.
fn first_match(rule: &HttpRule) -> String {
    let one = &rule.matches[0];
    let path = one.path.as_ref().and_then(|path| path.kind.clone());
    match path {
        Some(string_match::Kind::Exact(path)) => format!("={path}"),
        Some(string_match::Kind::Prefix(path)) => format!("^{path}"),
        Some(string_match::Kind::Regex(path)) => format!("~{path}"),
        _ if !one.path_segments.is_empty() => one.path_segments.clone(),
        _ => "*".to_owned(),
    }
}
