//! Why a pod is refused. Every one of them is the pod author's to fix, and says how.

use thiserror::Error;

/// A pod that cannot be injected as it stands.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InjectError {
    /// A label or annotation whose value is none of the allowed ones.
    #[error("{place} {key} has the value {value:?}; allowed: {allowed}")]
    BadValue {
        /// Where it stands: `label`, `annotation`, `namespace label` or `namespace annotation`.
        place: &'static str,
        /// The key as written.
        key: String,
        /// The value as written.
        value: String,
        /// What may stand there.
        allowed: String,
    },
    /// Something that Kubernetes would not accept in a pod either.
    #[error("{path}: {reason}")]
    Shape {
        /// Path from the pod (template), such as `spec.containers[0].livenessProbe`.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The pod has something of its own under a name that injection needs.
    #[error(
        "{what} {name:?} has a name that Heddle's injection uses: rename it, or set the label heddle.io/inject to \"false\""
    )]
    ReservedName {
        /// `container`, `init container`, `volume` or `volume mount`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The record of an earlier injection cannot be read.
    #[error(
        "annotation heddle.io/status is not what the injector writes ({reason}): remove the annotation and what was injected, or inject the original"
    )]
    BadStatus {
        /// What is wrong with it.
        reason: String,
    },
}

impl InjectError {
    /// A word to look for in the source text to find the line that is meant.
    #[must_use]
    pub fn keyword(&self) -> &str {
        match self {
            Self::BadValue { key, .. } => key,
            Self::Shape { path, .. } => {
                let field = path.rsplit('.').next().unwrap_or(path);
                field.split('[').next().unwrap_or(field)
            }
            Self::ReservedName { name, .. } => name,
            Self::BadStatus { .. } => crate::names::STATUS,
        }
    }

    /// Where in the pod (template) the mistake is: keys and positions, as far as known.
    pub(crate) fn place(&self) -> Vec<String> {
        let metadata = |field: &str, key: &str| vec!["metadata".into(), field.into(), key.into()];
        match self {
            Self::BadValue { place, key, .. } => match *place {
                "label" => metadata("labels", key),
                "annotation" => metadata("annotations", key),
                _ => Vec::new(),
            },
            Self::Shape { path, .. } => path
                .split(['.', '['])
                .map(|token| token.trim_end_matches(']').to_owned())
                .filter(|token| token != "pod")
                .collect(),
            // Not there: the name is to be looked for from the spec on.
            Self::ReservedName { name, .. } => vec!["spec".into(), name.clone()],
            Self::BadStatus { .. } => metadata("annotations", crate::names::STATUS),
        }
    }
}
