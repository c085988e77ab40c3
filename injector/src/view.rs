//! What injection reads of a pod, typed and strict: a wrong type is refused with its path.
//! Everything else stays in the `Value` it came in, unread and unchanged.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerPort, EnvVar, Lifecycle, PodOS, PodSecurityContext, Probe, SecurityContext,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::config::is_dns_label;
use crate::error::InjectError;

#[derive(Debug, Deserialize)]
pub(crate) struct PodView {
    #[serde(default)]
    metadata: Option<Metadata>,
    pub(crate) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) containers: Vec<ContainerView>,
    #[serde(default)]
    init_containers: Option<Vec<ContainerView>>,
    #[serde(default)]
    volumes: Option<Vec<Named>>,
    #[serde(default)]
    host_network: Option<bool>,
    #[serde(default)]
    pub(crate) share_process_namespace: Option<bool>,
    /// What all containers share.
    #[serde(default)]
    resources: Option<PodResources>,
    #[serde(default)]
    service_account_name: Option<String>,
    #[serde(default)]
    os: Option<PodOS>,
    #[serde(default)]
    node_selector: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) security_context: Option<PodSecurityContext>,
    #[serde(default)]
    pub(crate) termination_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    #[serde(default)]
    ports: Option<Vec<ContainerPort>>,
    #[serde(default)]
    env: Option<Vec<EnvVar>>,
    #[serde(default)]
    volume_mounts: Option<Vec<Named>>,
    #[serde(default)]
    pub(crate) readiness_probe: Option<Probe>,
    #[serde(default)]
    pub(crate) liveness_probe: Option<Probe>,
    #[serde(default)]
    pub(crate) startup_probe: Option<Probe>,
    #[serde(default)]
    pub(crate) lifecycle: Option<Lifecycle>,
    #[serde(default)]
    pub(crate) security_context: Option<SecurityContext>,
}

/// Which resources a pod has as a whole; how much is the kubelet's to know.
#[derive(Debug, Default, Deserialize)]
struct PodResources {
    #[serde(default)]
    requests: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    limits: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

impl PodView {
    pub(crate) fn parse(pod: &Value) -> Result<Self, InjectError> {
        refuse_lists_for_objects(pod)?;
        let view: Self = serde_path_to_error::deserialize(pod).map_err(|error| {
            let path = match error.path().to_string() {
                root if root == "." => "pod".to_owned(),
                path => path,
            };
            InjectError::Shape {
                path,
                reason: error.inner().to_string(),
            }
        })?;
        if view.spec.containers.is_empty() {
            return Err(InjectError::Shape {
                path: "spec.containers".into(),
                reason: "a pod needs at least one container".into(),
            });
        }
        if let Some(name) = view
            .all_containers()
            .map(|container| &container.name)
            .find(|name| !is_dns_label(name))
        {
            return Err(InjectError::Shape {
                path: "spec.containers".into(),
                reason: format!(
                    "{name:?} is not a container's name: lower-case letters, digits and '-', at most 63"
                ),
            });
        }
        Ok(view)
    }

    /// A pod of which only these are known; it has no containers.
    pub(crate) fn of_metadata(
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        Self {
            metadata: Some(Metadata {
                name: None,
                labels: Some(labels.clone()),
                annotations: Some(annotations.clone()),
            }),
            spec: Spec::default(),
        }
    }

    /// Empty for a pod that a controller names.
    pub(crate) fn name(&self) -> &str {
        let name = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.name.as_deref());
        name.unwrap_or_default()
    }

    pub(crate) fn service_account(&self) -> &str {
        let name = self.spec.service_account_name.as_deref();
        name.filter(|name| !name.is_empty()).unwrap_or("default")
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata
            .as_ref()?
            .labels
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata
            .as_ref()?
            .annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    pub(crate) fn annotation_keys(&self) -> impl Iterator<Item = &str> {
        self.metadata
            .iter()
            .flat_map(|metadata| metadata.annotations.iter().flatten())
            .map(|(key, _)| key.as_str())
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata.labels.clone())
            .unwrap_or_default()
    }

    pub(crate) fn host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    pub(crate) fn windows(&self) -> bool {
        let os = self.spec.os.as_ref().map(|os| os.name.as_str());
        let node = self
            .spec
            .node_selector
            .as_ref()
            .and_then(|selector| selector.get("kubernetes.io/os"));
        os == Some("windows") || node.is_some_and(|node| node == "windows")
    }

    /// Whether the pod itself says how much of `resource` its containers have together.
    pub(crate) fn has_resource(&self, resource: &str) -> bool {
        let resources = self.spec.resources.iter();
        let mut amounts = resources.flat_map(|all| [&all.requests, &all.limits]);
        amounts.any(|amounts| {
            amounts
                .as_ref()
                .is_some_and(|all| all.contains_key(resource))
        })
    }

    pub(crate) fn init_containers(&self) -> &[ContainerView] {
        self.spec.init_containers.as_deref().unwrap_or_default()
    }

    /// Init containers, then containers.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &ContainerView> {
        self.init_containers().iter().chain(&self.spec.containers)
    }

    pub(crate) fn volumes(&self) -> &[Named] {
        self.spec.volumes.as_deref().unwrap_or_default()
    }
}

/// Serde would read a struct from a list of its fields too, and what edits the `Value` could not.
fn refuse_lists_for_objects(pod: &Value) -> Result<(), InjectError> {
    let object = |path: &str, value: &Value| match value {
        Value::Object(_) => Ok(()),
        _ => Err(InjectError::Shape {
            path: path.into(),
            reason: "has to be an object".into(),
        }),
    };
    object("pod", pod)?;
    for field in ["metadata", "spec"] {
        match pod.get(field) {
            Some(value) if !value.is_null() => object(field, value)?,
            _ if field == "metadata" => {}
            _ => {
                return Err(InjectError::Shape {
                    path: field.into(),
                    reason: "is missing".into(),
                });
            }
        }
    }
    for list in ["initContainers", "containers", "volumes"] {
        for (index, item) in pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            object(&format!("spec.{list}[{index}]"), item)?;
        }
    }
    Ok(())
}

impl ContainerView {
    pub(crate) fn ports(&self) -> &[ContainerPort] {
        self.ports.as_deref().unwrap_or_default()
    }

    /// Volumes that it mounts, by name.
    pub(crate) fn mounts(&self) -> &[Named] {
        self.volume_mounts.as_deref().unwrap_or_default()
    }

    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .flatten()
            .find(|variable| variable.name == name)?
            .value
            .as_deref()
    }
}
