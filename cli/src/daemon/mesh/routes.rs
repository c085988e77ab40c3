//! Gateway API's routes as people get them: with the status that the control plane tells of each.

use heddle_proto::admin::RouteStatus;
use serde_json::Value;

/// Whether the control plane says something of such an object.
pub(super) fn has_status(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("HTTPRoute" | "GRPCRoute"))
}

/// Puts what is known in the place of what was written.
pub(super) fn put_statuses(objects: &mut [Value], statuses: &[RouteStatus]) {
    for object in objects.iter_mut().filter(|object| has_status(object)) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = text("/metadata/namespace").unwrap_or("default");
        let known = statuses.iter().find(|known| {
            kind == Some(&known.kind) && name == Some(&known.name) && namespace == known.namespace
        });
        let status = known.and_then(|known| serde_json::from_str(&known.status).ok());
        if let (Some(status), Some(fields)) = (status, object.as_object_mut()) {
            fields.insert("status".to_owned(), status);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_put_on_its_route_alone() {
        let route = |kind: &str, namespace: &str| json!({"kind": kind, "metadata": {"name": "r", "namespace": namespace}});
        let mut objects = [
            route("HTTPRoute", "a"),
            route("GRPCRoute", "a"),
            route("HTTPRoute", "b"),
            route("Service", "a"),
        ];
        let told = RouteStatus {
            kind: "HTTPRoute".into(),
            namespace: "a".into(),
            name: "r".into(),
            status: r#"{"parents":[]}"#.into(),
        };
        put_statuses(&mut objects, &[told]);
        let with: Vec<bool> = objects
            .iter()
            .map(|object| object["status"].is_object())
            .collect();
        assert_eq!(with, [true, false, false, false]);
    }
}
