use serde_json::json;

use super::*;

#[test]
fn each_kind_has_its_columns() {
    let objects = [
        json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {"type": "ClusterIP", "clusterIP": "10.65.1.0", "ports": [{"port": 80, "protocol": "TCP"}]}}),
        json!({"kind": "VirtualService", "metadata": {"name": "r"}, "spec": {"hosts": ["reviews"], "http": [{}, {}]}}),
        json!({"kind": "HTTPRoute", "metadata": {"name": "h"}, "spec": {"parentRefs": [{"name": "web"}], "rules": [{}]},
            "status": {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]}}),
    ];
    let shown = tables(&objects, false, true);
    assert!(
        shown.contains("service/web   ClusterIP   10.65.1.0    80/TCP"),
        "{shown}"
    );
    assert!(shown.contains("virtualservice/r   reviews   2"), "{shown}");
    assert!(
        shown.contains("httproute/h   web       1       True"),
        "{shown}"
    );
}

#[test]
fn unknown_kinds_are_told() {
    assert!(kinds("pods,svc").is_ok_and(|kinds| kinds.len() == 2));
    assert!(kinds("pudding").is_err_and(|failure| {
        failure
            .render(Style::PLAIN)
            .contains("`pudding` is not a kind")
    }));
}
