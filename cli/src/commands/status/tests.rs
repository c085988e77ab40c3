use super::*;
use crate::api::Nack;
use crate::manifests::Problem;

fn status() -> Status {
    let pod = Pod {
        namespace: "default".into(),
        name: "web-5d8-x2k9q".into(),
        phase: "Running".into(),
        ready: true,
        injected: true,
        identity: Some("spiffe://cluster.local/ns/default/sa/web".into()),
        config_synced: Some(true),
        ..Pod::default()
    };
    let broken = Pod {
        ready: false,
        name: "db-0".into(),
        identity: None,
        config_synced: None,
        phase: "Pending".into(),
        reason: Some("container app: exit code 1".into()),
        nacks: vec![Nack {
            resource: "RouteTable".into(),
            name: "default/web".into(),
            reason: "bad regex".into(),
        }],
        ..pod.clone()
    };
    let problem = Problem {
        kind: "VirtualService".into(),
        namespace: "default".into(),
        name: "reviews".into(),
        file: "r.yaml".into(),
        line: 12,
        column: 7,
        end_line: 0,
        end_column: 0,
        code: "HDL0104".into(),
        severity: "error".into(),
        reason: "subset v9 is not defined".into(),
        suggestion: "did you mean v2?".into(),
        consequence: "it is refused".into(),
    };
    Status {
        mesh: "default".into(),
        pods: vec![pod, broken],
        refused: vec![problem],
        ..Status::default()
    }
}

#[test]
fn refusals_are_prominent() {
    let shown = render(&status(), Style::PLAIN);
    for line in [
        "mesh default  not ready  1 of 2 pods ready",
        "ns/default/sa/web",
        "  db-0: container app: exit code 1",
        "REFUSED (1)\n  virtualservice/reviews  r.yaml:12:7\n    subset v9 is not defined\n    it is refused\n    try: did you mean v2?",
        "REFUSED BY A SIDECAR (1)\n  db-0  RouteTable default/web\n    bad regex",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
}

#[test]
fn nothing_refused_says_nothing() {
    let quiet = Status {
        ready: true,
        ..Status::default()
    };
    assert!(!render(&quiet, Style::PLAIN).contains("REFUSED"));
}
