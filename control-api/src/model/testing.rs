//! Models and batches from YAML, for tests.
#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use super::{Client, Model, Settings};
use crate::{
    name::NsName,
    resources::labels::{Interner, Labels},
    source::{
        Batch, Change,
        document::split,
        read::{Item, read},
    },
};

/// The reviews example with its services and pods.
pub(crate) const REVIEWS: &str = include_str!("../../testdata/bookinfo.yaml");

pub(crate) fn name(text: &str) -> NsName {
    NsName::parse(text).unwrap()
}

/// A client without labels.
pub(crate) fn client(namespace: &str) -> Client {
    Client {
        namespace: namespace.into(),
        labels: Labels::default(),
    }
}

/// Everything in `yaml` as changes; panics at what is refused.
pub(crate) fn batch(yaml: &str) -> Batch {
    let path: Arc<Path> = Path::new("test.yaml").into();
    let mut interner = Interner::default();
    let items = split(yaml)
        .iter()
        .flat_map(|document| read(document, Some(&path), &mut interner))
        .collect::<Vec<_>>();
    let changes = items.into_iter().map(|item| match item {
        Item::Good(object) => Change::Upsert(object),
        Item::Bad { refusals, .. } => panic!("{refusals:?}"),
    });
    Batch {
        changes: changes.collect(),
        refusals: Arc::new([]),
        kept: Arc::new([]),
    }
}

/// A model of `yaml`.
pub(crate) fn model(yaml: &str) -> Model {
    let mut model = Model::new(Settings::default());
    model.apply(batch(yaml).changes);
    model
}

/// A ready, meshed pod in `default`, of the service account that is named as its app.
pub(crate) fn pod(name: &str, ip: &str, app: &str, version: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {app}, version: {version}}}
  annotations: {{heddle.io/status: '{{}}'}}
spec:
  serviceAccountName: {app}
  containers:
  - name: app
    ports: [{{containerPort: 9080}}]
status:
  podIP: {ip}
  conditions: [{{type: Ready, status: 'True'}}]
"
    )
}
