#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use super::*;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, version: v1}}
    spec: {containers: [{name: cart, image: cart}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
";

fn routes(subset: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart}}
spec:
  hosts: [cart]
  http:
  - route:
    - destination:
        host: cart
        subset: {subset}   # the new one
"
    )
}

fn problems(text: &str) -> (Vec<Problem>, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, text).unwrap();
    let picture = picture::of(std::slice::from_ref(&file)).unwrap();
    (picture.problems, file, dir)
}

#[test]
fn good_manifests_have_only_what_is_likely_to_be_a_mistake() {
    let (found, ..) = problems(&(SHOP.to_owned() + &routes("v1")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].is_warning() && found[0].reason.contains("selects no pod"));
    assert_eq!(found[0].line, 22);
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let (found, file, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    let wrong: Vec<_> = found
        .iter()
        .filter(|problem| !problem.is_warning())
        .collect();
    assert_eq!(wrong.len(), 1, "{found:?}");
    let text = render(wrong[0], &mut Sources::default(), Style::PLAIN);
    let place = format!("  --> {}:34:17\n", file.display());
    let lines = "  34 |         subset: v9   # the new one\n     |                 ^^\n";
    assert!(text.contains(&place) && text.contains(lines), "{text}");
    assert!(text.starts_with("error[HDL0104]: virtualservice/cart: ") && text.contains("try: "));
}

#[test]
fn what_both_readers_find_is_said_once() {
    let (found, ..) = problems("apiVersion: v1\nkind: Service\nmetadata: {name: [}\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let made = picture::Directory::new().unwrap();
    let path = made.0.clone();
    assert!(path.exists());
    drop(made);
    assert!(!path.exists());
}

#[test]
fn what_is_marked_ends_before_a_comment() {
    assert_eq!(underline("  a: bc # d", 6), "     ^^");
    assert_eq!(underline("\ta: b", 5), "\t   ^");
    assert_eq!(underline("short", 40), "     ^");
}
