//! One YAML (or JSON) document as a tree whose every node knows its line and column. Scalars
//! stay text until a typed field asks for them, so nothing is guessed. Bounded in depth and in
//! nodes (aliases count each time they are used, a long text as many nodes); never panics,
//! whatever the text.

mod build;
mod ends;
mod flow;
mod slips;

use self::build::Builder;
pub use self::ends::ends;
pub(super) use self::flow::{quoted, scalar};
use super::scalar::Scalar;

/// Nesting that a document may have; Kubernetes objects stay below 30.
pub const MAX_DEPTH: usize = 64;
/// Nodes that a document may have, aliases expanded (a `List` of a thousand pods has 500,000).
pub const MAX_NODES: usize = 1_000_000;

/// Line and column, from 1; both 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line of the file.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar without quotes: its meaning depends on who asks.
    Plain(Box<str>),
    /// A scalar that can only be a string.
    Quoted(Box<str>),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping, in the order written, without duplicate keys.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it is called.
    pub name: Box<str>,
    /// As it is written, where that is something else: `on` without quotes is called `true`.
    pub written: Option<Box<str>>,
    /// Where it begins.
    pub at: Position,
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SyntaxError {
    /// Where.
    pub at: Position,
    /// What.
    pub reason: String,
    /// What to write, if that is known.
    pub suggestion: String,
    /// It is YAML, and too large or too deep.
    pub is_too_much: bool,
}

impl Node {
    /// Parses one document; `line_offset` lines come before it in its file.
    pub fn parse(text: &str, line_offset: u32) -> Result<Self, SyntaxError> {
        let read = Builder::new(line_offset).run(text);
        read.map_err(|error| slips::explained(text, line_offset, error))
    }

    /// The same as if it had come from no file.
    pub(super) fn without_positions(mut self) -> Self {
        self.at = Position::default();
        match &mut self.value {
            Value::Seq(items) => {
                for item in items {
                    *item = std::mem::replace(item, Self::null()).without_positions();
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.at = Position::default();
                    *value = std::mem::replace(value, Self::null()).without_positions();
                }
            }
            Value::Plain(_) | Value::Quoted(_) => {}
        }
        self
    }

    fn null() -> Self {
        Self {
            at: Position::default(),
            value: Value::Plain("".into()),
        }
    }

    /// The value under `name`, if this is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| &*key.name == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// As JSON, as Kubernetes' own reader would make of it.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Quoted(text) => Json::from(&**text),
            Value::Plain(text) => match Scalar::plain(text) {
                Scalar::Null => Json::Null,
                Scalar::Bool(value) => value.into(),
                Scalar::Unsigned(number) => number.into(),
                Scalar::Signed(number) => number.into(),
                // JSON has no infinity.
                Scalar::Float(number) if !number.is_finite() => Json::from(&**text),
                Scalar::Float(number) => number.into(),
                Scalar::Text(text) => text.into(),
            },
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, node)| (key.name.to_string(), node.to_json()));
                Json::Object(entries.collect())
            }
        }
    }

    /// The text of a scalar that is not null, as it is written.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) if Scalar::plain(text) != Scalar::Null => Some(text),
            Value::Quoted(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if Scalar::plain(text) == Scalar::Null)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_are_those_of_the_file() {
        let root = Node::parse("a:\n  - b: 1\n    c: \"x\"\n", 10).unwrap();
        let Value::Seq(items) = &root.get("a").unwrap().value else {
            panic!("a list")
        };
        let c = items[0].get("c").unwrap();
        assert_eq!(
            (c.at, c.text()),
            (
                Position {
                    line: 13,
                    column: 8
                },
                Some("x")
            )
        );
    }

    #[test]
    fn broken_text_says_where() {
        for (text, line) in [
            ("a: [1\nb: 2\n", 2),
            ("a: 1\n b: 2\n", 2),
            ("a: 'x\n", 1),
            ("a: 1\na: 2\n", 2),
        ] {
            let error = Node::parse(text, 0).unwrap_err();
            assert!(
                error.at.line >= line && !error.reason.is_empty(),
                "{text:?}: {error:?}"
            );
        }
    }

    #[test]
    fn aliases_merge_and_are_bounded() {
        let root = Node::parse("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", 0).unwrap();
        let b = root.get("b").unwrap();
        assert_eq!(
            (b.get("p").unwrap().text(), b.get("q").unwrap().text()),
            (Some("1"), Some("3"))
        );
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let of = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![of; 10].join(", "));
        }
        assert!(
            Node::parse(&bomb, 0)
                .unwrap_err()
                .reason
                .contains("more than")
        );
        let many = vec!["*a"; 1000].join(", ");
        let long = format!("a: &a {}\nb: [{many}]\n", "x".repeat(100_000));
        assert!(
            Node::parse(&long, 0)
                .unwrap_err()
                .reason
                .contains("more than")
        );
        for deep in [
            "[".repeat(200),
            "- ".repeat(200),
            "a: [".to_owned() + &"{a: ".repeat(100),
        ] {
            assert!(Node::parse(&deep, 0).unwrap_err().is_too_much, "{deep}");
        }
    }

    #[test]
    fn json_is_read_too() {
        let root = Node::parse(
            "{\n\t\"a\": [1, true, null, \"x\\u00e9/\\/\"],\n\t\"b\": {}\n}",
            0,
        )
        .unwrap();
        let Value::Seq(items) = &root.get("a").unwrap().value else {
            panic!("a list")
        };
        assert_eq!(items[3].text(), Some("xé//"));
        assert!(items[2].is_null());
    }
}
