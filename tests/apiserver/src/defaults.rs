//! What the real server adds to objects of its own kinds, as far as it can surprise a strict reader.

use serde_json::{Value, json};

use crate::{kinds::Kind, store::State};

/// Fills in what the writer left out.
pub(crate) fn fill(kind: &Kind, object: &mut Value, state: &State) {
    match kind.resource().as_str() {
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        "services" => service(object, state),
        "pods" => {
            let spec = &mut object["spec"];
            default(spec, "restartPolicy", json!("Always"));
            default(spec, "dnsPolicy", json!("ClusterFirst"));
            default(spec, "schedulerName", json!("default-scheduler"));
            default(spec, "serviceAccountName", json!("default"));
            let account = spec["serviceAccountName"].clone();
            default(spec, "serviceAccount", account);
            default(&mut object["status"], "phase", json!("Pending"));
        }
        _ => {}
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn service(object: &mut Value, state: &State) {
    let spec = &mut object["spec"];
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        default(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        default(port, "targetPort", number);
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    // From 10.96.0.0/16, by the store's version: no two at the same time.
    let free = state.version % 0xffff;
    default(
        spec,
        "clusterIP",
        json!(format!("10.96.{}.{}", free >> 8, free & 0xff)),
    );
    let address = spec["clusterIP"].clone();
    default(spec, "clusterIPs", json!([address]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    object["status"] = json!({"loadBalancer": {}});
}
