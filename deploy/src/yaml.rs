//! Objects as a stream of YAML documents: the same text for the same objects. Written by hand, as it is
//! little: maps and lists in blocks, and a scalar quoted wherever a reader could take it for something
//! else.

use std::fmt::Write as _;

use serde_json::Value;

/// Documents, each begun by `---`.
pub fn yaml(objects: &[Value]) -> String {
    let mut out = String::new();
    for object in objects {
        out.push_str("---\n");
        block(object, 0, &mut out);
    }
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", scalar(key));
                nested(value, indent, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                let _ = write!(out, "{:indent$}-", "");
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(value, indent + 2, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    other => nested(other, indent + 2, out),
                }
            }
        }
        other => {
            let _ = writeln!(out, "{:indent$}{}", "", text(other));
        }
    }
}

/// After `key:` or `-`.
fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(list) if list.is_empty() => out.push_str(" []\n"),
        Value::Object(_) => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(_) => {
            out.push('\n');
            block(value, indent, out);
        }
        Value::String(lines) if lines.contains('\n') => {
            out.push_str(if lines.ends_with('\n') {
                " |\n"
            } else {
                " |-\n"
            });
            for line in lines.lines() {
                match line {
                    "" => out.push('\n'),
                    line => {
                        let _ = writeln!(out, "{:1$}{line}", "", indent + 2);
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, " {}", text(other));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain where it is certain to be read as this text.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@+*,()<>!&| ".contains(c);
    let begins = |c: char| c.is_ascii_alphabetic() || c == '/';
    let certain = text.starts_with(begins)
        && text.chars().all(plain)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.contains(" #")
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        );
    match certain || is_flag(text) {
        true => text.to_owned(),
        // JSON's strings are YAML's double-quoted ones.
        false => Value::from(text).to_string(),
    }
}

/// `--flag=value`: no document's end, and no list's.
fn is_flag(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@+".contains(c);
    text.starts_with("--")
        && text.len() > 3
        && text[2..].starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(plain)
        && !text.ends_with(':')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let object = json!({
            "a": {"b": [1, 2.5, true, null, "true", "1", "1.0", "", "x y", "a: b", "- c", "*", "#"]},
            "list": [{"k": "v", "deep": [{"x": []}]}, [], {}, [["nested", "1"]]],
            "lines": "one\n\n  two: 'three'\n", "last": "one\ntwo",
            "flag": ["--listen=0.0.0.0:15013", "--empty=", "--a: b", "~", "null", "0x1", "=", "1e3"],
            "key with: colon": "tab\there \u{e9}",
        });
        let text = yaml(std::slice::from_ref(&object));
        let read: Value = serde_saphyr::from_str(text.trim_start_matches("---\n")).unwrap();
        assert_eq!(read, object, "{text}");
    }
}
