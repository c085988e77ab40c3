//! What is printed: every object strictly of its kind, taken by the API server, the same each time, and
//! such that no cluster is locked out.
#![allow(clippy::unwrap_used)]

use heddle_apiserver::{ApiServer, Options};
use heddle_deploy::{Settings, manifests, removals, yaml};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn settings(assignments: &[&str]) -> Settings {
    let mut settings = Settings::default();
    for assignment in assignments {
        settings.set(assignment).unwrap();
    }
    settings
}

/// Nothing in it that its type does not know.
fn is_strictly<T: Serialize + DeserializeOwned>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(&serde_json::to_value(typed).unwrap(), object);
}

fn check_kind(object: &Value) {
    match object["kind"].as_str().unwrap() {
        "Namespace" => is_strictly::<Namespace>(object),
        "CustomResourceDefinition" => is_strictly::<CustomResourceDefinition>(object),
        "ServiceAccount" => is_strictly::<ServiceAccount>(object),
        "ClusterRole" => is_strictly::<ClusterRole>(object),
        "ClusterRoleBinding" => is_strictly::<ClusterRoleBinding>(object),
        "Role" => is_strictly::<Role>(object),
        "RoleBinding" => is_strictly::<RoleBinding>(object),
        "ConfigMap" => is_strictly::<ConfigMap>(object),
        "Service" => is_strictly::<Service>(object),
        "Deployment" => is_strictly::<Deployment>(object),
        "PodDisruptionBudget" => is_strictly::<PodDisruptionBudget>(object),
        "NetworkPolicy" => is_strictly::<NetworkPolicy>(object),
        "MutatingWebhookConfiguration" => is_strictly::<MutatingWebhookConfiguration>(object),
        "ValidatingWebhookConfiguration" => is_strictly::<ValidatingWebhookConfiguration>(object),
        other => panic!("{other} is not known here"),
    }
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

#[test]
fn every_object_is_strictly_of_its_kind_and_reads_back_from_its_text() {
    for assignments in [&[][..], &["ha=true", "caSecret=mesh-ca", "injectAll=true"]] {
        let objects = manifests(&settings(assignments));
        objects.iter().for_each(check_kind);
        let text = yaml(&objects);
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, objects);
        assert_eq!(text, yaml(&manifests(&settings(assignments))));
    }
}

#[tokio::test]
async fn the_api_server_takes_all_of_it_twice_and_lets_it_go() {
    let api = ApiServer::start(Options::default()).await.unwrap();
    let objects = manifests(&Settings::default());
    for _ in 0..2 {
        for object in &objects {
            api.put(object.clone())
                .await
                .unwrap_or_else(|status| panic!("{status}: {object}"));
        }
    }
    let plural = |object: &Value| {
        let kind = object["kind"].as_str().unwrap();
        let group = object["apiVersion"]
            .as_str()
            .unwrap()
            .rsplit_once('/')
            .map(|(group, _)| group);
        let plural = match kind {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            kind => kind.to_lowercase() + "s",
        };
        match group {
            Some(group) => format!("{plural}.{group}"),
            None => plural,
        }
    };
    // As control planes make it, which end without the right to give it back.
    let lease = serde_json::json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "heddle-control", "namespace": "heddle-system"},
    });
    api.put(lease).await.unwrap();
    for reference in removals(&Settings::default(), false) {
        let namespace = reference["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default();
        let name = reference["metadata"]["name"].as_str().unwrap();
        assert!(
            api.delete(&plural(&reference), namespace, name).await,
            "{reference}"
        );
    }
    assert!(api.objects("leases.coordination.k8s.io").is_empty());
    assert!(
        api.object("namespaces", "", "heddle-system").is_some(),
        "the root's Secret is in it"
    );
    assert!(
        api.objects("mutatingwebhookconfigurations.admissionregistration.k8s.io")
            .is_empty()
    );
}

#[test]
fn removing_begins_with_the_webhooks_and_keeps_the_root_unless_told() {
    let kinds = |purge| {
        let removals = removals(&Settings::default(), purge);
        let kinds = removals
            .iter()
            .map(|object| object["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    let kept = kinds(false);
    assert_eq!(kept[0], "ValidatingWebhookConfiguration");
    assert_eq!(kept[1], "MutatingWebhookConfiguration");
    assert!(!kept.contains(&"Secret".to_owned()) && !kept.contains(&"Namespace".to_owned()));
    let purged = kinds(true);
    assert_eq!(purged[purged.len() - 2..], ["Secret", "Namespace"]);
    assert!(
        !purged.contains(&"CustomResourceDefinition".to_owned()),
        "users' routes are in them"
    );
}

#[test]
fn each_mesh_of_a_cluster_has_a_trust_bundle_of_its_own() {
    let bundles = |assignments: &[&str]| -> std::collections::BTreeSet<String> {
        let text = serde_json::to_string(&manifests(&settings(assignments))).unwrap();
        let rest = text.split("heddle-trust-bundle").skip(1);
        let name = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
        rest.map(name).collect()
    };
    assert_eq!(bundles(&[]), [String::new()].into());
    assert_eq!(bundles(&["namespace=mesh"]), ["-mesh".to_owned()].into());
}

#[test]
fn the_control_plane_may_write_its_own_lease_alone() {
    let objects = manifests(&Settings::default());
    let roles = of(&objects, "Role");
    let role = roles
        .iter()
        .find(|role| role["metadata"]["name"] == "heddle-control")
        .unwrap();
    for rule in role["rules"].as_array().unwrap() {
        let verbs: Vec<_> = rule["verbs"].as_array().unwrap().iter().collect();
        // Who creates cannot be asked for a name.
        match verbs.as_slice() {
            [verb] if *verb == "create" => {}
            _ => assert_eq!(rule["resourceNames"], json!(["heddle-control"]), "{rule}"),
        }
    }
}

#[test]
fn webhooks_lock_nobody_out() {
    for assignments in [
        &[][..],
        &["injectAll=true"],
        &["linkerdNamespaces=true"],
        &["istioSwitches=false", "linkerdSwitches=false"],
    ] {
        let objects = manifests(&settings(assignments));
        for webhook in of(&objects, "MutatingWebhookConfiguration")[0]["webhooks"]
            .as_array()
            .unwrap()
        {
            let namespaces = webhook["namespaceSelector"]["matchExpressions"]
                .as_array()
                .unwrap();
            let excluded = namespaces
                .iter()
                .find(|one| one["key"] == "kubernetes.io/metadata.name")
                .unwrap();
            assert_eq!(excluded["operator"], "NotIn");
            for name in [
                "kube-system",
                "kube-public",
                "kube-node-lease",
                "heddle-system",
            ] {
                assert!(
                    excluded["values"]
                        .as_array()
                        .unwrap()
                        .contains(&name.into()),
                    "{name}"
                );
            }
            assert_eq!(webhook["sideEffects"], "None");
            assert!(webhook["timeoutSeconds"].as_i64().unwrap() <= 10);
            if webhook["name"] == "linkerd-namespace.inject.heddle.io" {
                assert_eq!(webhook["failurePolicy"], "Ignore");
            }
        }
        let validating = of(&objects, "ValidatingWebhookConfiguration")[0];
        assert_eq!(validating["webhooks"][0]["failurePolicy"], "Ignore");
    }
}

/// Which of the webhooks the API server would ask about a pod that is made: nobody answers there, and
/// each of them is made to fail closed, so that the first that is asked is named.
async fn asked(
    api: &ApiServer,
    namespace: &str,
    labels: Value,
    annotations: Value,
) -> Option<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    match api.put(pod).await {
        Ok(_) => {
            api.delete("pods", namespace, "web").await;
            None
        }
        Err(status) => {
            let said = status.to_string();
            let name = said.split("failed calling webhook \\\"").nth(1);
            let name = name.or_else(|| said.split("failed calling webhook \"").nth(1));
            let name = name.unwrap_or_else(|| panic!("{said}"));
            Some(name.split('.').next().unwrap().to_owned())
        }
    }
}

async fn installed(assignments: &[&str]) -> ApiServer {
    let api = ApiServer::start(Options::default()).await.unwrap();
    for mut object in manifests(&settings(assignments)) {
        for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["failurePolicy"] = "Fail".into();
        }
        api.put(object).await.unwrap();
    }
    for (name, metadata) in [
        ("silent", json!({})),
        ("ours", json!({"labels": {OURS: "enabled"}})),
        ("odd", json!({"labels": {OURS: "yes"}})),
        ("no", json!({"labels": {OURS: "disabled"}})),
        ("istio", json!({"labels": {"istio-injection": "enabled"}})),
        (
            "istio-no",
            json!({"labels": {"istio-injection": "disabled"}}),
        ),
        (
            "both",
            json!({"labels": {OURS: "enabled", "istio-injection": "enabled"}}),
        ),
        (
            "linkerd",
            json!({"annotations": {"linkerd.io/inject": "enabled"}}),
        ),
    ] {
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        namespace["metadata"]["name"] = name.into();
        api.put(namespace).await.unwrap();
    }
    api
}

const OURS: &str = "heddle.io/inject";
const ISTIO: &str = "sidecar.istio.io/inject";
const LINKERD: &str = "linkerd.io/inject";

#[tokio::test]
async fn a_pod_is_sent_if_it_or_its_namespace_asks() {
    let api = installed(&[]).await;
    for (namespace, labels, annotations, expected) in [
        ("silent", json!({}), json!({}), None),
        ("ours", json!({}), json!({}), Some("namespace")),
        ("ours", json!({OURS: "true"}), json!({}), Some("namespace")),
        ("ours", json!({OURS: "false"}), json!({}), None),
        ("ours", json!({ISTIO: "false"}), json!({}), None),
        ("both", json!({ISTIO: "true"}), json!({}), Some("namespace")),
        ("istio", json!({}), json!({}), Some("istio-namespace")),
        ("istio-no", json!({}), json!({}), None),
        (
            "istio-no",
            json!({ISTIO: "true"}),
            json!({}),
            Some("istio-pod"),
        ),
        ("no", json!({OURS: "true"}), json!({}), Some("pod")),
        ("silent", json!({OURS: "enabled"}), json!({}), Some("pod")),
        (
            "silent",
            json!({OURS: "true", ISTIO: "true"}),
            json!({}),
            Some("pod"),
        ),
        // Words that nobody knows are refused by the injector, with what is allowed.
        ("silent", json!({OURS: "yes"}), json!({}), Some("pod")),
        ("odd", json!({}), json!({}), Some("namespace")),
        ("no", json!({}), json!({}), None),
        (
            "silent",
            json!({}),
            json!({OURS: "true"}),
            Some("annotated-pod"),
        ),
        (
            "silent",
            json!({}),
            json!({ISTIO: "true"}),
            Some("annotated-pod"),
        ),
        (
            "silent",
            json!({}),
            json!({LINKERD: "enabled"}),
            Some("annotated-pod"),
        ),
        (
            "no",
            json!({}),
            json!({LINKERD: "ingress", "other": "x"}),
            Some("annotated-pod"),
        ),
        ("silent", json!({}), json!({LINKERD: "disabled"}), None),
        (
            "silent",
            json!({}),
            json!({ISTIO: "false", "other": "x"}),
            None,
        ),
        (
            "silent",
            json!({OURS: "false"}),
            json!({ISTIO: "true"}),
            None,
        ),
        (
            "ours",
            json!({}),
            json!({ISTIO: "false"}),
            Some("namespace"),
        ),
        // What is documented not to be seen without `linkerdNamespaces`.
        ("linkerd", json!({}), json!({}), None),
    ] {
        let said = format!("{namespace} {labels} {annotations}");
        let asked = asked(&api, namespace, labels, annotations).await;
        assert_eq!(asked.as_deref(), expected, "{said}");
    }
}

#[tokio::test]
async fn more_pods_are_sent_where_that_is_set() {
    let api = installed(&["linkerdNamespaces=true"]).await;
    for (namespace, labels, annotations, expected) in [
        ("linkerd", json!({}), json!({}), Some("linkerd-namespace")),
        (
            "linkerd",
            json!({}),
            json!({"other": "x"}),
            Some("linkerd-namespace"),
        ),
        (
            "linkerd",
            json!({}),
            json!({LINKERD: "enabled"}),
            Some("annotated-pod"),
        ),
        ("linkerd", json!({}), json!({LINKERD: "disabled"}), None),
        ("linkerd", json!({OURS: "false"}), json!({}), None),
        ("ours", json!({}), json!({}), Some("namespace")),
    ] {
        let said = format!("{namespace} {labels} {annotations}");
        let asked = asked(&api, namespace, labels, annotations).await;
        assert_eq!(asked.as_deref(), expected, "{said}");
    }
    let api = installed(&["injectAll=true"]).await;
    assert_eq!(
        asked(&api, "silent", json!({}), json!({})).await.as_deref(),
        Some("all")
    );
    assert_eq!(
        asked(&api, "silent", json!({OURS: "disabled"}), json!({})).await,
        None
    );
}

#[tokio::test]
async fn what_is_said_to_another_mesh_reaches_no_webhook_where_that_is_set() {
    let api = installed(&["istioSwitches=false", "linkerdSwitches=false"]).await;
    for (namespace, labels, annotations, expected) in [
        ("istio", json!({}), json!({}), None),
        ("silent", json!({ISTIO: "true"}), json!({}), None),
        ("silent", json!({}), json!({ISTIO: "true"}), None),
        ("silent", json!({}), json!({LINKERD: "enabled"}), None),
        (
            "ours",
            json!({ISTIO: "false"}),
            json!({}),
            Some("namespace"),
        ),
        ("both", json!({}), json!({}), Some("namespace")),
        ("istio", json!({OURS: "true"}), json!({}), Some("pod")),
        (
            "istio",
            json!({}),
            json!({OURS: "true", LINKERD: "disabled"}),
            Some("annotated-pod"),
        ),
    ] {
        let said = format!("{namespace} {labels} {annotations}");
        let asked = asked(&api, namespace, labels, annotations).await;
        assert_eq!(asked.as_deref(), expected, "{said}");
    }
    let api = installed(&["linkerdSwitches=false"]).await;
    for (annotations, expected) in [
        (json!({LINKERD: "enabled"}), None),
        (json!({ISTIO: "true"}), Some("annotated-pod")),
    ] {
        let asked = asked(&api, "silent", json!({}), annotations).await;
        assert_eq!(asked.as_deref(), expected);
    }
}

#[test]
fn pods_pass_the_restricted_standard_and_survive_a_node() {
    for (assignments, replicas, stay, otherwise) in [
        (&[][..], 2, 1, "ScheduleAnyway"),
        (&["ha=true"], 3, 2, "DoNotSchedule"),
    ] {
        let objects = manifests(&settings(assignments));
        let deployments = of(&objects, "Deployment");
        assert_eq!(deployments.len(), 3);
        for deployment in deployments {
            assert_eq!(deployment["spec"]["replicas"], replicas);
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            assert_eq!(
                pod["topologySpreadConstraints"][1]["whenUnsatisfiable"],
                otherwise
            );
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["capabilities"]["drop"][0], "ALL");
                assert!(context["capabilities"].get("add").is_none());
                for probe in ["readinessProbe", "livenessProbe"] {
                    assert!(container[probe]["httpGet"]["port"].is_i64(), "{probe}");
                }
                for resource in ["requests", "limits"] {
                    assert!(container["resources"][resource]["memory"].is_string());
                }
            }
        }
        for budget in of(&objects, "PodDisruptionBudget") {
            assert_eq!(budget["spec"]["minAvailable"], stay);
        }
    }
}

#[test]
fn roles_name_what_they_can_and_never_all() {
    let objects = manifests(&Settings::default());
    for role in objects
        .iter()
        .filter(|object| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()))
    {
        for rule in role["rules"].as_array().unwrap() {
            for field in ["verbs", "resources", "apiGroups"] {
                assert!(
                    !rule[field].as_array().unwrap().contains(&"*".into()),
                    "{rule}"
                );
            }
            let about = |name: &str| rule["resources"].as_array().unwrap().contains(&name.into());
            let verbs = rule["verbs"].as_array().unwrap();
            if about("secrets") && *verbs != ["create"] {
                assert_eq!(rule["resourceNames"][0], "heddle-root");
                assert_eq!(role["kind"], "Role");
            }
        }
    }
}
