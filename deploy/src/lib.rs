//! What a cluster needs to run the mesh: objects of the Kubernetes API, made from [`Settings`] alone, so
//! that the same settings give the same text. `heddle install` prints them; the Helm chart in `chart/`
//! is made of them ([`chart`]).
//!
//! Nothing here can stop a cluster: webhooks concern namespaces and pods that ask for the mesh, never
//! the cluster's own nor ours; the validating one fails open.

pub mod chart;
mod crds;
mod labels;
mod network;
mod parts;
mod pod;
mod rbac;
mod settings;
mod webhooks;
mod yaml;

use serde::Serialize;
use serde_json::Value;

pub use self::{
    settings::{Settings, SettingsError, TokenCheck, keys},
    yaml::yaml,
};

/// The oldest Kubernetes that this runs on: native sidecars are on by default since 1.29, and
/// `matchConditions` since 1.28.
pub const OLDEST_KUBERNETES: (u32, u32) = (1, 29);

/// Every object, in the order in which they are applied.
pub fn manifests(settings: &Settings) -> Vec<Value> {
    let mut objects = vec![object(&labels::namespace(settings))];
    if settings.crds {
        objects.extend(definitions());
    }
    objects.extend(without_namespace(settings));
    objects
}

/// The CustomResourceDefinitions of the Istio kinds that are read. Gateway API's are upstream's.
pub fn definitions() -> Vec<Value> {
    crds::definitions().iter().map(object).collect()
}

/// What is in the namespace, and what the cluster knows of it: all but the namespace and the
/// CustomResourceDefinitions.
pub(crate) fn without_namespace(settings: &Settings) -> Vec<Value> {
    let mut objects = Vec::new();
    objects.extend(parts::accounts(settings).iter().map(object));
    objects.extend(rbac::cluster_roles(settings).iter().map(object));
    objects.extend(rbac::cluster_role_bindings(settings).iter().map(object));
    objects.extend(rbac::roles(settings).iter().map(object));
    objects.extend(rbac::role_bindings(settings).iter().map(object));
    objects.push(object(&parts::injection(settings)));
    objects.extend(parts::services(settings).iter().map(object));
    objects.extend(parts::deployments(settings).iter().map(object));
    objects.extend(parts::budgets(settings).iter().map(object));
    if settings.network_policies {
        objects.extend(network::policies(settings).iter().map(object));
    }
    objects.push(object(&webhooks::mutating(settings)));
    objects.push(object(&webhooks::validating(settings)));
    objects
}

/// What to delete, in the order that leaves nothing hanging: webhooks before what answers them, the
/// Lease when nobody may make it again, the namespace last. The root's Secret, and the namespace that
/// holds it, stay unless it is a `purge`.
pub fn removals(settings: &Settings, purge: bool) -> Vec<Value> {
    let mut objects: Vec<Value> = without_namespace(settings);
    objects.reverse();
    objects.push(object(&parts::lease(settings)));
    if purge {
        objects.push(object(&parts::root_secret(settings)));
        objects.push(object(&labels::namespace(settings)));
    }
    objects.iter().map(reference).collect()
}

/// Enough of an object to delete it by.
fn reference(object: &Value) -> Value {
    let mut metadata = serde_json::Map::new();
    for key in ["name", "namespace"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata.insert(key.into(), value.clone());
        }
    }
    serde_json::json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata,
    })
}

/// As the API takes it.
fn object<T: Serialize>(typed: &T) -> Value {
    // Types of k8s-openapi are maps, lists and scalars with text keys.
    let mut value = serde_json::to_value(typed).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    value
}
