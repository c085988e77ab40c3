//! What the server asks of an Event (events.k8s.io): who says what of it must be said, and shortly.

use serde_json::Value;

use crate::kinds::Kind;

/// Bytes of a note.
const MAX_NOTE: usize = 1024;
const MAX_WORD: usize = 128;

/// What is wrong with it.
pub(crate) fn check(kind: &Kind, object: &Value) -> Result<(), String> {
    if kind.resource() != "events.events.k8s.io" {
        return Ok(());
    }
    for field in [
        "action",
        "reason",
        "reportingController",
        "reportingInstance",
    ] {
        let text = object[field].as_str().unwrap_or_default();
        if text.is_empty() {
            return Err(format!("{field}: Required value"));
        }
        if text.len() > MAX_WORD {
            return Err(format!(
                "{field}: Invalid value: \"\": can have at most {MAX_WORD} characters"
            ));
        }
    }
    if object["eventTime"].as_str().is_none_or(str::is_empty) {
        return Err("eventTime: Required value".into());
    }
    if !matches!(object["type"].as_str(), Some("Normal" | "Warning")) {
        return Err(format!(
            "type: Invalid value: \"\": has invalid value: {}",
            object["type"]
        ));
    }
    let note = object["note"].as_str().unwrap_or_default();
    if note.len() > MAX_NOTE {
        return Err(format!(
            "message: Invalid value: \"\": can have at most {MAX_NOTE} characters"
        ));
    }
    Ok(())
}
