//! Reading and writing of documents as Kubernetes' tools understand them: a number that starts
//! with 0 is octal (`defaultMode: 0644`), and a text that would be read as anything else is quoted.

use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::{SingleQuoted, options, ser_options};

/// Longer than any line: folding would make texts harder to read, not easier.
const NEVER_FOLD: usize = 1 << 24;

pub(super) fn parse_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, options! { legacy_octal_numbers: true })
}

/// The error's first line, without the position and the excerpt.
pub(super) fn brief(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

pub(super) fn yaml(value: &Value) -> String {
    let written = serde_saphyr::to_string_with_options(
        &Readable(value),
        ser_options! { folded_wrap_chars: NEVER_FOLD },
    );
    // Cannot fail for a JSON value; JSON is YAML if it ever does.
    let mut text = written.unwrap_or_else(|_| value.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// `value` on one line in a block: a scalar or an empty collection. `None` for anything else.
pub(super) fn one_line(value: &Value) -> Option<String> {
    let empty = value.as_object().is_some_and(serde_json::Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty);
    if empty {
        return Some(flow(value));
    }
    if value.is_object() || value.is_array() {
        return None;
    }
    let text = yaml(value);
    let line = text.trim_end_matches('\n');
    Some(if line.contains('\n') {
        value.to_string()
    } else {
        line.to_owned()
    })
}

/// `value` between braces, on one line: YAML that is JSON but for its keys.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), flow(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A key between braces: quoted unless it is a plain word.
pub(super) fn flow_key(key: &str) -> String {
    let is_word = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
        && !matches!(
            key.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_word {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

/// Writes texts that hold JSON between single quotes, where nothing in them needs an escape.
struct Readable<'a>(&'a Value);

impl Serialize for Readable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key, Readable(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Readable)),
            Value::String(text) if is_json_like(text) => {
                SingleQuoted(text.as_str()).serialize(serializer)
            }
            value => value.serialize(serializer),
        }
    }
}

fn is_json_like(text: &str) -> bool {
    text.starts_with(['{', '[']) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

pub(super) fn json(value: &Value, pretty: bool) -> String {
    if pretty {
        format!("{value:#}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn texts_that_look_like_something_else_stay_texts() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "true",
            "False",
            "null",
            "~",
            "",
            " ",
            "0644",
            "0o17",
            "0x1f",
            "1e3",
            "1_000",
            "1.0",
            ".5",
            "-1",
            "+1",
            ".inf",
            ".nan",
            "12:30:45",
            "2001-01-01",
            "=",
            "<<",
            "*a",
            "&a",
            "!a",
            "#a",
            "a #b",
            "a: b",
            "a:",
            "- a",
            "-",
            "---",
            "...",
            "[a",
            "{a",
            "@a",
            "`a",
            "%a",
            "|",
            ">",
            "'a'",
            "\"a\"",
            "a\nb",
            "a\n",
            "\na",
            "a\n\n",
            "  a\nb",
            "a\tb",
            "\ta",
            "a ",
            "é",
            "\u{1}",
            "\r\n",
            "a\r",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "😀",
            "{\"a\": \"it's\"}",
            "[1, '']",
            "{}",
            "[",
            "{\"a\\n\": 1}",
        ] {
            let value = json!({"k": text, "list": [text], "nested": {"deep": [{"t": text}]}});
            let written = yaml(&value);
            assert_eq!(
                parse_yaml(&written).unwrap(),
                value,
                "{text:?} as {written}"
            );
        }
    }

    #[test]
    fn keys_that_look_like_something_else_stay_keys() {
        for key in [
            "yes",
            "1",
            "0644",
            "null",
            "a b",
            "a: b",
            "#",
            "",
            "heddle.io/inject",
        ] {
            let value = json!({key: {"x": 1}});
            assert_eq!(parse_yaml(&yaml(&value)).unwrap(), value, "{key:?}");
        }
    }

    #[test]
    fn values_that_are_no_texts_stay_what_they_are() {
        let value = json!({"a": 1, "b": -1, "c": 1.5, "d": true, "e": null, "f": {}, "g": [], "h": u64::MAX, "i": [[1], []]});
        assert_eq!(parse_yaml(&yaml(&value)).unwrap(), value);
    }

    #[test]
    fn a_mode_with_a_leading_zero_is_octal() {
        assert_eq!(
            parse_yaml("mode: 0644\ntext: '0644'\n").unwrap(),
            json!({"mode": 420, "text": "0644"})
        );
    }
}
