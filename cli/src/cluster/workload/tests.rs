#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;
use crate::manifests::parse;

pub(crate) fn workload(yaml: &str) -> Result<Workload, String> {
    let (objects, problems) = parse(Path::new("test.yaml"), yaml);
    assert!(problems.is_empty(), "{problems:?}");
    Workload::read(&objects[0]).map(Option::unwrap)
}

pub(crate) fn deployment(replicas: usize, version: &str, more: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: shop}}, spec: {{replicas: {replicas}, {more} \
         selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web, version: {version}}}}}, \
         spec: {{containers: [{{name: app, command: [sleep, '60']}}]}}}}}}}}"
    )
}

#[test]
fn a_deployment_is_read() {
    let read = workload(&deployment(4, "v1", "")).unwrap();
    assert_eq!(
        (read.replicas, read.style),
        (
            4,
            Style::Rolling {
                surge: 1,
                unavailable: 1
            }
        )
    );
    let name = read.pod_name(|_| false);
    assert!(
        name.starts_with(&format!("web-{}-", read.revision)) && name.len() == 3 + 1 + 10 + 1 + 5,
        "{name}"
    );
    let one = workload(&deployment(1, "v1", "")).unwrap();
    assert_eq!(
        one.style,
        Style::Rolling {
            surge: 1,
            unavailable: 0
        }
    );
    assert_eq!(
        one.revision, read.revision,
        "replicas are not part of a revision"
    );
    assert_ne!(
        one.revision,
        workload(&deployment(1, "v2", "")).unwrap().revision
    );
}

#[test]
fn mistakes_are_named() {
    let error = workload(&deployment(1, "v1", "strategy: {type: Sideways},")).unwrap_err();
    assert!(error.contains("`Sideways`"), "{error}");
    let error =
        workload(&deployment(1, "v1", "").replace("labels: {app: web,", "labels: {app: shop,"))
            .unwrap_err();
    assert!(error.contains("app=\"web\""), "{error}");
    let error =
        workload("{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}")
            .unwrap_err();
    assert!(error.contains("spec.containers"), "{error}");
    assert!(
        workload(&deployment(501, "v1", ""))
            .unwrap_err()
            .contains("501")
    );
}
