#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::resources::at::{At, Unsupported};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Route {
    host: At<String>,
    #[serde(default)]
    weight: u32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    mirror: Option<Unsupported>,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Strict,
    Permissive,
}

#[derive(Debug, Deserialize)]
struct Spec {
    routes: Vec<Route>,
}

fn read(text: &str) -> Result<Spec, Vec<Problem>> {
    decode(&Node::parse(text, 0).unwrap(), "spec", Unknown::Refuse)
}

fn one(text: &str) -> Problem {
    let mut problems = read(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn values_come_with_their_positions() {
    let spec = read(
        "routes:\n- host: a\n  weight: 5\n  labels: {x: z, date: 2026-01-01}\n  mode: STRICT\n",
    )
    .unwrap();
    let route = &spec.routes[0];
    assert_eq!(
        (
            route.host.as_str(),
            route.host.at.line,
            route.host.at.column
        ),
        ("a", 2, 9)
    );
    assert_eq!(
        (route.weight, route.mode.as_ref()),
        (5, Some(&Mode::Strict))
    );
}

#[test]
fn mistakes_say_path_place_and_remedy() {
    for (text, line, column, reason, suggestion) in [
        (
            "routes:\n- host: a\n  wieght: 5\n",
            3,
            3,
            "unknown field `wieght` in spec.routes[0]",
            "did you mean `weight`?",
        ),
        (
            "routes:\n- host: a\n  weight: ten\n",
            3,
            11,
            "spec.routes[0].weight: expected a whole number, found \"ten\"",
            "",
        ),
        (
            "routes:\n- host: a\n  weight: \"5\"\n",
            3,
            11,
            "spec.routes[0].weight: expected a whole number, found \"5\"",
            "write `weight: 5`",
        ),
        (
            "routes:\n- host: a\n  weight: -5\n",
            3,
            11,
            "spec.routes[0].weight: the number -5 is out of range: expected a whole number",
            "",
        ),
        (
            "routes:\n- weight: 5\n",
            2,
            3,
            "spec.routes[0]: the field `host` is missing",
            "add `host:`",
        ),
        (
            "routes:\n- host: 5\n",
            2,
            9,
            "spec.routes[0].host: expected a string, found the number 5",
            "put the value in quotes: `host: \"5\"`",
        ),
        (
            "routes:\n- host: a\n  labels: {v: 1.10}\n",
            3,
            15,
            "spec.routes[0].labels[\"v\"]: expected a string, found the number 1.1",
            "put the value in quotes: `v: \"1.10\"`",
        ),
        (
            "routes:\n- host: a\n  mode: STRIKT\n",
            3,
            9,
            "spec.routes[0].mode: unknown value `STRIKT`",
            "did you mean `STRICT`?",
        ),
        (
            "routes: 5\n",
            1,
            9,
            "spec.routes: expected a list, found the number 5",
            "",
        ),
        (
            "routes:\n- host: a\n  mirror: {host: b}\n",
            3,
            11,
            "spec.routes[0].mirror is not supported yet",
            "take the field out; it would otherwise have no effect",
        ),
    ] {
        let problem = one(text);
        assert_eq!(
            (problem.at.line, problem.at.column),
            (line, column),
            "{text}"
        );
        assert_eq!(
            (problem.reason.as_str(), problem.suggestion.as_str()),
            (reason, suggestion),
            "{text}"
        );
    }
}

/// What Kubernetes would not take for a text is none here, and is a number or a truth where it would be.
#[test]
fn scalars_without_quotes_are_what_kubernetes_reads() {
    for (scalar, found) in [
        ("yes", "`true`"),
        ("on", "`true`"),
        ("N", "`false`"),
        ("0123", "the number 83"),
        ("1_000", "the number 1000"),
        ("1e3", "the number 1000"),
    ] {
        let problem = one(&format!("routes:\n- host: {scalar}\n"));
        assert_eq!(
            (problem.reason, problem.suggestion),
            (
                format!("spec.routes[0].host: expected a string, found {found}"),
                format!("put the value in quotes: `host: \"{scalar}\"`")
            )
        );
        let quoted = read(&format!("routes:\n- host: '{scalar}'\n")).unwrap();
        assert_eq!(quoted.routes[0].host.as_str(), scalar);
    }
    for (scalar, weight) in [("0123", 83), ("1_000", 1000), ("0x10", 16), ("5.0", 5)] {
        let spec = read(&format!("routes:\n- host: a\n  weight: {scalar}\n")).unwrap();
        assert_eq!(spec.routes[0].weight, weight);
    }
    let problem = one("routes:\n- host: a\n  labels: {on: a}\n");
    assert_eq!(
        (problem.at.column, problem.reason.as_str()),
        (
            12,
            "spec.routes[0].labels: without quotes the key `on` is `true`"
        )
    );
}

#[test]
fn every_unknown_field_is_told() {
    let problems = read("routes:\n- host: a\n  wieght: 5\n  mirror: {}\nx: 1\n").unwrap_err();
    assert_eq!(problems.len(), 3);
}

#[test]
fn lenient_reading_skips_what_it_does_not_know() {
    let node = Node::parse("routes:\n- host: a\n  other: [1, {x: y}]\n", 0).unwrap();
    assert!(decode::<Spec>(&node, "spec", Unknown::Skip).is_ok());
}

#[test]
fn fields_with_another_that_does_it_name_that_one() {
    let path = "spec.trafficPolicy.outlierDetection.consecutiveErrors";
    assert_eq!(super::instead(path), "write `consecutive5xxErrors`");
    assert!(super::instead("spec.trafficPolicy.tls.credentialName").contains("caCertificates"));
    assert!(super::instead("spec.tunnel").starts_with("take the field out"));
}
