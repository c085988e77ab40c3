//! What every object of an installation is called and marked with.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use crate::Settings;

pub(crate) type Labels = BTreeMap<String, String>;

/// The namespaces that no webhook of ours concerns, but our own.
pub(crate) const CLUSTER_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

pub(crate) fn map<const N: usize>(entries: [(&str, &str); N]) -> Labels {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What a part's pods are chosen by; it never changes.
pub(crate) fn chosen(part: &str) -> Labels {
    map([
        ("app.kubernetes.io/name", part),
        ("app.kubernetes.io/part-of", "heddle"),
    ])
}

pub(crate) fn selector(part: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(chosen(part)),
        ..LabelSelector::default()
    }
}

/// Of an object of a part, in our namespace.
pub(crate) fn local(settings: &Settings, name: &str, part: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(settings.namespace.clone()),
        ..cluster(settings, name, part)
    }
}

/// Of an object of a part, of the whole cluster.
pub(crate) fn cluster(settings: &Settings, name: &str, part: &str) -> ObjectMeta {
    let mut labels = chosen(part);
    labels.insert(
        "app.kubernetes.io/version".into(),
        settings.image_tag.clone(),
    );
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// Our namespace: its pods are as restricted as the standard knows, and never injected.
pub(crate) fn namespace(settings: &Settings) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(settings.namespace.clone()),
            labels: Some(map([
                ("app.kubernetes.io/part-of", "heddle"),
                ("heddle.io/inject", "disabled"),
                ("pod-security.kubernetes.io/enforce", "restricted"),
                ("pod-security.kubernetes.io/warn", "restricted"),
            ])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
