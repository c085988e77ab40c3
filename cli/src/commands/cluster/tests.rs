//! The checks against the double of the API server: a cluster without the mesh, with one that works, and
//! with each thing that goes wrong.
#![allow(clippy::unwrap_used)]

use heddle_apiserver::{ApiServer, Options};
use heddle_deploy::{Settings, manifests};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::*;

async fn cluster(api: &ApiServer, token: &str) -> Cluster {
    let kubeconfig = Kubeconfig::from_yaml(&api.kubeconfig(token, None)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Cluster::of(config.unwrap(), "heddle-system").unwrap()
}

async fn looked(api: &ApiServer) -> Report {
    look(&cluster(api, &api.admin_token()).await).await.unwrap()
}

fn codes(report: &Report) -> Vec<(String, Severity)> {
    report
        .findings
        .iter()
        .map(|one| (one.code.to_string(), one.severity))
        .collect()
}

fn has(report: &Report, code: &str, severity: Severity, words: &str) {
    let found = report.findings.iter().any(|one| {
        one.code.to_string() == code
            && one.severity == severity
            && format!("{}: {}", one.subject, one.reason).contains(words)
    });
    assert!(found, "{code} {words}: {:#?}", report.findings);
}

#[tokio::test]
async fn before_an_installation_it_says_what_is_missing_and_what_is_allowed() {
    let api = ApiServer::start(Options {
        rbac: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let report = looked(&api).await;
    assert!(!report.installed);
    assert_eq!(report.errors, 0, "{:#?}", report.findings);
    has(&report, "HDL0910", Severity::Note, "not installed");
    has(
        &report,
        "HDL0904",
        Severity::Warning,
        "virtualservices.networking.istio.io",
    );
    has(&report, "HDL0905", Severity::Note, "httproutes");

    let nobody = api.account_token("default", "nobody");
    let report = look(&cluster(&api, &nobody).await).await.unwrap();
    has(&report, "HDL0903", Severity::Error, "create clusterroles");
}

/// Installed as its controllers would leave it.
async fn installed() -> ApiServer {
    let api = ApiServer::start(Options::default()).await.unwrap();
    for mut object in manifests(&Settings::default()) {
        match object["kind"].as_str().unwrap() {
            "Deployment" => {
                object["status"] = json!({"replicas": 2, "readyReplicas": 2});
            }
            // Nobody answers them here: it is the configurations that are looked at.
            kind if kind.ends_with("WebhookConfiguration") => {
                for webhook in object["webhooks"].as_array_mut().unwrap() {
                    webhook["clientConfig"]["caBundle"] = "cm9vdHM=".into();
                }
            }
            _ => {}
        }
        api.put(object).await.unwrap();
    }
    for namespace in ["default", "kube-system", "heddle-system"] {
        bundle(&api, namespace, "roots").await;
    }
    api
}

async fn bundle(api: &ApiServer, namespace: &str, text: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"root-cert.pem": text},
        "metadata": {"name": "heddle-trust-bundle", "namespace": namespace},
    });
    api.put(map).await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_nobody_answers_is_found_by_a_pod_that_is_not_kept() {
    let api = installed().await;
    let report = looked(&api).await;
    assert!(report.installed);
    assert_eq!(
        codes(&report)[0],
        ("HDL0924".to_owned(), Severity::Error),
        "{:#?}",
        report.findings
    );
    assert_eq!(report.errors, 1, "{:#?}", report.findings);
    assert!(api.objects("pods").is_empty());
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_found() {
    let api = installed().await;
    let said = "pods: not allowed\nsidecars.networking.istio.io: not in force";
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "heddle-control", "namespace": "heddle-system",
                     "annotations": {"heddle.io/not-read": said}},
    });
    api.put(lease).await.unwrap();
    api.delete("deployments.apps", "heddle-system", "heddle-control")
        .await;
    let mut identity = api
        .object("deployments.apps", "heddle-system", "heddle-identity")
        .unwrap();
    identity["status"] = json!({"replicas": 2, "readyReplicas": 1});
    identity["spec"]["template"]["spec"]["containers"][0]["image"] = "heddle/identity:0.0.9".into();
    api.put(identity).await.unwrap();
    let mut injector = api
        .object("deployments.apps", "heddle-system", "heddle-injector")
        .unwrap();
    injector["status"] = json!({"replicas": 2, "readyReplicas": 0, "conditions": [
        {"type": "Available", "status": "False", "message": "no node has room"},
    ]});
    api.put(injector).await.unwrap();
    api.delete(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "",
        "heddle-control-heddle-system",
    )
    .await;
    let name = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    let mut webhook: Value = api
        .object(name, "", "heddle-injector-heddle-system")
        .unwrap();
    webhook["webhooks"][0]["clientConfig"]
        .as_object_mut()
        .unwrap()
        .remove("caBundle");
    api.put(webhook).await.unwrap();
    bundle(&api, "default", "old roots").await;
    // What a former version left; and another mesh's, of the same kind.
    for (kind, name, namespace) in [
        (
            "MutatingWebhookConfiguration",
            "heddle-injector",
            "heddle-system",
        ),
        ("ValidatingWebhookConfiguration", "heddle-control", "other"),
    ] {
        let webhook = json!({
            "name": "former.heddle.io", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "heddle-injector", "namespace": namespace}},
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [webhook],
        });
        api.put(configuration).await.unwrap();
    }

    let report = looked(&api).await;
    has(&report, "HDL0911", Severity::Error, "heddle-control");
    has(&report, "HDL0912", Severity::Warning, "1 of 2 replicas");
    has(&report, "HDL0912", Severity::Error, "no node has room");
    has(&report, "HDL0913", Severity::Warning, "0.0.9");
    has(
        &report,
        "HDL0921",
        Severity::Warning,
        "heddle-control-heddle-system: is not configured",
    );
    has(&report, "HDL0922", Severity::Error, "no caBundle");
    has(&report, "HDL0926", Severity::Warning, "old in default");
    let former: Vec<_> = report
        .findings
        .iter()
        .filter(|one| one.code.to_string() == "HDL0927")
        .map(|one| one.suggestion.as_str())
        .collect();
    assert_eq!(
        former,
        ["kubectl delete mutatingwebhookconfiguration/heddle-injector"]
    );
    for line in said.lines() {
        has(&report, "HDL0914", Severity::Error, line);
    }
}

#[tokio::test]
async fn what_a_control_plane_that_starts_would_wait_for_is_found_before_it_starts() {
    let api = ApiServer::start(Options {
        rbac: true,
        ..Options::default()
    })
    .await
    .unwrap();
    api.install(&heddle_apiserver::istio()).await;
    for mut object in manifests(&Settings::default()) {
        match object["kind"].as_str().unwrap() {
            "ClusterRole" if object["metadata"]["name"] == "heddle-control-heddle-system" => {
                let rules = object["rules"].as_array_mut().unwrap();
                rules.retain(|rule| rule["apiGroups"] != json!(["security.istio.io"]));
            }
            // One is waited for, and the former two stay.
            "Deployment" => {
                object["status"] = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1,
                                          "unavailableReplicas": 1});
            }
            kind if kind.ends_with("WebhookConfiguration") => continue,
            _ => {}
        }
        api.put(object).await.unwrap();
    }
    let report = looked(&api).await;
    let unread: Vec<_> = report
        .findings
        .iter()
        .filter(|one| one.code.to_string() == "HDL0914")
        .collect();
    assert_eq!(unread.len(), 1, "{:#?}", report.findings);
    assert!(
        unread[0].severity == Severity::Error
            && unread[0]
                .reason
                .contains("peerauthentications.security.istio.io")
            && unread[0].suggestion.contains(
                "heddle-control-heddle-system: {apiGroups: [\"security.istio.io\"], \
                 resources: [peerauthentications], verbs: [list, watch]}"
            ),
        "{unread:?}"
    );
    has(
        &report,
        "HDL0912",
        Severity::Warning,
        "2 of 2 replicas are ready, 1 of a new version not yet",
    );
}

#[tokio::test]
async fn pods_with_another_sidecar_than_new_ones_get_are_stale() {
    let api = installed().await;
    for (name, version, revision) in [
        ("new", "1.0", "default"),
        ("old", "0.9", "default"),
        ("other", "1.0", "canary"),
    ] {
        let status = json!({"version": version, "revision": revision}).to_string();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": {"heddle.io/status": status}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        api.put(pod).await.unwrap();
    }
    let cluster = cluster(&api, &api.admin_token()).await;
    let mut findings = Vec::new();
    let current = serde_json::from_value(json!({"version": "1.0", "revision": "default"})).unwrap();
    pods::stale(&cluster, Some(current), &mut findings).await;
    let said: Vec<_> = findings.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("old have a sidecar of version 0.9"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("other have") && said[1].contains("canary"),
        "{said:?}"
    );
}

#[tokio::test]
async fn pods_that_ask_for_the_mesh_and_have_no_sidecar_are_found_with_the_reason() {
    let api = installed().await;
    let namespace = |name: &str, metadata: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        object["metadata"]["name"] = name.into();
        object
    };
    let pod = |namespace: &str, name: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        object
    };
    // The webhooks of this cluster answer nobody, so these pods are there before them.
    let configurations = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    for object in api.objects(configurations) {
        let name = object["metadata"]["name"].as_str().unwrap();
        api.delete(configurations, "", name).await;
    }
    let mut injected = pod("shop", "injected", json!({}));
    injected["metadata"]["annotations"] = json!({"heddle.io/status": "{}"});
    for object in [
        namespace("shop", json!({"labels": {"istio-injection": "enabled"}})),
        namespace(
            "old",
            json!({"annotations": {"linkerd.io/inject": "enabled"}}),
        ),
        namespace("quiet", json!({})),
        pod("shop", "early", json!({})),
        pod("shop", "later", json!({})),
        pod("shop", "node", json!({"hostNetwork": true})),
        pod("old", "web", json!({})),
        pod("quiet", "web", json!({})),
        pod("quiet", "node", json!({"hostNetwork": true})),
        injected,
    ] {
        api.put(object).await.unwrap();
    }
    let cluster = cluster(&api, &api.admin_token()).await;
    let mut findings = Vec::new();
    missing::look(&cluster, &mut findings).await;
    let said: Vec<_> = findings
        .iter()
        .map(|one| (one.severity, one.subject.as_str(), one.reason.as_str()))
        .collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].1 == "pods in old" && said[0].2.starts_with("no sidecar in web: "));
    assert!(
        said[1].0 == Severity::Note && said[1].2.contains("in node: hostNetwork"),
        "{said:#?}"
    );
    assert!(
        said[2].0 == Severity::Warning && said[2].2.starts_with("no sidecar in early, later: "),
        "{said:#?}"
    );
}
