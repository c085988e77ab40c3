//! A thing that makes pods, read once from its object: how many, from which template, and how one
//! revision follows another.

use serde_json::{Map, Value, json};

use super::names;
use crate::manifests::{Key, Object};

/// How pods of a workload are named and replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Deployment, ReplicaSet: new ones first. How many more, and how many fewer, than wanted.
    Rolling { surge: usize, unavailable: usize },
    /// All of the old stop before the new start (Deployment's `Recreate`, DaemonSet).
    Recreate,
    /// StatefulSet: `NAME-0` …, one after the other.
    Ordinal { parallel: bool },
    /// A Pod of its own: it has the name of the object.
    Single,
    /// Job: until so many succeeded, giving up after so many failed.
    Completions {
        parallel: usize,
        backoff_limit: usize,
    },
}

/// A workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Workload {
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) replicas: usize,
    pub(crate) style: Style,
    /// The Service that a StatefulSet's pods have their names in.
    pub(crate) subdomain: Option<String>,
    /// `metadata` and `spec` of a pod.
    pub(crate) template: Value,
    /// Of the template.
    pub(crate) revision: String,
}

/// Most replicas of one workload: each is a network namespace and processes of this machine.
const MAX_REPLICAS: u64 = 500;

impl Workload {
    /// Whether objects of this kind make pods.
    pub(crate) fn is_kind(kind: &str) -> bool {
        matches!(
            kind,
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "Pod"
        )
    }

    /// Reads an object; the error is the reason for people.
    pub(crate) fn read(object: &Object) -> Result<Option<Self>, String> {
        let number = |path: &str, default: u64| match object.at(path) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_u64()
                .ok_or(format!("{} is {value}, not a number from 0", dotted(path))),
        };
        let (style, replicas) = match object.key.kind.as_str() {
            "Deployment" | "ReplicaSet" => {
                let replicas = number("/spec/replicas", 1)?;
                (rolling(object, replicas)?, replicas)
            }
            "StatefulSet" => {
                let policy = object
                    .at("/spec/podManagementPolicy")
                    .and_then(Value::as_str);
                (
                    Style::Ordinal {
                        parallel: policy == Some("Parallel"),
                    },
                    number("/spec/replicas", 1)?,
                )
            }
            // One machine is one node.
            "DaemonSet" => (Style::Recreate, 1),
            "Job" => {
                let parallel = number("/spec/parallelism", 1)?;
                let style = Style::Completions {
                    parallel: count(parallel),
                    backoff_limit: count(number("/spec/backoffLimit", 6)?),
                };
                (style, number("/spec/completions", parallel.max(1))?)
            }
            "Pod" => (Style::Single, 1),
            _ => return Ok(None),
        };
        if replicas > MAX_REPLICAS {
            return Err(format!(
                "spec.replicas is {replicas}; one machine runs at most {MAX_REPLICAS} of a workload"
            ));
        }
        let template = template(object)?;
        Ok(Some(Self {
            key: object.key.clone(),
            uid: names::uid(),
            replicas: count(replicas),
            style,
            subdomain: object
                .at("/spec/serviceName")
                .and_then(Value::as_str)
                .map(str::to_owned),
            revision: names::revision(&template),
            template,
        }))
    }

    /// A name for one more pod that none of `taken` has.
    pub(crate) fn pod_name(&self, taken: impl Fn(&str) -> bool) -> String {
        loop {
            let name = match self.key.kind.as_str() {
                "Deployment" => format!("{}-{}-{}", self.key.name, self.revision, names::suffix()),
                _ => format!("{}-{}", self.key.name, names::suffix()),
            };
            if !taken(&name) {
                return name;
            }
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn dotted(path: &str) -> String {
    path.trim_start_matches('/').replace('/', ".")
}

fn rolling(object: &Object, replicas: u64) -> Result<Style, String> {
    match object.at("/spec/strategy/type").and_then(Value::as_str) {
        Some("Recreate") => return Ok(Style::Recreate),
        None | Some("RollingUpdate") => {}
        Some(other) => {
            return Err(format!(
                "spec.strategy.type is `{other}`; RollingUpdate and Recreate are allowed"
            ));
        }
    }
    let part = |name: &str, up: bool| {
        share(
            object.at(&format!("/spec/strategy/rollingUpdate/{name}")),
            replicas,
            up,
        )
    };
    let (surge, unavailable) = (part("maxSurge", true)?, part("maxUnavailable", false)?);
    // Kubernetes refuses 0 and 0, and so would never finish; one at a time is what was meant.
    Ok(Style::Rolling {
        surge: if surge + unavailable == 0 { 1 } else { surge },
        unavailable,
    })
}

/// A number, or a percentage of the replicas rounded up (surge) or down (unavailable); 25 % unless said.
fn share(value: Option<&Value>, replicas: u64, up: bool) -> Result<usize, String> {
    let percent = |percent: u64| {
        let scaled = replicas * percent.min(100);
        count(if up {
            scaled.div_ceil(100)
        } else {
            scaled / 100
        })
    };
    match value {
        None | Some(Value::Null) => Ok(percent(25)),
        Some(Value::Number(number)) => Ok(count(number.as_u64().unwrap_or(0))),
        Some(Value::String(text)) => {
            let number = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok());
            number.map(percent).ok_or(format!(
                "spec.strategy.rollingUpdate: `{text}` is neither a number nor a percentage"
            ))
        }
        Some(other) => Err(format!(
            "spec.strategy.rollingUpdate: {other} is neither a number nor a percentage"
        )),
    }
}

fn template(object: &Object) -> Result<Value, String> {
    let bare = object.key.kind == "Pod";
    let (metadata, spec) = match bare {
        true => (object.at("/metadata"), object.at("/spec")),
        false => (
            object.at("/spec/template/metadata"),
            object.at("/spec/template/spec"),
        ),
    };
    let at = if bare { "spec" } else { "spec.template.spec" };
    let spec = spec
        .filter(|spec| spec.is_object())
        .ok_or(format!("{at} is missing: there is nothing to run"))?;
    if spec
        .get("containers")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        return Err(format!(
            "{at}.containers is missing or empty: there is nothing to run"
        ));
    }
    let kept: Map<String, Value> = ["labels", "annotations"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), metadata?.get(*name)?.clone())))
        .collect();
    if let (false, Some(selector)) = (
        bare,
        object
            .at("/spec/selector/matchLabels")
            .and_then(Value::as_object),
    ) {
        let label = |key: &String| kept.get("labels").and_then(|labels| labels.get(key));
        if let Some((key, value)) = selector
            .iter()
            .find(|(key, value)| label(key) != Some(value))
        {
            return Err(format!(
                "spec.selector wants the label {key}={value}, which spec.template.metadata.labels lacks"
            ));
        }
    }
    Ok(json!({"metadata": kept, "spec": spec}))
}

#[cfg(test)]
pub(super) mod tests;
