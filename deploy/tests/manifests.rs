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
use serde_json::Value;

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
fn webhooks_lock_nobody_out() {
    for assignments in [&[][..], &["injectAll=true"]] {
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
            assert_eq!(webhook["sideEffects"], "NoneOnDryRun");
            assert!(webhook["timeoutSeconds"].as_i64().unwrap() <= 10);
        }
        let validating = of(&objects, "ValidatingWebhookConfiguration")[0];
        assert_eq!(validating["webhooks"][0]["failurePolicy"], "Ignore");
    }
}

/// As the API server evaluates it.
fn selects(selector: &Value, labels: &[(&str, &str)]) -> bool {
    let requirements = selector["matchExpressions"].as_array().unwrap();
    requirements.iter().all(|requirement| {
        let key = requirement["key"].as_str().unwrap();
        let value = labels
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value);
        let values = requirement["values"].as_array();
        let listed =
            value.is_some_and(|value| values.into_iter().flatten().any(|one| one == value));
        match requirement["operator"].as_str().unwrap() {
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "In" => listed,
            "NotIn" => !listed,
            other => panic!("{other}"),
        }
    })
}

#[test]
fn a_pod_is_sent_once_if_it_or_its_namespace_asks() {
    let count = |assignments: &[&str], namespace: &[(&str, &str)], pod: &[(&str, &str)]| {
        let objects = manifests(&settings(assignments));
        let mut labels = vec![("kubernetes.io/metadata.name", "shop")];
        labels.extend_from_slice(namespace);
        let webhooks = of(&objects, "MutatingWebhookConfiguration")[0]["webhooks"].clone();
        let webhooks = webhooks.as_array().unwrap();
        let asked = webhooks.iter().filter(|webhook| {
            selects(&webhook["namespaceSelector"], &labels)
                && selects(&webhook["objectSelector"], pod)
        });
        asked.count()
    };
    const OURS: &str = "heddle.io/inject";
    const ISTIO: &str = "sidecar.istio.io/inject";
    for (namespace, pod, expected) in [
        (&[][..], &[][..], 0),
        (&[(OURS, "enabled")], &[], 1),
        (&[(OURS, "enabled")], &[(OURS, "true")], 1),
        (&[(OURS, "enabled")], &[(OURS, "false")], 0),
        (&[(OURS, "enabled")], &[(ISTIO, "false")], 0),
        (
            &[(OURS, "enabled"), ("istio-injection", "enabled")],
            &[(ISTIO, "true")],
            1,
        ),
        (&[("istio-injection", "enabled")], &[], 1),
        (&[("istio-injection", "disabled")], &[], 0),
        (&[("istio-injection", "disabled")], &[(ISTIO, "true")], 1),
        (&[(OURS, "disabled")], &[(OURS, "true")], 1),
        (&[], &[(OURS, "enabled")], 1),
        (&[], &[(OURS, "true"), (ISTIO, "true")], 1),
        (&[], &[(OURS, "yes")], 1),
        (&[(OURS, "yes")], &[], 1),
        (&[(OURS, "disabled")], &[], 0),
    ] {
        assert_eq!(
            count(&[], namespace, pod),
            expected,
            "{namespace:?} {pod:?}"
        );
    }
    assert_eq!(count(&["injectAll=true"], &[], &[]), 1);
    assert_eq!(count(&["injectAll=true"], &[(OURS, "disabled")], &[]), 0);
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
