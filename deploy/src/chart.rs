//! The Helm chart, made of the same objects: they are printed for settings that no one has, and where
//! such a setting appears the chart has its value's place. What is there or not by a switch is a
//! document in an `if`. So what `helm template` renders is what `heddle install` prints.

use serde_json::{Value, json};

use crate::{Settings, definitions, keys, settings::TokenCheck, webhooks, without_namespace, yaml};

/// A file of the chart: its path in it, and its text.
pub type File = (String, String);

/// Places: what stands for a value in the objects, and how the chart says it.
const PLACES: &[(&str, &str)] = &[
    (
        "app.kubernetes.io/version: place.tag",
        "app.kubernetes.io/version: {{ .Values.imageTag | quote }}",
    ),
    (
        "heddle-trust-bundle-place-namespace",
        "{{ include \"heddle.trustBundle\" . }}",
    ),
    ("place-namespace", "{{ .Release.Namespace }}"),
    ("place.trust.domain", "{{ .Values.trustDomain }}"),
    ("place.cluster.domain", "{{ .Values.clusterDomain }}"),
    ("place.registry", "{{ .Values.imageRegistry }}"),
    ("place.tag", "{{ .Values.imageTag }}"),
    ("place-revision", "{{ .Values.revision }}"),
    ("place-ca-secret", "{{ .Values.caSecret }}"),
    ("987001d", "{{ .Values.certTtl }}"),
    ("987002d", "{{ .Values.rootSpread }}"),
    ("http://place.collector", "{{ .Values.otlpEndpoint }}"),
    (
        "--default-sampling-percentage=12.345",
        "--default-sampling-percentage={{ .Values.samplingPercentage }}",
    ),
    ("--log-level=trace", "--log-level={{ .Values.logLevel }}"),
    (
        "--verify-tokens=cluster-keys",
        "--verify-tokens={{ .Values.verifyTokens }}",
    ),
    (
        "imagePullPolicy: Never",
        "imagePullPolicy: {{ .Values.imagePullPolicy }}",
    ),
    (
        "failurePolicy: Fail",
        "failurePolicy: {{ .Values.failurePolicy }}",
    ),
    (
        "replicas: 17",
        "replicas: {{ include \"heddle.replicas\" . }}",
    ),
    (
        "minAvailable: 1",
        "minAvailable: {{ ternary 2 1 .Values.ha }}",
    ),
    (
        "nativeSidecar: false",
        "nativeSidecar: {{ .Values.nativeSidecars }}",
    ),
    ("cni: true", "cni: {{ .Values.cni }}"),
    (
        "defaultInject: disabled",
        "defaultInject: {{ ternary \"enabled\" \"disabled\" .Values.injectAll }}",
    ),
    // As the injector is told; in the webhooks' entries it is a choice.
    (
        "istioSwitches: true",
        "istioSwitches: {{ .Values.istioSwitches }}",
    ),
    (
        "linkerdSwitches: true",
        "linkerdSwitches: {{ .Values.linkerdSwitches }}",
    ),
    (
        ", 'linkerd.io/inject']",
        "{{ if .Values.linkerdSwitches }}, 'linkerd.io/inject'{{ end }}]",
    ),
];

/// The second of two constraints: over nodes.
const SPREAD: (&str, &str) = (
    "topologyKey: kubernetes.io/hostname\n        whenUnsatisfiable: ScheduleAnyway",
    "topologyKey: kubernetes.io/hostname\n        whenUnsatisfiable: {{ ternary \"DoNotSchedule\" \"ScheduleAnyway\" .Values.ha }}",
);

fn placed() -> Settings {
    let mut settings = Settings {
        replicas: 17,
        native_sidecars: false,
        cni: true,
        verify_tokens: TokenCheck::ClusterKeys,
        sampling_percentage: 12.345,
        cert_ttl: "987001d".into(),
        root_spread: "987002d".into(),
        otlp_endpoint: "http://place.collector".into(),
        namespace: "place-namespace".into(),
        cluster_domain: "place.cluster.domain".into(),
        image_registry: "place.registry".into(),
        image_tag: "place.tag".into(),
        revision: "place-revision".into(),
        ..Settings::default()
    };
    // Each of these is a value of its kind.
    for assignment in [
        "trustDomain=place.trust.domain",
        "logLevel=trace",
        "imagePullPolicy=Never",
    ] {
        let set = settings.set(assignment);
        debug_assert!(set.is_ok(), "{set:?}");
    }
    settings
}

/// The whole chart.
pub fn files() -> Vec<File> {
    let mut files = vec![
        ("Chart.yaml".to_owned(), about()),
        ("values.yaml".to_owned(), values()),
        ("values.schema.json".to_owned(), schema()),
        ("templates/_helpers.tpl".to_owned(), HELPERS.to_owned()),
        ("templates/NOTES.txt".to_owned(), NOTES.to_owned()),
    ];
    for definition in definitions() {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        files.push((
            format!("crds/{name}.yaml"),
            yaml(std::slice::from_ref(&definition)),
        ));
    }
    files.push(("templates/heddle.yaml".to_owned(), template()));
    files
}

/// Every object with its switches.
fn template() -> String {
    let plain = placed();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = placed();
        change(&mut settings);
        without_namespace(&settings)
    };
    let objects = without_namespace(&plain);
    let with_ca = with(&|settings| settings.ca_secret = "place-ca-secret".into());
    let mut out = String::from(
        "{{- /* Made of deploy/src by its test `chart`: change that, not this. */ -}}\n",
    );
    for object in &objects {
        let other = |others: &[Value]| {
            let same = |other: &&Value| key(other) == key(object);
            others
                .iter()
                .find(same)
                .cloned()
                .filter(|other| other != object)
        };
        let text = document(object);
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "NetworkPolicy" {
            out.push_str(&format!(
                "{{{{- if .Values.networkPolicies }}}}\n{text}{{{{- end }}}}\n"
            ));
        } else if let Some(other) = other(&with_ca) {
            out.push_str(&choice("caSecret", &document(&other), &text));
        } else if kind == "MutatingWebhookConfiguration" {
            out.push_str(&who_asks());
        } else {
            out.push_str(&text);
        }
    }
    out
}

/// The webhooks that inject: another set of them for each set of words that are heard.
fn who_asks() -> String {
    let text = |inject_all, linkerd_namespaces, istio_switches| {
        let settings = Settings {
            inject_all,
            linkerd_namespaces,
            istio_switches,
            ..placed()
        };
        document(&crate::object(&webhooks::mutating(&settings)))
    };
    let chosen = |istio| {
        let named = choice(
            "linkerdNamespaces",
            &text(false, true, istio),
            &text(false, false, istio),
        );
        choice("injectAll", &text(true, false, istio), &named)
    };
    choice("istioSwitches", &chosen(true), &chosen(false))
}

fn choice(value: &str, with: &str, without: &str) -> String {
    format!("{{{{- if .Values.{value} }}}}\n{with}{{{{- else }}}}\n{without}{{{{- end }}}}\n")
}

fn key(object: &Value) -> (&Value, &Value) {
    (&object["kind"], &object["metadata"]["name"])
}

fn document(object: &Value) -> String {
    let mut text = yaml(std::slice::from_ref(object));
    for (place, value) in PLACES.iter().chain([&SPREAD]) {
        text = text.replace(place, value);
    }
    text
}

fn about() -> String {
    let version = env!("CARGO_PKG_VERSION");
    yaml(&[json!({
        "apiVersion": "v2",
        "name": "heddle",
        "description": "A sidecar service mesh: identity, control plane and injector",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": format!(">= {}.{}.0-0", crate::OLDEST_KUBERNETES.0, crate::OLDEST_KUBERNETES.1),
        "home": "https://heddle.io",
    })])
}

/// Those that Helm has another way for: the namespace is the release's, definitions are in `crds/`.
fn is_helms_own(key: &str) -> bool {
    matches!(key, "namespace" | "crds")
}

fn values() -> String {
    let values: serde_json::Map<String, Value> = keys()
        .into_iter()
        .filter(|(key, _)| !is_helms_own(key))
        .collect();
    let text = yaml(&[Value::Object(values)]);
    format!(
        "# The settings of `heddle install --set`, with their defaults: docs/kubernetes.md\n{}",
        text.trim_start_matches("---\n")
    )
}

/// Unknown values are refused by Helm too.
fn schema() -> String {
    let properties: serde_json::Map<String, Value> = keys()
        .into_iter()
        .filter(|(key, _)| !is_helms_own(key))
        .map(|(key, default)| {
            let kind = match default {
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                _ => "string",
            };
            (key, json!({"type": kind}))
        })
        .collect();
    let mut properties = properties;
    properties.insert("global".into(), json!({"type": "object"}));
    let schema = json!({
        "$schema": "https://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    // A map of texts is always JSON.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

const HELPERS: &str = r#"{{- define "heddle.replicas" -}}
{{- if .Values.ha -}}{{ max 3 (int .Values.replicas) }}{{- else -}}{{ int .Values.replicas }}{{- end -}}
{{- end -}}
{{- define "heddle.trustBundle" -}}
heddle-trust-bundle{{ if ne .Release.Namespace "heddle-system" }}-{{ .Release.Namespace }}{{ end }}
{{- end -}}
"#;

const NOTES: &str = "Heddle {{ .Chart.AppVersion }} is in {{ .Release.Namespace }}.

  heddle check --cluster                                 # whether it works, and what does not
  kubectl label namespace NAME heddle.io/inject=enabled  # new pods there join the mesh
";
