//! The two containers that injection adds: the step that programs (or, with a CNI plugin, only
//! checks) the redirect, and the sidecar. Both drop every capability; only the redirect step gets
//! two back. The sidecar alone meets the `restricted` Pod Security Standard.

use serde_json::{Map, Value, json};

use crate::config::InjectConfig;
use crate::hooks::Asked;
use crate::names;
use crate::settings::{DnsCapture, Settings};
use crate::volumes;

/// Everything the containers depend on.
pub(crate) struct Needs<'a> {
    pub(crate) config: &'a InjectConfig,
    pub(crate) settings: &'a Settings,
    pub(crate) asked: &'a Asked,
    pub(crate) app_metrics: Option<&'a Value>,
    pub(crate) who: &'a Who,
}

/// Who a pod is, as far as its manifest says.
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) account: String,
}

impl Needs<'_> {
    pub(crate) fn init_container(&self) -> Value {
        let action = if self.config.cni { "check" } else { "apply" };
        let mut container = self.container(names::INIT_CONTAINER, &["redirect", action]);
        let dns = match self.settings.dns_capture {
            DnsCapture::Always => Some("true"),
            DnsCapture::WherePossible => Some("auto"),
            DnsCapture::Never => None,
        };
        let dns = dns.map(|when| ("HEDDLE_REDIRECT_DNS_CAPTURE", when.to_owned()));
        let env: Vec<_> = self
            .settings
            .redirect
            .env()
            .into_iter()
            .chain(dns)
            .map(|(name, value)| variable(name, value))
            .collect();
        if !env.is_empty() {
            container.insert("env".into(), Value::Array(env));
        }
        self.add_resources(&mut container);
        let security = if self.config.cni {
            unprivileged()
        } else {
            network_admin()
        };
        container.insert("securityContext".into(), security);
        Value::Object(container)
    }

    pub(crate) fn proxy_container(&self) -> Value {
        let mut container = self.container(names::PROXY_CONTAINER, &["run"]);
        if self.settings.native_sidecar {
            container.insert("restartPolicy".into(), json!("Always"));
        }
        // Podman would take it on the machine as well, where only one pod can have it.
        if self.config.podman.is_none() {
            let metrics_port = json!({"name": "http-heddle", "containerPort": names::PROXY_METRICS_PORT, "protocol": "TCP"});
            container.insert("ports".into(), json!([metrics_port]));
        }
        container.insert("env".into(), Value::Array(self.proxy_env()));
        self.add_resources(&mut container);
        container.insert("securityContext".into(), unprivileged());
        if self.settings.native_sidecar {
            container.insert("startupProbe".into(), health("startup", 1, 600));
        } else {
            container.insert("lifecycle".into(), wait_hooks());
        }
        container.insert("readinessProbe".into(), health("ready", 15, 4));
        container.insert("volumeMounts".into(), volumes::mounts(self.config));
        Value::Object(container)
    }

    fn container(&self, name: &str, args: &[&str]) -> Map<String, Value> {
        let mut container = Map::new();
        container.insert("name".into(), json!(name));
        container.insert("image".into(), json!(self.settings.image.to_string()));
        if let Some(policy) = &self.config.image_pull_policy {
            container.insert("imagePullPolicy".into(), json!(policy));
        }
        container.insert("command".into(), json!(["heddle-proxy"]));
        container.insert("args".into(), json!(args));
        container
    }

    fn add_resources(&self, container: &mut Map<String, Value>) {
        if let Some(resources) = self.settings.resources.to_value() {
            container.insert("resources".into(), resources);
        }
    }

    fn who_env(&self) -> Vec<Value> {
        if self.config.podman.is_some() {
            return vec![
                variable("HEDDLE_POD_NAME", self.who.name.as_str()),
                variable("HEDDLE_POD_NAMESPACE", self.who.namespace.as_str()),
                variable("HEDDLE_SERVICE_ACCOUNT", self.who.account.as_str()),
            ];
        }
        vec![
            from_field("HEDDLE_POD_NAME", "metadata.name"),
            from_field("HEDDLE_POD_NAMESPACE", "metadata.namespace"),
            from_field("HEDDLE_POD_IP", "status.podIP"),
            from_field("HEDDLE_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        ]
    }

    fn proxy_env(&self) -> Vec<Value> {
        let (config, settings) = (self.config, self.settings);
        let mut env = self.who_env();
        env.extend([
            variable("HEDDLE_TRUST_DOMAIN", config.trust_domain.to_string()),
            variable("HEDDLE_CONTROL_ADDRESS", config.control_address()),
            variable(
                "HEDDLE_CONTROL_IDENTITY",
                config.part_identity("heddle-control"),
            ),
            variable("HEDDLE_IDENTITY_ADDRESS", config.identity_address()),
            variable(
                "HEDDLE_IDENTITY_IDENTITY",
                config.part_identity("heddle-identity"),
            ),
            variable("HEDDLE_TOKEN_FILE", volumes::TOKEN_FILE),
            variable("HEDDLE_TRUST_BUNDLE_FILE", volumes::TRUST_BUNDLE_FILE),
            variable("HEDDLE_STATE_DIR", volumes::STATE_DIR),
            variable("HEDDLE_WORKERS", settings.workers.to_string()),
            variable("HEDDLE_LOG_LEVEL", settings.log_level.as_str()),
            variable("HEDDLE_LOG_FORMAT", config.log_format.as_str()),
            variable(
                "HEDDLE_TERMINATION_GRACE_SECONDS",
                settings.termination_grace_seconds.to_string(),
            ),
        ]);
        if config.podman.is_some() {
            env.retain(|variable| variable["name"] != "HEDDLE_STATE_DIR");
        }
        if config.cert_ttl_seconds > 0 {
            env.push(variable(
                "HEDDLE_CERT_TTL_SECONDS",
                config.cert_ttl_seconds.to_string(),
            ));
        }
        if let Some(ports) = &settings.opaque_ports {
            env.push(variable("HEDDLE_OPAQUE_PORTS", ports.to_string()));
        }
        if settings.dns_capture != DnsCapture::Never {
            env.push(variable("HEDDLE_DNS_CAPTURE", "true"));
        }
        if settings.preserve_header_case {
            env.push(variable("HEDDLE_PRESERVE_HEADER_CASE", "true"));
        }
        for (name, asked) in [
            (names::APP_PROBES, &self.asked.probes),
            (names::APP_LIFECYCLE, &self.asked.lifecycle),
        ] {
            if !asked.is_empty() {
                env.push(variable(name, literal_json(&json!(asked))));
            }
        }
        if let Some(metrics) = self.app_metrics {
            env.push(variable(names::APP_METRICS, literal_json(metrics)));
        }
        let given = &config.env;
        env.retain(|variable| {
            variable["name"]
                .as_str()
                .is_none_or(|name| !given.contains_key(name))
        });
        env.extend(
            given
                .iter()
                .map(|(name, value)| variable(name, value.as_str())),
        );
        env
    }
}

pub(crate) fn variable(name: &str, value: impl Into<String>) -> Value {
    json!({"name": name, "value": value.into()})
}

fn from_field(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

/// JSON without a `$`: Kubernetes replaces `$(NAME)` in the values of variables, but not in the
/// probes that these come from.
pub(crate) fn literal_json(value: &Value) -> String {
    value.to_string().replace('$', "\\u0024")
}

fn unprivileged() -> Value {
    json!({
        "runAsUser": names::PROXY_UID,
        "runAsGroup": names::PROXY_UID,
        "runAsNonRoot": true,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The root file system stays writable: the legacy iptables back end takes its lock in /run.
fn network_admin() -> Value {
    json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": false,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn health(what: &str, period_seconds: u32, failure_threshold: u32) -> Value {
    json!({
        "httpGet": {"path": format!("/healthz/{what}"), "port": names::HEALTH_PORT},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "failureThreshold": failure_threshold,
    })
}

/// The older form: the kubelet starts the next container once postStart has returned, and lets
/// the sidecar stop once preStop has.
fn wait_hooks() -> Value {
    json!({
        "postStart": {"exec": {"command": ["heddle-proxy", "wait"]}},
        "preStop": {"exec": {"command": ["heddle-proxy", "wait", "--drained"]}},
    })
}
