//! What an injection costs, in allocations: so that no pod of usual size takes long, and a large one
//! takes no more than its share. (`examples/reviews.rs` measures time.)

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use heddle_injector::webhook::Webhook;
use heddle_injector::{
    Decision, DefaultInject, InjectConfig, NoNamespaceLabels, PodContext, inject,
};
use serde_json::{Value, json};
use tower::ServiceExt;

fn pod(containers: usize) -> Value {
    let containers: Vec<_> = (0..containers)
        .map(|index| {
            json!({
                "name": format!("app-{index}"), "image": "registry.example/app:1",
                "env": [{"name": "A", "value": "b"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080 + index}},
            })
        })
        .collect();
    json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"containers": containers}})
}

/// Allocations, and bytes at the highest.
fn cost(pod: &Value) -> (u64, u64) {
    let config = InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    let context = PodContext::new("shop");
    let info = allocation_counter::measure(|| {
        let decision = inject(pod, &context, &config).unwrap();
        assert!(matches!(decision, Decision::Inject(_)));
    });
    (info.count_total, info.bytes_max)
}

#[test]
fn a_usual_pod_is_injected_with_few_allocations() {
    cost(&pod(1));
    let (count, bytes) = cost(&pod(3));
    assert!(count < 4_000, "{count}");
    assert!(bytes < 256 * 1024, "{bytes}");
}

#[test]
fn cost_grows_with_the_pod_and_no_faster() {
    cost(&pod(1));
    let (ten, _) = cost(&pod(10));
    let (hundred, bytes) = cost(&pod(100));
    assert!(hundred < ten * 12, "{ten} {hundred}");
    assert!(bytes < 4 * 1024 * 1024, "{bytes}");
}

/// The largest review that is read takes no more than ten times the largest body.
#[test]
fn a_review_made_to_take_memory_takes_little() {
    const MOST: usize = 10 * 3 * 1024 * 1024;
    let objects = vec![json!({"": 0}); 9_900];
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "kind": {"group": "", "kind": "Pod"}, "operation": "CREATE", "namespace": "shop",
            "object": {
                "metadata": {"name": "web", "annotations": {"large": "x".repeat(2 * 1024 * 1024)}},
                "spec": {"containers": [{"name": "app", "unknown": objects}]},
            },
        },
    });
    let body = review.to_string();
    let config = InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut answer = None;
    let info = allocation_counter::measure(|| {
        let request = http::Request::post("/inject").header("content-type", "application/json");
        let request = request.body(axum::body::Body::from(body)).unwrap();
        let router = Webhook::new(config, Arc::new(NoNamespaceLabels)).router();
        answer = Some(runtime.block_on(router.oneshot(request)).unwrap());
    });
    assert_eq!(answer.unwrap().status(), http::StatusCode::OK);
    assert!(info.bytes_max < MOST as u64, "{}", info.bytes_max);
}
