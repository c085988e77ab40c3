//! How a sidecar logs.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ValueError;

/// How much a sidecar logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Only what needs a person.
    Error,
    /// And what may need one.
    Warn,
    /// And what an operator wants to know.
    #[default]
    Info,
    /// And what a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = ValueError;

    /// Also knows Envoy's words, which Istio's annotation takes.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "off" | "none" => Self::Off,
            "error" | "critical" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => {
                return Err(ValueError::new(
                    text,
                    "off, error, warn, info, debug, trace",
                ));
            }
        })
    }
}

impl TryFrom<String> for LogLevel {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

/// In which form a sidecar logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
