#![allow(clippy::unwrap_used)]
use super::*;

const MIXED: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: broken
  labels: [unclosed
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: many
---
kind: Service
metadata: {name: no-version}
";

#[test]
fn a_broken_document_leaves_its_neighbours_alone() {
    let (objects, problems) = parse(Path::new("mixed.yaml"), MIXED);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].key, Key::new("Service", "default", "web"));
    assert_eq!(objects[0].at("/metadata/namespace").unwrap(), "default");
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(
        (8..=12).contains(&problems[0].line),
        "{}",
        problems[0].place()
    );
    assert_eq!(
        (
            problems[1].line,
            problems[1].name.as_str(),
            problems[1].namespace.as_str()
        ),
        (17, "web", "shop")
    );
    assert_eq!(problems[2].reason, "the document has no apiVersion");
    assert_eq!(problems[2].line, 19);
}

#[test]
fn a_list_is_its_items() {
    let text = "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: a}}, \
                    {apiVersion: v1, kind: ServiceAccount, metadata: {name: b, namespace: a}}]}";
    let (objects, problems) = parse(Path::new("list.json"), text);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(
        objects
            .iter()
            .map(|o| o.key.to_string())
            .collect::<Vec<_>>(),
        ["namespace/a", "serviceaccount/b in a"]
    );
}

#[test]
fn bad_names_are_refused() {
    for (document, reason) in [
        ("kind: Service, metadata: {name: ../etc}", "is not a name"),
        ("kind: ../../etc, metadata: {name: a}", "is not a kind"),
        (
            "kind: Service, metadata: {name: a, namespace: ../etc}",
            "is not a namespace",
        ),
        (
            "kind: Service, metadata: {name: a, namespace: a.b}",
            "is not a namespace",
        ),
    ] {
        let text = format!("{{apiVersion: v1, {document}}}");
        let (objects, problems) = parse(Path::new("x"), &text);
        assert!(objects.is_empty());
        assert!(problems[0].reason.contains(reason), "{problems:?}");
    }
}

/// Both readers of a file are one, and that one reads what Kubernetes does.
#[test]
fn scalars_without_quotes_are_what_kubernetes_reads() {
    for (scalar, read) in [
        ("yes", serde_json::json!(true)),
        ("on", serde_json::json!(true)),
        ("0123", serde_json::json!(83)),
        ("1_000", serde_json::json!(1000)),
        ("~", serde_json::json!(null)),
        ("1.0", serde_json::json!(1)),
        ("v1", serde_json::json!("v1")),
        ("'yes'", serde_json::json!("yes")),
    ] {
        let text = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{on: {scalar}}}}}"
        );
        let (objects, problems) = parse(Path::new("x"), &text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(objects[0].value["data"]["true"], read, "{scalar}");
    }
    for (labels, found) in [("{a: yes}", "`true`"), ("{a: 0123}", "the number 83")] {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {labels}}}\nspec: {{containers: []}}\n"
        );
        let (objects, problems) = parse(Path::new("x"), &text);
        assert!(objects.is_empty());
        assert_eq!((problems[0].line, problems[0].column), (3, 33));
        assert!(problems[0].reason.contains(found), "{problems:?}");
        assert!(
            problems[0]
                .suggestion
                .starts_with("put the value in quotes: `a: \"")
        );
    }
    // Amounts may be numbers.
    let limits = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, resources: {limits: {cpu: 1}}}]}}";
    let (_, problems) = parse(Path::new("x"), limits);
    assert!(problems.is_empty(), "{problems:?}");
}

/// An item of a List is told where it stands.
#[test]
fn a_mistake_in_a_list_has_its_line() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: a}\n  spec: {replicas: many}\n";
    let (_, problems) = parse(Path::new("x"), text);
    assert_eq!(
        (problems[0].line, problems[0].column),
        (7, 20),
        "{problems:?}"
    );
}
