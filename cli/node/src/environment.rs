//! What a container learns of its pod: environment variables, field references, `$(NAME)`.
//!
//! Follows Kubernetes: later variables may refer to earlier ones, an unknown reference stays as it
//! is written, `$$` is a dollar sign, and an optional source that is missing is silently empty.

mod facts;
mod quantity;

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use self::quantity::resource_value;
pub(crate) use self::{facts::Facts, quantity::amount};
use crate::{NodeError, objects::Data};

/// The kernel's MAX_ARG_STRLEN: longest argument or variable of a process.
const LONGEST: usize = 128 * 1024;

/// A container's variables in order, each name once.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pairs: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Environment {
    /// Sets a variable; a later value takes the place of an earlier one.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.index.get(&name) {
            Some(&at) => self.pairs[at].1 = value,
            None => {
                self.index.insert(name.clone(), self.pairs.len());
                self.pairs.push((name, value));
            }
        }
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|&at| self.pairs[at].1.as_str())
    }

    /// The variables in order.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.pairs
    }

    /// Adds what a container's `envFrom` and `env` say.
    pub(crate) fn extend(
        &mut self,
        container: &Container,
        facts: &Facts<'_>,
    ) -> Result<(), NodeError> {
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            let (kind, name, optional, data) = match (&source.config_map_ref, &source.secret_ref) {
                (Some(map), _) => {
                    let data = facts.objects.config_map(facts.namespace, &map.name);
                    ("ConfigMap", &map.name, map.optional, data)
                }
                (None, Some(secret)) => {
                    let data = facts.objects.secret(facts.namespace, &secret.name);
                    ("Secret", &secret.name, secret.optional, data)
                }
                (None, None) => continue,
            };
            for (key, value) in present(data, kind, name, optional)?.into_iter().flatten() {
                self.set(format!("{prefix}{key}"), String::from_utf8_lossy(value));
            }
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable, container, facts)? {
                self.set(&variable.name, value);
            }
        }
        Ok(())
    }

    fn value(
        &self,
        variable: &EnvVar,
        container: &Container,
        facts: &Facts<'_>,
    ) -> Result<Option<String>, NodeError> {
        let Some(from) = &variable.value_from else {
            let value = self.expand(variable.value.as_deref().unwrap_or_default());
            return value.map(Some).map_err(|error| {
                NodeError::spec(
                    format!("environment variable {}", variable.name),
                    error.chain(),
                )
            });
        };
        from_source(from, container, facts).map_err(|error| {
            NodeError::spec(
                format!("environment variable {}", variable.name),
                error.chain(),
            )
        })
    }

    /// Puts variables in the place of `$(NAME)`. What grows beyond what the system can pass on is
    /// refused while it grows: references to references multiply.
    pub(crate) fn expand(&self, text: &str) -> Result<String, NodeError> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                expanded.push('$');
                rest = after;
                continue;
            }
            let name = rest.strip_prefix("$(").and_then(|r| r.split_once(')'));
            match name.and_then(|(name, after)| Some((name, self.get(name)?, after))) {
                Some((name, value, after)) => {
                    if expanded.len() + value.len() > LONGEST {
                        let reason = format!(
                            "becomes longer than the {LONGEST} bytes a process can be given"
                        );
                        return Err(NodeError::spec(
                            format!("the text with `$({name})`"),
                            reason,
                        ));
                    }
                    expanded.push_str(value);
                    rest = after;
                }
                None => {
                    expanded.push('$');
                    rest = &rest[1..];
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

fn from_source(
    from: &EnvVarSource,
    container: &Container,
    facts: &Facts<'_>,
) -> Result<Option<String>, NodeError> {
    let key = |data: Option<&Data>, kind, name: &str, key: &str, optional: Option<bool>| {
        let Some(data) = present(data, kind, name, optional)? else {
            return Ok(None);
        };
        match data.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional == Some(true) => Ok(None),
            None => Err(NodeError::spec(
                format!("{kind} {name}"),
                format!("has no key `{key}`"),
            )),
        }
    };
    if let Some(field) = &from.field_ref {
        return facts.field(&field.field_path).map(Some);
    }
    if let Some(map) = &from.config_map_key_ref {
        let data = facts.objects.config_map(facts.namespace, &map.name);
        return key(data, "ConfigMap", &map.name, &map.key, map.optional);
    }
    if let Some(secret) = &from.secret_key_ref {
        let data = facts.objects.secret(facts.namespace, &secret.name);
        return key(data, "Secret", &secret.name, &secret.key, secret.optional);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_value(resource, container).map(Some);
    }
    Err(NodeError::spec(
        "valueFrom",
        "names no source that is known here",
    ))
}

/// The data, or nothing when it is missing and optional.
pub(crate) fn present<'d>(
    data: Option<&'d Data>,
    kind: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'d Data>, NodeError> {
    match data {
        None if optional != Some(true) => {
            let reason = "is not there; apply it, or mark the reference `optional: true`";
            Err(NodeError::spec(format!("{kind} {name}"), reason))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::Objects;

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let mut env = Environment::default();
        env.set("A", "1");
        env.set("B", env.expand("$(A)-$(MISSING)-$$(A)-$A-$").unwrap());
        assert_eq!(env.get("B"), Some("1-$(MISSING)-$(A)-$A-$"));
    }

    #[test]
    fn references_cannot_multiply_without_end() {
        let mut env = Environment::default();
        env.set("A0", "x".repeat(64));
        let refused = (1..9).find_map(|n| {
            let text = format!("$(A{})", n - 1).repeat(16);
            match env.expand(&text) {
                Ok(value) => {
                    assert!(value.len() <= LONGEST);
                    env.set(format!("A{n}"), value);
                    None
                }
                Err(error) => Some(error.chain()),
            }
        });
        assert!(refused.unwrap().contains("$(A2)"));
    }

    #[test]
    fn fields_sources_and_mistakes() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"labels": {"app": "web"}, "annotations": {"a/b": "x \"y\""}},
            "spec": {"serviceAccountName": "web", "containers": []},
        }))
        .unwrap();
        let mut objects = Objects::default();
        objects.config_maps.insert(
            ("shop".into(), "conf".into()),
            [("k".to_owned(), b"v".to_vec())].into(),
        );
        let ips = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let facts = Facts {
            pod: &pod,
            namespace: "shop",
            name: "web-1",
            uid: "u",
            ips: &ips,
            host_ip: "10.0.0.254".parse().unwrap(),
            node_name: "n",
            objects: &objects,
        };
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "conf"}},
                        {"secretRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations"}}},
                {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "BOTH", "value": "$(LABEL)$(P_k)"}],
            "resources": {"limits": {"cpu": "1500m"}},
        }))
        .unwrap();
        let mut env = Environment::default();
        env.extend(&container, &facts).unwrap();
        let got: Vec<&str> = ["LABEL", "NOTE", "IPS", "KEY", "CPU", "BOTH"]
            .map(|n| env.get(n).unwrap())
            .into();
        assert_eq!(
            got,
            [
                "web",
                "a/b=\"x \\\"y\\\"\"",
                "10.0.0.1,fd00::1",
                "v",
                "2",
                "webv"
            ]
        );
        let missing: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        }))
        .unwrap();
        let error = Environment::default()
            .extend(&missing, &facts)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("variable X") && error.contains("Secret s"),
            "{error}"
        );
        assert!(
            facts
                .field("metadata.color")
                .unwrap_err()
                .to_string()
                .contains("metadata.color")
        );
    }
}
