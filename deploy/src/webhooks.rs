//! The webhooks, so that they cannot lock a cluster out: the cluster's own namespaces and ours are never
//! theirs, pods that do not ask for the mesh neither (or they fail open), and the validating one fails open. The authority
//! (`caBundle`) is written by the injector, for it is not known before.

use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations,
        ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use crate::{
    Settings, labels,
    parts::{CONTROL, INJECTOR, WEBHOOK_PORT, of_cluster},
    settings::FailurePolicy,
};

const OURS: &str = "heddle.io/inject";
const ISTIO_NAMESPACE: &str = "istio-injection";
const ISTIO_POD: &str = "sidecar.istio.io/inject";
const LINKERD: &str = "linkerd.io/inject";
const NO: &[&str] = &["disabled", "false"];
const YES: &[&str] = &["enabled", "true"];
/// The injector answers in milliseconds; a pod waits no longer than this for one that hangs.
const SECONDS: i32 = 10;
/// Of a pod that did not ask.
const OPEN_SECONDS: i32 = 2;

fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values).filter(|values: &Vec<String>| !values.is_empty()),
    }
}

fn all(requirements: Vec<LabelSelectorRequirement>) -> LabelSelector {
    LabelSelector {
        match_expressions: Some(requirements),
        ..LabelSelector::default()
    }
}

/// Namespaces that are neither the cluster's nor ours.
fn elsewhere(settings: &Settings) -> LabelSelectorRequirement {
    let mut names = labels::CLUSTER_NAMESPACES.to_vec();
    names.push(&settings.namespace);
    requirement("kubernetes.io/metadata.name", "NotIn", &names)
}

/// The key is there, and does not say no. Words that nobody knows reach the injector, which refuses
/// them by name.
fn asks(key: &str) -> [LabelSelectorRequirement; 2] {
    [
        requirement(key, "Exists", &[]),
        requirement(key, "NotIn", NO),
    ]
}

fn service(settings: &Settings, part: &str, path: &str) -> WebhookClientConfig {
    WebhookClientConfig {
        service: Some(ServiceReference {
            name: part.to_owned(),
            namespace: settings.namespace.clone(),
            path: Some(path.to_owned()),
            port: Some(WEBHOOK_PORT),
        }),
        ..WebhookClientConfig::default()
    }
}

/// Which pods a webhook is asked about.
struct Asking {
    who: &'static str,
    namespaces: LabelSelector,
    pods: LabelSelector,
    /// What labels cannot say: name and expression.
    condition: Option<(&'static str, String)>,
    /// Asked without a wish of theirs, so that they must not wait for us.
    fails_open: bool,
}

fn asking(who: &'static str, namespaces: LabelSelector, pods: LabelSelector) -> Asking {
    Asking {
        who,
        namespaces,
        pods,
        condition: None,
        fails_open: false,
    }
}

/// Switches that a pod may have as an annotation, in CEL.
fn switches(settings: &Settings) -> String {
    let heard = [
        (true, OURS),
        (settings.istio_switches, ISTIO_POD),
        (settings.linkerd_switches, LINKERD),
    ];
    let keys = heard.iter().filter(|(is_heard, _)| *is_heard);
    let keys: Vec<_> = keys.map(|(_, key)| format!("'{key}'")).collect();
    format!("[{}]", keys.join(", "))
}

/// Pods without a label, by annotations: an annotation that does not say no; and those without any, if a
/// namespace may ask by Linkerd's annotation, which no selector sees.
fn by_annotation(settings: &Settings, silent: impl Fn() -> LabelSelector) -> Vec<Asking> {
    let labels = [Some(OURS), settings.istio_switches.then_some(ISTIO_POD)];
    let unlabelled = || {
        let labels = labels.iter().flatten();
        all(labels
            .map(|label| requirement(label, "DoesNotExist", &[]))
            .collect())
    };
    let annotations = "object.metadata.annotations";
    let switches = switches(settings);
    let asks = format!(
        "has({annotations}) && {switches}.exists(key, key in {annotations} && \
         !({annotations}[key] in ['disabled', 'false']))"
    );
    let says_nothing =
        format!("!has({annotations}) || !{switches}.exists(key, key in {annotations})");
    let mut webhooks = vec![Asking {
        condition: Some(("asks-by-annotation", asks)),
        ..asking("annotated-pod", silent(), unlabelled())
    }];
    if settings.linkerd_namespaces {
        webhooks.push(Asking {
            condition: Some(("says-nothing", says_nothing)),
            fails_open: true,
            ..asking("linkerd-namespace", silent(), unlabelled())
        });
    }
    webhooks
}

/// Who asks: a namespace or a pod, in our words, Istio's or Linkerd's. Disjoint, so that a pod is sent once.
fn all_asking(settings: &Settings) -> Vec<Asking> {
    let istio = settings.istio_switches;
    let in_istios = |one: LabelSelectorRequirement| istio.then_some(one);
    let not_refused = || {
        let mut pods = vec![requirement(OURS, "NotIn", NO)];
        pods.extend(in_istios(requirement(ISTIO_POD, "NotIn", NO)));
        all(pods)
    };
    // Namespaces that say nothing, or not this.
    let others = |words: &[&str]| {
        let mut namespaces = vec![elsewhere(settings), requirement(OURS, "NotIn", words)];
        namespaces.extend(in_istios(requirement(ISTIO_NAMESPACE, "NotIn", words)));
        all(namespaces)
    };
    if settings.inject_all {
        return vec![asking("all", others(NO), not_refused())];
    }
    let mut namespace = vec![elsewhere(settings)];
    namespace.extend(asks(OURS));
    let mut webhooks = vec![asking("namespace", all(namespace), not_refused())];
    if istio {
        let mut namespace = vec![elsewhere(settings), requirement(OURS, "DoesNotExist", &[])];
        namespace.extend(asks(ISTIO_NAMESPACE));
        webhooks.push(asking("istio-namespace", all(namespace), not_refused()));
    }
    let silent = || others(YES);
    webhooks.push(asking("pod", silent(), all(asks(OURS).into())));
    if istio {
        let mut pod = vec![requirement(OURS, "DoesNotExist", &[])];
        pod.extend(asks(ISTIO_POD));
        webhooks.push(asking("istio-pod", silent(), all(pod)));
    }
    webhooks.extend(by_annotation(settings, silent));
    webhooks
}

pub(crate) fn mutating(settings: &Settings) -> MutatingWebhookConfiguration {
    let condition = |(name, expression): (&str, String)| MatchCondition {
        name: name.to_owned(),
        expression,
    };
    let off_the_node = (
        "not-on-the-nodes-network",
        "!has(object.spec.hostNetwork) || !object.spec.hostNetwork".to_owned(),
    );
    let webhooks = all_asking(settings)
        .into_iter()
        .map(|asking| MutatingWebhook {
            name: format!("{}.inject.heddle.io", asking.who),
            client_config: service(settings, INJECTOR, "/inject"),
            rules: Some(vec![RuleWithOperations {
                api_groups: Some(vec![String::new()]),
                api_versions: Some(vec!["v1".into()]),
                operations: Some(vec!["CREATE".into()]),
                resources: Some(vec!["pods".into()]),
                scope: Some("Namespaced".into()),
            }]),
            namespace_selector: Some(asking.namespaces),
            object_selector: Some(asking.pods),
            match_conditions: Some(
                [off_the_node.clone()]
                    .into_iter()
                    .chain(asking.condition)
                    .map(condition)
                    .collect(),
            ),
            failure_policy: Some(match asking.fails_open {
                true => FailurePolicy::Ignore.as_str().into(),
                false => settings.failure_policy.as_str().into(),
            }),
            reinvocation_policy: Some("IfNeeded".into()),
            match_policy: Some("Equivalent".into()),
            side_effects: "None".into(),
            timeout_seconds: Some(match asking.fails_open {
                true => OPEN_SECONDS,
                false => SECONDS,
            }),
            admission_review_versions: vec!["v1".into()],
        });
    MutatingWebhookConfiguration {
        metadata: labels::cluster(settings, &of_cluster(settings, INJECTOR), INJECTOR),
        webhooks: Some(webhooks.collect()),
    }
}

/// Routes and policies, wherever they are but in the cluster's own namespaces.
pub(crate) fn validating(settings: &Settings) -> ValidatingWebhookConfiguration {
    let rule = |group: &str, resources: &[&str]| RuleWithOperations {
        api_groups: Some(vec![group.to_owned()]),
        api_versions: Some(vec!["*".into()]),
        operations: Some(vec!["CREATE".into(), "UPDATE".into()]),
        resources: Some(resources.iter().map(|name| (*name).to_owned()).collect()),
        scope: Some("Namespaced".into()),
    };
    let clusters_own = requirement(
        "kubernetes.io/metadata.name",
        "NotIn",
        &labels::CLUSTER_NAMESPACES,
    );
    let webhook = ValidatingWebhook {
        name: "check.heddle.io".into(),
        client_config: service(settings, CONTROL, "/validate"),
        rules: Some(vec![
            rule(
                "networking.istio.io",
                &[
                    "virtualservices",
                    "destinationrules",
                    "serviceentries",
                    "sidecars",
                ],
            ),
            rule("security.istio.io", &["peerauthentications"]),
            rule("telemetry.istio.io", &["telemetries"]),
            rule("gateway.networking.k8s.io", &["httproutes", "grpcroutes"]),
        ]),
        namespace_selector: Some(all(vec![clusters_own])),
        failure_policy: Some("Ignore".into()),
        match_policy: Some("Equivalent".into()),
        side_effects: "None".into(),
        timeout_seconds: Some(5),
        admission_review_versions: vec!["v1".into()],
        ..ValidatingWebhook::default()
    };
    ValidatingWebhookConfiguration {
        metadata: labels::cluster(settings, &of_cluster(settings, CONTROL), CONTROL),
        webhooks: Some(vec![webhook]),
    }
}
