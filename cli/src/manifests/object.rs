//! One Kubernetes object with where it came from, and what can be wrong with one.
//! An object's namespace is settled here once (`default` where the manifest says none).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use heddle_control::check::{Code, Severity};
use heddle_control::source::{Refusal, suggest};
use heddle_proto::admin::Refused;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What makes an object the same object: kind, namespace (empty for cluster-wide kinds), name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// As kubectl prints it: `deployment/reviews-v1`, with the namespace where it is not `default`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_ascii_lowercase(), self.name)?;
        match self.namespace.as_str() {
            "" | "default" => Ok(()),
            namespace => write!(f, " in {namespace}"),
        }
    }
}

/// Where a document stands: the file as the person named it, the line of its content, and the line
/// its text starts at (its `---`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) file: PathBuf,
    pub(crate) line: u32,
    pub(crate) start: u32,
}

/// One object of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) key: Key,
    /// The object, `metadata.namespace` filled in.
    pub(crate) value: Value,
    /// The text of its document, unchanged.
    pub(crate) text: Arc<str>,
    pub(crate) origin: Origin,
}

impl Object {
    /// The object under `path`, such as `/spec/template`.
    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        self.value.pointer(path)
    }
}

/// Something of the person's that was refused; everything else stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Where it ends, exclusive; 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) end_line: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) end_column: u32,
    /// What it is, for programs: `HDL0102`.
    pub(crate) code: String,
    /// `error`; or of what is in force all the same: `warning`, `note`.
    pub(crate) severity: String,
    pub(crate) reason: String,
    /// What will happen because of it.
    #[serde(default)]
    pub(crate) consequence: String,
    #[serde(default)]
    pub(crate) suggestion: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Problem {
    /// A problem of a whole document, before it is known what it describes.
    pub(crate) fn at(
        code: Code,
        file: &std::path::Path,
        line: u32,
        column: u32,
        reason: impl Into<String>,
    ) -> Self {
        let reason = reason.into();
        let suggestion = match suggest::placeholder(&reason) {
            Some(_) => suggest::RENDER.to_owned(),
            None => String::new(),
        };
        Self {
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            file: file.display().to_string(),
            line,
            column,
            end_line: 0,
            end_column: 0,
            code: code.to_string(),
            severity: code.severity().to_string(),
            reason,
            consequence: code.consequence().to_owned(),
            suggestion,
        }
    }

    /// What the control plane's source and model found.
    pub(crate) fn from_refusal(refusal: Refusal) -> Self {
        Self {
            kind: refusal.kind,
            namespace: refusal.namespace,
            name: refusal.name,
            file: refusal.file,
            line: refusal.at.line,
            column: refusal.at.column,
            end_line: 0,
            end_column: 0,
            code: refusal.code.to_string(),
            severity: refusal.severity.to_string(),
            reason: refusal.reason,
            consequence: refusal.consequence,
            suggestion: refusal.suggestion,
        }
    }

    /// What a control plane tells.
    pub(crate) fn from_wire(refused: &Refused) -> Self {
        let refused = refused.clone();
        Self {
            kind: refused.kind,
            namespace: refused.namespace,
            name: refused.name,
            file: refused.file,
            line: refused.line,
            column: refused.column,
            end_line: 0,
            end_column: 0,
            code: refused.code,
            severity: refused.severity,
            reason: refused.reason,
            consequence: refused.consequence,
            suggestion: refused.suggestion,
        }
    }

    /// Whether what it is about is in force all the same.
    pub(crate) fn is_warning(&self) -> bool {
        self.severity != Severity::Error.as_str()
    }

    /// A problem of one object.
    pub(crate) fn of(code: Code, object: &Object, reason: impl Into<String>) -> Self {
        Self::at(code, &object.origin.file, object.origin.line, 1, reason).named(&object.key)
    }

    pub(crate) fn named(mut self, key: &Key) -> Self {
        self.kind.clone_from(&key.kind);
        self.namespace.clone_from(&key.namespace);
        self.name.clone_from(&key.name);
        self
    }

    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = suggestion.into();
        self
    }

    /// Whether it is about that object.
    pub(crate) fn is_about(&self, key: &Key) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&key.kind, &key.namespace, &key.name)
    }

    /// What it is about: `virtualservice/reviews`, or the document's place where it has no name.
    pub(crate) fn subject(&self) -> String {
        match self.name.as_str() {
            "" if self.kind.is_empty() => "document".to_owned(),
            "" => self.kind.to_ascii_lowercase(),
            _ => Key::new(&self.kind, &self.namespace, &self.name).to_string(),
        }
    }

    /// `reviews.yaml:12:7`, as editors and terminals make it clickable.
    pub(crate) fn place(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.file.clone(),
            (line, 0) => format!("{}:{line}", self.file),
            (line, column) => format!("{}:{line}:{column}", self.file),
        }
    }
}
