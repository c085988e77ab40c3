//! Pods with something wrong in them: every value of a rich pod, before and after injection, is
//! replaced by each of a few others. Whatever comes of it, nothing panics, a patch gives exactly
//! the pod it stands for, and what was injected once stays as it is.

#![allow(clippy::unwrap_used)]

use heddle_injector::json_patch;
use heddle_injector::{Decision, DefaultInject, InjectConfig, PodContext, inject};
use serde_json::{Value, json};

fn rich_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "labels": {"app": "web", "heddle.io/inject": "true"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
                "sidecar.istio.io/proxyCPU": "100m",
                "config.linkerd.io/skip-inbound-ports": "25",
            },
        },
        "spec": {
            "initContainers": [{"name": "first", "image": "i"}],
            "containers": [{
                "name": "app",
                "image": "a",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "A", "value": "b"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http", "httpHeaders": [{"name": "h", "value": "v"}]}},
                "livenessProbe": {"tcpSocket": {"port": 8080}},
                "startupProbe": {"grpc": {"port": 9000}},
                "lifecycle": {"preStop": {"httpGet": {"port": 8080}}},
                "securityContext": {"runAsUser": 5},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "securityContext": {"runAsGroup": 6},
            "terminationGracePeriodSeconds": 9,
        },
    })
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                pointers(
                    value,
                    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}

/// How many mutations were injected.
fn try_all(pod: &Value, config: &InjectConfig) -> usize {
    let replacements = [
        json!(null),
        json!(true),
        json!(-1),
        json!(70_000),
        json!(""),
        json!("$(x)"),
        json!([]),
        json!({}),
        json!([{}]),
        json!([[]]),
    ];
    let context = PodContext::new("shop");
    let mut found = Vec::new();
    pointers(pod, String::new(), &mut found);
    let mut injected = 0;
    for pointer in found {
        for replacement in &replacements {
            let mut mutated = pod.clone();
            *mutated.pointer_mut(&pointer).unwrap() = replacement.clone();
            let Ok(Decision::Inject(first)) = inject(&mutated, &context, config) else {
                continue;
            };
            let mut patched = mutated.clone();
            json_patch::patch(&mut patched, &first.patch).unwrap();
            assert_eq!(patched, first.pod, "{pointer} {replacement}");
            let again = inject(&first.pod, &context, config);
            let Ok(Decision::Inject(again)) = again else {
                panic!("{pointer} {replacement}: {again:?}")
            };
            assert!(
                again.patch.is_empty(),
                "{pointer} {replacement}: {}",
                again.patch
            );
            injected += 1;
        }
    }
    injected
}

#[test]
fn pods() {
    let config = InjectConfig::default();
    assert!(try_all(&rich_pod(), &config) > 100);
}

#[test]
fn pods_that_were_injected() {
    let config = InjectConfig::default();
    let Decision::Inject(injection) =
        inject(&rich_pod(), &PodContext::new("shop"), &config).unwrap()
    else {
        panic!()
    };
    assert!(try_all(&injection.pod, &config) > 100);
}

#[test]
fn pods_that_were_injected_otherwise() {
    let config = InjectConfig::default();
    let other = InjectConfig {
        native_sidecar: false,
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    let Decision::Inject(injection) =
        inject(&rich_pod(), &PodContext::new("shop"), &other).unwrap()
    else {
        panic!()
    };
    assert!(try_all(&injection.pod, &config) > 100);
}
