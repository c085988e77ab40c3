//! Label and field selectors, of lists, watches and webhooks.

use serde_json::Value;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) namespace: Option<String>,
    labels: Vec<Requirement>,
    /// Path, value, and whether it must be so.
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    values: Vec<String>,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    In,
    NotIn,
    Exists,
    Absent,
}

impl Selector {
    /// `labelSelector` and `fieldSelector` as they stand in a query.
    pub(crate) fn parse(
        namespace: Option<&str>,
        labels: &str,
        fields: &str,
    ) -> Result<Self, String> {
        let mut selector = Self {
            namespace: namespace.map(str::to_owned),
            ..Self::default()
        };
        for part in split(labels) {
            selector.labels.push(Requirement::parse(part)?);
        }
        for part in split(fields) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once('=') {
                (path, value.trim_start_matches('='), true)
            } else {
                return Err(format!(
                    "invalid selector: '{part}'; can't understand '{part}'"
                ));
            };
            selector
                .fields
                .push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(selector)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let here = self
            .namespace
            .as_deref()
            .is_none_or(|ns| metadata["namespace"] == *ns);
        here && self
            .labels
            .iter()
            .all(|wanted| wanted.matches(&metadata["labels"]))
            && self.fields.iter().all(|(path, value, equal)| {
                let found = path.split('.').fold(object, |at, step| &at[step]);
                let found = match found {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                (found == *value) == *equal
            })
    }
}

/// Parts between commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

impl Requirement {
    fn parse(part: &str) -> Result<Self, String> {
        let made = |key: &str, values: Vec<String>, how| {
            Ok(Self {
                key: key.trim().to_owned(),
                values,
                how,
            })
        };
        let listed = |text: &str| -> Vec<String> {
            let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
            inner
                .split(',')
                .map(|value| value.trim().to_owned())
                .collect()
        };
        if let Some((key, values)) = part.split_once(" notin ") {
            made(key, listed(values), How::NotIn)
        } else if let Some((key, values)) = part.split_once(" in ") {
            made(key, listed(values), How::In)
        } else if let Some((key, value)) = part.split_once("!=") {
            made(key, vec![value.trim().to_owned()], How::NotIn)
        } else if let Some((key, value)) = part.split_once('=') {
            made(
                key,
                vec![value.trim_start_matches('=').trim().to_owned()],
                How::In,
            )
        } else if let Some(key) = part.strip_prefix('!') {
            made(key, Vec::new(), How::Absent)
        } else if part.contains(' ') {
            Err(format!("unable to parse requirement: {part}"))
        } else {
            made(part, Vec::new(), How::Exists)
        }
    }

    fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let listed = || value.is_some_and(|value| self.values.iter().any(|v| v == value));
        match self.how {
            How::In => listed(),
            How::NotIn => !listed(),
            How::Exists => value.is_some(),
            How::Absent => value.is_none(),
        }
    }
}

/// A `metav1.LabelSelector` over labels. An empty one, and none, selects everything.
pub(crate) fn label_selector(selector: &Value, labels: &Value) -> bool {
    let empty = serde_json::Map::new();
    let equal = selector["matchLabels"].as_object().unwrap_or(&empty);
    let expressions = selector["matchExpressions"].as_array();
    equal
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().flatten().all(|expression| {
            let values = expression["values"].as_array();
            let values = values.into_iter().flatten().filter_map(Value::as_str);
            Requirement {
                key: expression["key"].as_str().unwrap_or_default().to_owned(),
                values: values.map(str::to_owned).collect(),
                how: match expression["operator"].as_str() {
                    Some("In") => How::In,
                    Some("NotIn") => How::NotIn,
                    Some("DoesNotExist") => How::Absent,
                    _ => How::Exists,
                },
            }
            .matches(labels)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select_as_they_do_in_kubectl() {
        let object = json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "x", "tier": "2"}}});
        let selects = |labels: &str, fields: &str| {
            Selector::parse(Some("n"), labels, fields)
                .unwrap()
                .matches(&object)
        };
        for good in [
            "app=x",
            "app==x,tier",
            "app in (x, y),!gone",
            "app notin (z)",
            "app!=y",
            "",
        ] {
            assert!(selects(good, ""), "{good}");
        }
        for bad in ["app=y", "!app", "gone", "app in (y,z)", "app notin (x)"] {
            assert!(!selects(bad, ""), "{bad}");
        }
        assert!(selects("", "metadata.name=a") && !selects("", "metadata.name!=a"));
        assert!(!Selector::parse(Some("m"), "", "").unwrap().matches(&object));
        let expression =
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]});
        assert!(!label_selector(&expression, &object["metadata"]["labels"]));
        assert!(label_selector(&Value::Null, &object["metadata"]["labels"]));
    }
}
