//! What can be set about an installation: each value typed, unknown keys refused with the nearest that
//! exists. The same keys are the Helm chart's values.

use heddle_identity::TrustDomain;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The settings of an installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Where the mesh's own parts run.
    pub namespace: String,
    /// Trust domain of every identity. It cannot be changed later without new certificates for all.
    pub trust_domain: TrustDomain,
    /// What the names of services end with.
    pub cluster_domain: String,
    /// Where images are: `REGISTRY/proxy:TAG`, `/identity`, `/control`, `/injector`.
    pub image_registry: String,
    /// Their tag.
    pub image_tag: String,
    /// `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: PullPolicy,
    /// Of each part, unless `ha`.
    pub replicas: u16,
    /// Three replicas, never two on one node, and one more that may not go.
    pub ha: bool,
    /// Sidecars as init containers that go on (Kubernetes ≥ 1.29).
    pub native_sidecars: bool,
    /// A CNI plugin programs the redirect.
    pub cni: bool,
    /// Written to the label `heddle.io/rev` of injected pods.
    pub revision: String,
    /// Inject every namespace that does not say no.
    pub inject_all: bool,
    /// Namespaces may ask by Linkerd's annotation `linkerd.io/inject`. No webhook can choose by it, so every
    /// pod that says nothing itself is shown to the injector, and started as it is if that does not answer.
    pub linkerd_namespaces: bool,
    /// What pods and namespaces say in Istio's words (`sidecar.istio.io/inject`, `istio-injection`) is said to
    /// this mesh too.
    pub istio_switches: bool,
    /// The same of Linkerd's annotation `linkerd.io/inject`.
    pub linkerd_switches: bool,
    /// Who says whether tokens are good.
    pub verify_tokens: TokenCheck,
    /// A Secret with `tls.crt`, `tls.key` and `ca.crt` to sign with; empty: a root of our own.
    pub ca_secret: String,
    /// Lifetime of certificates, such as `24h`.
    pub cert_ttl: String,
    /// How long a new root is trusted before it signs; a kubelet takes up to two minutes to refresh a
    /// ConfigMap.
    pub root_spread: String,
    /// Share of requests that are traced where nobody says otherwise, in percent.
    pub sampling_percentage: f64,
    /// Where sidecars send spans: `http://HOST:PORT` (OTLP over gRPC); empty: nowhere.
    pub otlp_endpoint: String,
    /// What our own parts log.
    pub log_level: LogLevel,
    /// What becomes of a pod that asks for the mesh while no injector answers.
    pub failure_policy: FailurePolicy,
    /// Print the CustomResourceDefinitions of the Istio kinds that are read.
    pub crds: bool,
    /// NetworkPolicies for our own parts.
    pub network_policies: bool,
}

/// Who says whether a token is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenCheck {
    /// The API server, for each token.
    #[default]
    Review,
    /// The keys that the API server publishes.
    ClusterKeys,
}

impl TokenCheck {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::ClusterKeys => "cluster-keys",
        }
    }
}

/// When the kubelet pulls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Unless the node has it.
    #[default]
    IfNotPresent,
    /// For each start.
    Always,
    /// It is on the node.
    Never,
}

impl PullPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

/// What our own parts log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What becomes of a pod while no injector answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// It is refused, and its controller tries again: never in the clear by accident.
    #[default]
    Fail,
    /// It starts without a sidecar.
    Ignore,
}

impl FailurePolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "Fail",
            Self::Ignore => "Ignore",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "heddle-system".into(),
            trust_domain: TrustDomain::default(),
            cluster_domain: "cluster.local".into(),
            image_registry: "heddle".into(),
            image_tag: env!("CARGO_PKG_VERSION").into(),
            image_pull_policy: PullPolicy::default(),
            replicas: 2,
            ha: false,
            native_sidecars: true,
            cni: false,
            revision: "default".into(),
            inject_all: false,
            linkerd_namespaces: false,
            istio_switches: true,
            linkerd_switches: true,
            verify_tokens: TokenCheck::default(),
            ca_secret: String::new(),
            cert_ttl: "24h".into(),
            root_spread: "5m".into(),
            sampling_percentage: 1.0,
            otlp_endpoint: String::new(),
            log_level: LogLevel::default(),
            failure_policy: FailurePolicy::default(),
            crds: true,
            network_policies: true,
        }
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not `KEY=VALUE`.
    #[error("{0:?} is not KEY=VALUE")]
    Shape(String),
    /// No such key.
    #[error("there is no setting {key:?}; did you mean {nearest}?")]
    Unknown {
        /// As it was written.
        key: String,
        /// What exists.
        nearest: String,
    },
    /// Another type, or not allowed.
    #[error("{key}={value}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// As it was written.
        value: String,
        /// Why not.
        reason: String,
    },
}

/// Every key, with its default.
pub fn keys() -> Map<String, Value> {
    match serde_json::to_value(Settings::default()) {
        Ok(Value::Object(keys)) => keys,
        _ => Map::new(),
    }
}

impl Settings {
    /// Changes one by its key, as `--set KEY=VALUE` does.
    ///
    /// # Errors
    /// When there is no such key, or the value is not of its kind.
    pub fn set(&mut self, assignment: &str) -> Result<(), SettingsError> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| SettingsError::Shape(assignment.to_owned()))?;
        let mut all = match serde_json::to_value(&*self) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        let Some(present) = all.get(key) else {
            return Err(SettingsError::Unknown {
                key: key.to_owned(),
                nearest: nearest(key, all.keys()),
            });
        };
        let wrong = |reason: String| SettingsError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            reason,
        };
        let parsed = match present {
            Value::Bool(_) => match value {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(wrong("allowed are true and false".into())),
            },
            Value::Number(_) => serde_json::from_str::<serde_json::Number>(value)
                .map(Value::Number)
                .map_err(|_| wrong("it is not a number".into()))?,
            _ => Value::String(value.to_owned()),
        };
        all.insert(key.to_owned(), parsed);
        let changed: Self =
            serde_json::from_value(Value::Object(all)).map_err(|e| wrong(e.to_string()))?;
        changed.check().map_err(|(_, reason)| wrong(reason))?;
        *self = changed;
        Ok(())
    }

    /// Whether the values can stand in manifests: the first key that cannot, and why.
    ///
    /// # Errors
    /// With key and reason.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let label = |key, text: &str| match is_label(text) {
            true => Ok(()),
            false => Err((
                key,
                "lower-case letters, digits and '-' are allowed, at most 63".to_owned(),
            )),
        };
        label("namespace", &self.namespace)?;
        label("revision", &self.revision)?;
        if matches!(
            self.namespace.as_str(),
            "kube-system" | "kube-public" | "kube-node-lease" | "default"
        ) {
            return Err(("namespace", "the mesh needs a namespace of its own".into()));
        }
        if !self.ca_secret.is_empty() {
            label("caSecret", &self.ca_secret)?;
        }
        if self.linkerd_namespaces && !self.linkerd_switches {
            let reason = "without linkerdSwitches no namespace asks in Linkerd's words";
            return Err(("linkerdNamespaces", reason.into()));
        }
        if !(1..=20).contains(&self.replicas) {
            return Err(("replicas", "1 to 20 are allowed".into()));
        }
        if !(0.0..=100.0).contains(&self.sampling_percentage) {
            return Err(("samplingPercentage", "0 to 100 are allowed".into()));
        }
        for (key, time) in [
            ("certTtl", &self.cert_ttl),
            ("rootSpread", &self.root_spread),
        ] {
            if !is_time(time) {
                return Err((key, "write a time such as 30s, 90m, 24h or 7d".into()));
            }
        }
        for (key, text) in [
            ("imageRegistry", &self.image_registry),
            ("imageTag", &self.image_tag),
            ("clusterDomain", &self.cluster_domain),
        ] {
            if text.is_empty()
                || !text
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"\"'{}".contains(c))
            {
                return Err((key, "it is not part of a reference".into()));
            }
        }
        if !self
            .otlp_endpoint
            .chars()
            .all(|c| c.is_ascii_graphic() && !"\"'{}".contains(c))
        {
            return Err(("otlpEndpoint", "it is not an address".into()));
        }
        Ok(())
    }

    /// How many of each part.
    pub(crate) fn replica_count(&self) -> i32 {
        match self.ha {
            true => i32::from(self.replicas.max(3)),
            false => i32::from(self.replicas),
        }
    }

    pub(crate) fn image(&self, part: &str) -> String {
        format!("{}/{part}:{}", self.image_registry, self.image_tag)
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_time(text: &str) -> bool {
    let Some(number) = text.strip_suffix(['s', 'm', 'h', 'd']) else {
        return false;
    };
    number.parse::<u32>().is_ok_and(|number| number > 0)
}

/// The key that differs least.
fn nearest<'a>(key: &str, all: impl Iterator<Item = &'a String>) -> String {
    let key = key.to_lowercase();
    all.min_by_key(|one| distance(&key, &one.to_lowercase()))
        .cloned()
        .unwrap_or_default()
}

/// Letters to change, add or leave out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_set_by_their_keys() {
        let mut settings = Settings::default();
        for assignment in [
            "replicas=3",
            "ha=true",
            "trustDomain=prod.example",
            "samplingPercentage=2.5",
            "verifyTokens=cluster-keys",
            "failurePolicy=Ignore",
            "caSecret=mesh-ca",
        ] {
            settings.set(assignment).unwrap();
        }
        assert_eq!(settings.replicas, 3);
        assert_eq!(settings.trust_domain.to_string(), "prod.example");
        assert_eq!(settings.verify_tokens, TokenCheck::ClusterKeys);
    }

    #[test]
    fn what_cannot_be_set_is_refused_with_what_can() {
        let mut settings = Settings::default();
        for (assignment, reason) in [
            ("replica=3", "did you mean replicas"),
            ("nativesidecar=true", "did you mean nativeSidecars"),
            ("ha=yes", "true and false"),
            ("replicas=0", "1 to 20"),
            ("replicas=many", "not a number"),
            ("trustDomain=UPPER", "trust domain"),
            ("verifyTokens=always", "cluster-keys"),
            ("certTtl=1y", "24h"),
            ("namespace=kube-system", "of its own"),
            ("namespace=a.b", "letters"),
            ("imageTag=1 2", "reference"),
            ("ha", "KEY=VALUE"),
        ] {
            let refused = settings.set(assignment).unwrap_err().to_string();
            assert!(refused.contains(reason), "{assignment}: {refused}");
        }
        assert_eq!(settings, Settings::default());
        settings.set("linkerdNamespaces=true").unwrap();
        let refused = settings.set("linkerdSwitches=false").unwrap_err();
        assert!(refused.to_string().contains("Linkerd's words"), "{refused}");
    }
}
