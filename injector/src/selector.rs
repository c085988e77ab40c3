//! Label selectors of the configuration: Kubernetes' meaning, but an unknown key is refused (a
//! misspelt `matchLabels` would otherwise select every pod), and so is the empty selector.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `matchLabels` and `matchExpressions`, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    match_expressions: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl TryFrom<Written> for LabelSelector {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if written.match_labels.is_empty() && written.match_expressions.is_empty() {
            return Err("an empty selector selects every pod; use defaultInject for that".into());
        }
        for requirement in &written.match_expressions {
            let needs_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            if needs_values == requirement.values.is_empty() {
                let need = if needs_values {
                    "needs values"
                } else {
                    "takes no values"
                };
                return Err(format!(
                    "operator {:?} on {:?} {need}",
                    requirement.operator, requirement.key
                ));
            }
        }
        Ok(Self {
            match_labels: written.match_labels,
            match_expressions: written.match_expressions,
        })
    }
}

impl LabelSelector {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            // As in Kubernetes: a pod without the label is not in the set either.
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn selects(selector: serde_json::Value, labels: serde_json::Value) -> bool {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        selector.matches(&serde_json::from_value(labels).unwrap())
    }

    #[test]
    fn all_parts_must_hold() {
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]});
        assert!(selects(selector.clone(), json!({"a": "1", "b": ""})));
        assert!(!selects(selector.clone(), json!({"a": "1"})));
        assert!(!selects(selector, json!({"a": "2", "b": ""})));
    }

    #[test]
    fn operators_mean_what_kubernetes_means() {
        let with = |operator: &str, values: &[&str]| {
            let mut requirement = json!({"key": "k", "operator": operator});
            if !values.is_empty() {
                requirement["values"] = json!(values);
            }
            json!({"matchExpressions": [requirement]})
        };
        assert!(selects(with("In", &["x", "y"]), json!({"k": "y"})));
        assert!(!selects(with("In", &["x"]), json!({})));
        assert!(selects(with("NotIn", &["x"]), json!({})));
        assert!(!selects(with("NotIn", &["x"]), json!({"k": "x"})));
        assert!(selects(with("DoesNotExist", &[]), json!({})));
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in [
            json!({}),
            json!({"matchLabel": {"a": "1"}}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Has"}]}),
        ] {
            assert!(
                serde_json::from_value::<LabelSelector>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
