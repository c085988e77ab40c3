//! A node as one would write it on one line, to be shown in a suggestion and pasted: short ones only.

use super::{Node, Scalar, Value};

/// Longest text that is offered to be pasted.
const MOST: usize = 120;

impl Node {
    /// On one line; None when it is too long for one.
    pub fn on_one_line(&self) -> Option<String> {
        let mut line = String::new();
        self.print(&mut line)?;
        (line.chars().count() <= MOST && !line.contains('\n')).then_some(line)
    }

    fn print(&self, line: &mut String) -> Option<()> {
        match &self.value {
            Value::Plain(text) if text.contains([',', '[', ']', '{', '}', '#', '\n']) => {
                line.push_str(&quoted(text));
            }
            Value::Plain(text) => line.push_str(text),
            Value::Quoted(text) => line.push_str(&scalar(text)),
            Value::Seq(items) => {
                line.push('[');
                for (i, item) in items.iter().enumerate() {
                    line.push_str(if i > 0 { ", " } else { "" });
                    item.print(line)?;
                }
                line.push(']');
            }
            Value::Map(entries) => {
                line.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    line.push_str(if i > 0 { ", " } else { "" });
                    line.push_str(&scalar(&key.name));
                    line.push_str(": ");
                    value.print(line)?;
                }
                line.push('}');
            }
        }
        (line.len() <= 4 * MOST).then_some(())
    }
}

/// A text as a scalar that is this text: in quotes if it would be something else without.
pub(in crate::source) fn scalar(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'/');
    if begins && text.bytes().all(plain) && Scalar::plain(text) == Scalar::Text(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// In quotes.
pub(in crate::source) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        for text in [
            "{uri: {prefix: /a}}",
            "[a, {b: \"2\", c: \"yes\", \":path\": \"x: y\"}]",
            "{a: 1.10, b: true, c: \"a,b\"}",
        ] {
            let node = Node::parse(text, 0).unwrap();
            assert_eq!(node.on_one_line().unwrap(), text);
        }
        let block = Node::parse("a:\n- b: \"{{ x }}\"\n  c: it's\n", 0).unwrap();
        let line = block.on_one_line().unwrap();
        assert_eq!(line, "{a: [{b: \"{{ x }}\", c: it's}]}");
        assert_eq!(Node::parse(&line, 0).unwrap().to_json(), block.to_json());
        let long = Node::parse(&format!("[{}]", "a, ".repeat(1000)), 0).unwrap();
        assert_eq!(long.on_one_line(), None);
    }
}
