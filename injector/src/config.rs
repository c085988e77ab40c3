//! How a mesh injects: read once, every value checked then, every unknown key refused.
//! A pod's annotations override some of it ([`crate::settings`]); nothing else does.

use std::collections::BTreeMap;

use heddle_identity::TrustDomain;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::selector::LabelSelector;
pub use crate::settings::{
    CidrChoice, CidrList, PortChoice, PortList, ProxyResources, Quantity, RedirectSettings,
};

mod logging;
mod values;

pub use logging::{LogFormat, LogLevel};
pub(crate) use values::is_dns_label;
pub use values::{HostPort, ImageRef, ValueError, Workers};

/// What Podman calls the machine in its containers' `/etc/hosts`.
const PODMAN_HOST: &str = "host.containers.internal";

/// Whether a pod is injected when neither it nor its namespace nor a selector says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DefaultInject {
    /// Injected. Right when the webhook configuration's `namespaceSelector` chooses the
    /// namespaces, and for files and machines where everything given is meant to be in the mesh.
    Enabled,
    /// Not injected.
    #[default]
    Disabled,
}

/// The configuration of injection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct InjectConfig {
    /// Image with the `heddle-proxy` binary. Default: `heddle/proxy:VERSION`.
    pub image: ImageRef,
    /// `imagePullPolicy` of both containers. Default: Kubernetes' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Control plane, host:port. Default: `heddle-control.SYSTEM_NAMESPACE.svc:15012`; with `podman`
    /// the machine itself, `host.containers.internal:15012`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_address: Option<HostPort>,
    /// Identity service, host:port. Default: `heddle-identity.SYSTEM_NAMESPACE.svc:15013`; with
    /// `podman` the machine itself, `host.containers.internal:15013`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_address: Option<HostPort>,
    /// Trust domain. Default: `cluster.local`.
    pub trust_domain: TrustDomain,
    /// Where the mesh's own parts run; never injected. Default: `heddle-system`.
    pub system_namespace: String,
    /// Revision, written to the label `heddle.io/rev`. Default: `default`.
    pub revision: String,
    /// Sidecar as an init container with `restartPolicy: Always` (Kubernetes ≥ 1.29). Default: true.
    pub native_sidecar: bool,
    /// The redirect is programmed by a CNI plugin: the init step only checks it. Default: false.
    pub cni: bool,
    /// Resources of the sidecar and the init step; each can be overridden alone.
    pub resources: ProxyResources,
    /// Which traffic is redirected unless the pod says otherwise. Default: all TCP.
    pub redirect: RedirectSettings,
    /// The sidecar answers the pod's DNS where that is possible. Default: true.
    pub dns_capture: bool,
    /// Log level of the sidecar. Default: `info`.
    pub log_level: LogLevel,
    /// Log format of the sidecar. Default: `text`.
    pub log_format: LogFormat,
    /// Worker threads of a sidecar, 1 to 64. Default: 1.
    pub workers: Workers,
    /// Longest that a sidecar lets connections end when it stops. Default: the pod's own grace
    /// period less 2 s, which it never exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_seconds: Option<u32>,
    /// Lifetime to ask for in certificates; 0 leaves it to the identity service. Default: 0.
    pub cert_ttl_seconds: u32,
    /// Audience of the projected token. Default: `heddle`.
    pub token_audience: String,
    /// Rewrite the app's probes and hooks to go through the sidecar. Default: true.
    pub rewrite_probes: bool,
    /// Point Prometheus at the sidecar, which serves the app's metrics with its own. Default: true.
    pub merge_metrics: bool,
    /// Pods that are never injected unless they ask for it.
    pub never_inject: Vec<LabelSelector>,
    /// Pods that are injected unless they ask not to be.
    pub always_inject: Vec<LabelSelector>,
    /// What holds for the rest. Default: `disabled`.
    pub default_inject: DefaultInject,
    /// What pods and namespaces say in Istio's words (`sidecar.istio.io/inject`, `istio-injection`) is said to
    /// this mesh too. Default: true.
    pub istio_switches: bool,
    /// The same of Linkerd's annotation `linkerd.io/inject`. Default: true.
    pub linkerd_switches: bool,
    /// More environment variables for the sidecar.
    pub env: BTreeMap<String, String>,
    /// Pods are run by `podman kube play` instead of a kubelet. Default: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub podman: Option<Podman>,
}

/// Podman runs Pods without an API server: no projected tokens, no downward API, no native sidecars,
/// annotations of at most 63 bytes. Injection then says what it knows itself, and what Kubernetes
/// would project comes from a directory of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Podman {
    /// Directory of the machine with `trust/root-cert.pem` and
    /// `tokens/NAMESPACE/SERVICE_ACCOUNT/token`.
    pub directory: String,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not YAML, an unknown key or a wrong value.
    #[error("injector configuration: {reason}")]
    Invalid {
        /// What and where.
        reason: String,
    },
    /// Two values that cannot stand together, or one that only the whole shows to be wrong.
    #[error("injector configuration: {key} is {value:?}; allowed: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
}

impl Default for InjectConfig {
    fn default() -> Self {
        Self {
            image: ImageRef::default(),
            image_pull_policy: None,
            control_address: None,
            identity_address: None,
            trust_domain: TrustDomain::default(),
            system_namespace: "heddle-system".into(),
            revision: "default".into(),
            native_sidecar: true,
            cni: false,
            resources: ProxyResources::default(),
            redirect: RedirectSettings::default(),
            dns_capture: true,
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            workers: Workers::default(),
            termination_grace_seconds: None,
            cert_ttl_seconds: 0,
            token_audience: "heddle".into(),
            rewrite_probes: true,
            merge_metrics: true,
            never_inject: Vec::new(),
            always_inject: Vec::new(),
            default_inject: DefaultInject::default(),
            istio_switches: true,
            linkerd_switches: true,
            env: BTreeMap::new(),
            podman: None,
        }
    }
}

impl InjectConfig {
    /// Reads a configuration from YAML (or JSON, which is YAML too). Empty text is all defaults.
    ///
    /// # Errors
    /// When it is not YAML, has an unknown key or a value that is not allowed.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| ConfigError::Invalid {
            reason: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what no single value's type can.
    ///
    /// # Errors
    /// When a name cannot be used as one in Kubernetes, or resources contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let label =
            "a DNS label: lower-case letters, digits and '-', at most 63, no '-' at the ends";
        for (key, value) in [
            ("systemNamespace", &self.system_namespace),
            ("revision", &self.revision),
        ] {
            if !is_dns_label(value) {
                return Err(ConfigError::Value {
                    key,
                    value: value.clone(),
                    allowed: label,
                });
            }
        }
        if let Some(policy) = &self.image_pull_policy
            && !matches!(policy.as_str(), "Always" | "IfNotPresent" | "Never")
        {
            let allowed = "Always, IfNotPresent, Never";
            return Err(ConfigError::Value {
                key: "imagePullPolicy",
                value: policy.clone(),
                allowed,
            });
        }
        if self.token_audience.is_empty() {
            let allowed = "the audience that the identity service expects";
            return Err(ConfigError::Value {
                key: "tokenAudience",
                value: String::new(),
                allowed,
            });
        }
        if let Some((request, _)) = self.resources.contradiction() {
            let allowed = "a request of at most the limit";
            return Err(ConfigError::Value {
                key: "resources",
                value: request.to_string(),
                allowed,
            });
        }
        if let Some(podman) = &self.podman
            && !podman.directory.starts_with('/')
        {
            let allowed = "an absolute path";
            return Err(ConfigError::Value {
                key: "podman.directory",
                value: podman.directory.clone(),
                allowed,
            });
        }
        if let Some(name) = self.env.keys().find(|name| !values::is_env_name(name)) {
            let allowed = "names of letters, digits and '_', not starting with a digit";
            return Err(ConfigError::Value {
                key: "env",
                value: name.clone(),
                allowed,
            });
        }
        Ok(())
    }

    pub(crate) fn control_address(&self) -> String {
        self.address_or(&self.control_address, "heddle-control", 15012)
    }

    /// Where the identity service is, by default or configuration.
    #[must_use]
    pub fn identity_address(&self) -> String {
        self.address_or(&self.identity_address, "heddle-identity", 15013)
    }

    fn address_or(&self, configured: &Option<HostPort>, service: &str, port: u16) -> String {
        match configured {
            Some(address) => address.to_string(),
            None if self.podman.is_some() => format!("{PODMAN_HOST}:{port}"),
            None => format!("{service}.{}.svc:{port}", self.system_namespace),
        }
    }

    /// SPIFFE id of one of the mesh's own parts.
    pub(crate) fn part_identity(&self, service_account: &str) -> String {
        format!(
            "spiffe://{}/ns/{}/sa/{service_account}",
            self.trust_domain, self.system_namespace
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn empty_text_is_the_defaults() {
        assert_eq!(
            InjectConfig::from_yaml("# nothing\n\n").unwrap(),
            InjectConfig::default()
        );
    }

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let text = serde_json::to_string(&InjectConfig::default()).unwrap();
        assert_eq!(
            InjectConfig::from_yaml(&text).unwrap(),
            InjectConfig::default()
        );
    }

    #[test]
    fn one_resource_leaves_the_others_at_their_defaults() {
        let config = InjectConfig::from_yaml("resources: {cpu: 50m}\n").unwrap();
        assert_eq!(config.resources.cpu.unwrap().to_string(), "50m");
        assert_eq!(config.resources.memory, ProxyResources::default().memory);
    }

    #[test]
    fn mistakes_are_refused_by_name() {
        for (text, says) in [
            ("imagee: x\n", "imagee"),
            ("controlAddress: nowhere\n", "nowhere"),
            ("logLevel: loud\n", "loud"),
            ("workers: 0\n", "64"),
            ("systemNamespace: Mesh\n", "systemNamespace"),
            ("resources: {cpu: fast}\n", "fast"),
            ("resources: {cpu: '4', cpuLimit: '1'}\n", "resources"),
            ("neverInject: [{}]\n", "empty selector"),
            ("defaultInject: maybe\n", "maybe"),
            ("env: {'1A': x}\n", "1A"),
            ("imagePullPolicy: Sometimes\n", "Sometimes"),
            ("image: 'has space'\n", "has space"),
            ("redirect: {excludeOutboundPorts: '70000'}\n", "70000"),
            ("podman: {directory: here}\n", "an absolute path"),
            ("podman: {}\n", "directory"),
        ] {
            let error = InjectConfig::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
