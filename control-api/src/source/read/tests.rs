#![allow(clippy::unwrap_used)]
mod networking;

use super::*;
use crate::source::document::split;

fn items(file: &str) -> Vec<Item> {
    let path: Arc<Path> = Path::new("x.yaml").into();
    let mut interner = Interner::default();
    split(file)
        .iter()
        .flat_map(|document| read(document, Some(&path), &mut interner))
        .collect()
}

fn refusals(file: &str) -> Vec<Refusal> {
    items(file)
        .into_iter()
        .flat_map(|item| match item {
            Item::Bad { refusals, .. } => refusals,
            Item::Good(_) => Vec::new(),
        })
        .collect()
}

const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: r
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
";

#[test]
fn the_examples_are_read_whole() {
    let networking = items(include_str!("../../../testdata/networking.yaml"));
    assert!(
        networking.iter().all(|item| matches!(item, Item::Good(_))),
        "{networking:?}"
    );
    let reviews = include_str!("../../../testdata/reviews.yaml");
    let items = items(reviews);
    assert_eq!(items.len(), 2);
    assert!(
        items.iter().all(|item| matches!(item, Item::Good(_))),
        "{items:?}"
    );
}

#[test]
fn foreign_kinds_are_passed_over() {
    let file = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [1]}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: y}\n---\n\
        apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n\
        apiVersion: gateway.solo.io/v1\nkind: VirtualService\nmetadata: {name: a}\n---\nreplicas: 3\n---\n- a\n- b\n";
    assert_eq!(refusals(file), []);
    assert!(items(file).is_empty());
}

#[test]
fn mistakes_have_name_place_and_reason() {
    let cases: Vec<(String, u32, u32, &str, &str)> = vec![
        (
            ROUTE.replace("  http:", "  htpp:"),
            7,
            3,
            "unknown field `htpp` in spec",
            "did you mean `http`?",
        ),
        (
            ROUTE.replace("  - route:", "  - delegate: {name: b}\n    route:"),
            8,
            15,
            "spec.http[0].delegate: the delegate says where requests go",
            "",
        ),
        (
            ROUTE.replace("spec:", "spce:"),
            5,
            1,
            "unknown field `spce`",
            "did you mean `spec`?",
        ),
        (
            ROUTE.replace("  name: r", "  nmae: r"),
            4,
            3,
            "unknown field `nmae` in metadata",
            "did you mean `name`?",
        ),
        (
            ROUTE.replace("io/v1", "io/v2"),
            1,
            13,
            "unknown apiVersion \"networking.istio.io/v2\" of VirtualService",
            "",
        ),
        (
            ROUTE.replace("istio.io", "isto.io"),
            1,
            13,
            "unknown apiVersion",
            "write `apiVersion: networking.istio.io/v1`",
        ),
        (
            ROUTE.replace("networking.istio.io", "networking.k8s.io"),
            1,
            13,
            "unknown apiVersion",
            "write `apiVersion: networking.istio.io/v1`",
        ),
        (
            ROUTE.replace("networking.istio.io/", ""),
            1,
            13,
            "unknown apiVersion",
            "write `apiVersion: networking.istio.io/v1`",
        ),
        (
            ROUTE.replace("VirtualService", "VirtualServcie"),
            2,
            7,
            "unknown kind `VirtualServcie` of networking.istio.io",
            "did you mean `VirtualService`?",
        ),
        (
            ROUTE.replace("VirtualService", "EnvoyFilter"),
            2,
            7,
            "kind EnvoyFilter of networking.istio.io is not supported yet",
            "",
        ),
        (
            ROUTE.replace("reviews]", "reviews"),
            7,
            1,
            "not valid YAML",
            "",
        ),
        (
            ROUTE.replace("kind: VirtualService\n", ""),
            1,
            1,
            "the field `kind` is missing",
            "",
        ),
        (
            ROUTE.replace("{host: reviews}", "{subset: v1}"),
            9,
            20,
            "spec.http[0].route[0].destination: the field `host` is missing",
            "add `host:`",
        ),
    ];
    for (file, line, column, reason, suggestion) in cases {
        let found = refusals(&file);
        let first = found
            .first()
            .unwrap_or_else(|| panic!("nothing found in {file}"));
        assert_eq!(first.file, "x.yaml");
        assert!(first.reason.contains(reason), "{first}\n{file}");
        assert!(first.suggestion.contains(suggestion), "{first}");
        let at = (first.at.line, first.at.column);
        assert!(
            at == (line, column) || reason.contains("not valid") && first.at.line >= 6,
            "{first}\n{file}"
        );
    }
}

#[test]
fn semantic_slips_of_one_document_are_found() {
    for (from, to, reason) in [
        ("{host: reviews}", "{host: \"a b\"}", "is no host name"),
        (
            "    - destination: {host: reviews}\n",
            "    - destination: {host: a}\n      weight: 0\n    - destination: {host: b}\n      weight: 0\n",
            "total 0",
        ),
        (
            "  - route:",
            "  - match: [{uri: {regex: \"(\"}}]\n    route:",
            "does not compile",
        ),
        (
            "  - route:",
            "  - match: [{headers: {\"a b\": {exact: x}}}]\n    route:",
            "no header name",
        ),
        (
            "  - route:",
            "  - retries: {attempts: 2, retryOn: \"5xx,resett\"}\n    route:",
            "unknown condition `resett`",
        ),
        (
            "  - route:",
            "  - timeout: 5\n    route:",
            "expected a duration",
        ),
    ] {
        let file = ROUTE.replace(from, to);
        let found = refusals(&file);
        assert!(
            found
                .iter()
                .any(|refusal| refusal.to_string().contains(reason)),
            "{found:?}\n{file}"
        );
    }
}

#[test]
fn a_broken_document_is_named_and_alone() {
    let file = format!(
        "{ROUTE}---\nkind: VirtualService\nmetadata:\n  name: broken # c\n  namespace: shop\nspec: [\n---\n{ROUTE}"
    );
    let found = items(&file);
    assert_eq!(found.len(), 3);
    let broken = &refusals(&file)[0];
    assert_eq!(
        (
            broken.kind.as_str(),
            broken.namespace.as_str(),
            broken.name.as_str()
        ),
        ("VirtualService", "shop", "broken")
    );
}

#[test]
fn lists_are_opened() {
    let file = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: 80}]}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: {prots: []}\n";
    let found = items(file);
    assert!(
        matches!(&found[..], [Item::Good(_), Item::Bad { key: Some(_), .. }]),
        "{found:?}"
    );
}
