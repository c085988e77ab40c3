//! Our own parts, each with its account, its service, its pods and how many of them may go at once.

use heddle_identity::workload::trust_config_map;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount, ServicePort, ServiceSpec},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::json;

use crate::{
    Settings, labels,
    pod::{Part, config_map, memory, secret},
    yaml,
};

pub(crate) const IDENTITY: &str = "heddle-identity";
pub(crate) const CONTROL: &str = "heddle-control";
pub(crate) const INJECTOR: &str = "heddle-injector";
pub(crate) const ALL: [&str; 3] = [IDENTITY, CONTROL, INJECTOR];
pub(crate) const ROOT_SECRET: &str = "heddle-root";
/// Where webhooks are asked for.
pub(crate) const WEBHOOK_PORT: i32 = 443;

const STATE: &str = "/var/run/heddle/state";
const DATA: &str = "/var/run/heddle/identity";
const CA: &str = "/var/run/heddle/ca";
const CONFIG: &str = "/etc/heddle";

/// What a part's objects are called that are in no namespace: several meshes in a cluster are several of
/// these.
pub(crate) fn of_cluster(settings: &Settings, part: &str) -> String {
    format!("{part}-{}", settings.namespace)
}

/// Ports that a part listens on: name, in its pods, of its service.
pub(crate) fn ports(part: &str) -> &'static [(&'static str, i32, Option<i32>)] {
    match part {
        IDENTITY => &[
            ("grpc-identity", 15013, Some(15013)),
            ("http-health", 15023, None),
        ],
        CONTROL => &[
            ("grpc-ads", 15012, Some(15012)),
            ("https-webhook", 15019, Some(WEBHOOK_PORT)),
            ("http-health", 15022, None),
        ],
        _ => &[("https-webhook", 15017, Some(WEBHOOK_PORT))],
    }
}

pub(crate) fn accounts(settings: &Settings) -> Vec<ServiceAccount> {
    let account = |part: &&str| ServiceAccount {
        metadata: labels::local(settings, part, part),
        ..ServiceAccount::default()
    };
    ALL.iter().map(account).collect()
}

/// How pods are injected, as `heddle-injector` reads it.
pub(crate) fn injection(settings: &Settings) -> ConfigMap {
    let config = json!({
        "image": settings.image("proxy"),
        "imagePullPolicy": settings.image_pull_policy.as_str(),
        "trustDomain": settings.trust_domain.to_string(),
        "systemNamespace": settings.namespace,
        "revision": settings.revision,
        "nativeSidecar": settings.native_sidecars,
        "cni": settings.cni,
        "defaultInject": if settings.inject_all { "enabled" } else { "disabled" },
        "istioSwitches": settings.istio_switches,
        "linkerdSwitches": settings.linkerd_switches,
    });
    let text = yaml(&[config]);
    let text = text.trim_start_matches("---\n").to_owned();
    ConfigMap {
        metadata: labels::local(settings, INJECTOR, INJECTOR),
        data: Some([("injector.yaml".to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

pub(crate) fn services(settings: &Settings) -> Vec<Service> {
    let service = |part: &&str| {
        let ports = ports(part).iter().filter_map(|(name, target, port)| {
            port.map(|port| ServicePort {
                name: Some((*name).to_owned()),
                port,
                target_port: Some(IntOrString::Int(*target)),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            })
        });
        Service {
            metadata: labels::local(settings, part, part),
            spec: Some(ServiceSpec {
                selector: Some(labels::chosen(part)),
                ports: Some(ports.collect()),
                type_: Some("ClusterIP".into()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    };
    ALL.iter().map(service).collect()
}

pub(crate) fn deployments(settings: &Settings) -> Vec<Deployment> {
    [identity(settings), control(settings), injector(settings)]
        .into_iter()
        .map(|part| part.deployment(settings))
        .collect()
}

fn pod_ports(part: &str) -> Vec<(&'static str, i32)> {
    let ports = ports(part).iter();
    ports.map(|(name, port, _)| (*name, *port)).collect()
}

fn common(settings: &Settings) -> Vec<String> {
    vec![
        format!("--trust-domain={}", settings.trust_domain),
        format!("--log-level={}", settings.log_level.as_str()),
        "--log-format=json".into(),
    ]
}

fn address(settings: &Settings, part: &str, port: i32) -> String {
    format!("{part}.{}.svc:{port}", settings.namespace)
}

fn identity(settings: &Settings) -> Part {
    let mut args = vec![
        format!("--data-dir={DATA}"),
        "--listen=0.0.0.0:15013".into(),
        "--health-listen=0.0.0.0:15023".into(),
        format!("--system-namespace={}", settings.namespace),
        format!("--root-secret={ROOT_SECRET}"),
        format!(
            "--trust-config-map={}",
            trust_config_map(&settings.namespace)
        ),
        format!("--verify-tokens={}", settings.verify_tokens.as_str()),
        format!("--default-ttl={}", settings.cert_ttl),
        format!("--root-spread={}", settings.root_spread),
    ];
    let mut volumes = vec![(memory("data", "8Mi"), DATA)];
    if !settings.ca_secret.is_empty() {
        args.push(format!("--ca-dir={CA}"));
        volumes.push((secret("ca", &settings.ca_secret), CA));
    }
    args.extend(common(settings));
    Part {
        name: IDENTITY,
        image: "identity",
        args,
        ports: pod_ports(IDENTITY),
        probes: ("HTTP", 15023),
        has_identity: false,
        volumes,
        memory: ("48Mi", "256Mi"),
        annotations: None,
    }
}

fn control(settings: &Settings) -> Part {
    let mut args = vec![
        "--kubernetes".into(),
        "--listen=0.0.0.0:15012".into(),
        "--webhook-listen=0.0.0.0:15019".into(),
        "--health-listen=0.0.0.0:15022".into(),
        format!("--system-namespace={}", settings.namespace),
        format!("--cluster-domain={}", settings.cluster_domain),
        format!("--identity-address={}", address(settings, IDENTITY, 15013)),
        format!("--state-dir={STATE}"),
        format!(
            "--default-sampling-percentage={}",
            settings.sampling_percentage
        ),
        format!("--otlp-endpoint={}", settings.otlp_endpoint),
    ];
    args.extend(common(settings));
    Part {
        name: CONTROL,
        image: "control",
        args,
        ports: pod_ports(CONTROL),
        probes: ("HTTP", 15022),
        has_identity: true,
        volumes: vec![(memory("state", "64Mi"), STATE)],
        memory: ("128Mi", "1Gi"),
        annotations: None,
    }
}

fn injector(settings: &Settings) -> Part {
    let mut args = vec![
        "--kubernetes".into(),
        "--listen=0.0.0.0:15017".into(),
        format!("--config={CONFIG}/injector.yaml"),
        format!("--identity-address={}", address(settings, IDENTITY, 15013)),
        format!("--state-dir={STATE}"),
        format!("--mutating-webhook={}", of_cluster(settings, INJECTOR)),
        format!("--validating-webhook={}", of_cluster(settings, CONTROL)),
    ];
    args.extend(common(settings));
    // Another configuration is another pod: it is read once.
    let config = injection(settings).data.unwrap_or_default();
    let text: String = config.into_values().collect();
    Part {
        name: INJECTOR,
        image: "injector",
        args,
        ports: pod_ports(INJECTOR),
        probes: ("HTTPS", 15017),
        has_identity: true,
        volumes: vec![
            (config_map("config", INJECTOR), CONFIG),
            (memory("state", "8Mi"), STATE),
        ],
        memory: ("32Mi", "128Mi"),
        annotations: Some([("heddle.io/config".to_owned(), summary(&text))].into()),
    }
}

/// Lines in one, so that the chart can say the same without hashing.
fn summary(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(", ")
}

/// One may go at a time; with `ha` two stay.
pub(crate) fn budgets(settings: &Settings) -> Vec<PodDisruptionBudget> {
    let budget = |part: &&str| PodDisruptionBudget {
        metadata: labels::local(settings, part, part),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(if settings.ha { 2 } else { 1 })),
            selector: Some(labels::selector(part)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    ALL.iter().map(budget).collect()
}

/// By name alone: the control planes make it.
pub(crate) fn lease(settings: &Settings) -> Lease {
    Lease {
        metadata: labels::local(settings, CONTROL, CONTROL),
        ..Lease::default()
    }
}

/// By name alone: the identity service makes it.
pub(crate) fn root_secret(settings: &Settings) -> Secret {
    Secret {
        metadata: labels::local(settings, ROOT_SECRET, IDENTITY),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_injector::{DefaultInject, InjectConfig};

    use super::*;

    #[test]
    fn the_injector_can_read_its_configuration() {
        let mut settings = Settings::default();
        settings.set("cni=true").unwrap();
        settings.set("injectAll=true").unwrap();
        settings.set("trustDomain=prod.example").unwrap();
        settings.set("linkerdSwitches=false").unwrap();
        let data = injection(&settings).data.unwrap();
        let config = InjectConfig::from_yaml(&data["injector.yaml"]).unwrap();
        assert!(config.cni && config.native_sidecar);
        assert_eq!(config.trust_domain.to_string(), "prod.example");
        assert!(matches!(config.default_inject, DefaultInject::Enabled));
        assert!(config.istio_switches && !config.linkerd_switches);
    }
}
