//! What is wrong with a document, and where: made by serde's visitors, given its path and
//! position by the first step of the walk that knows them.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::meant::{Asked, meant};
use crate::{
    check::{Code, Severity},
    source::{
        node::{Key, Node, Position},
        suggest,
    },
};

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is, for programs.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub at: Position,
    /// What is wrong, with the path of the field.
    pub reason: String,
    /// What will happen because of it.
    pub consequence: String,
    /// What to write, if that is known.
    pub suggestion: String,
}

impl Problem {
    /// Of the severity and with the consequence of its code.
    pub fn new(code: Code, at: Position, reason: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            at,
            reason: reason.into(),
            consequence: code.consequence().to_owned(),
            suggestion: String::new(),
        }
    }

    /// With what to write.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = suggestion.into();
        self
    }

    /// With what will happen, where that is known better than its code knows.
    #[must_use]
    pub fn follows(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }
}

/// A problem that may not know its place yet.
#[derive(Debug)]
pub struct DecodeError {
    code: Code,
    reason: String,
    suggestion: String,
    /// Of a value of the wrong type.
    asked: Option<Box<Asked>>,
    place: Option<(Position, String)>,
}

impl DecodeError {
    fn new(code: Code, reason: String, suggestion: String) -> Self {
        Self {
            code,
            reason,
            suggestion,
            asked: None,
            place: None,
        }
    }

    /// A mapping of these fields was asked for.
    pub(super) fn no_struct(
        found: Unexpected<'_>,
        name: &'static str,
        fields: &'static [&'static str],
    ) -> Self {
        let mut error: Self = de::Error::invalid_type(found, &"a mapping");
        if let Some(asked) = &mut error.asked {
            asked.of = Some((name, fields));
        }
        error
    }

    /// The value is this one.
    pub(super) fn of(mut self, key: Option<&Key>, node: &Node) -> Self {
        if let Some(asked) = self.asked.take()
            && let Some(suggestion) = meant(key, node, &asked)
        {
            self.suggestion = suggestion;
        }
        self
    }

    pub(super) fn place(mut self, at: Position, path: impl FnOnce() -> String) -> Self {
        self.place.get_or_insert_with(|| (at, path()));
        self
    }

    pub(super) fn into_problem(self, root_at: Position, root: &str) -> Problem {
        let (at, path) = self.place.unwrap_or((root_at, root.to_owned()));
        Problem::new(self.code, at, format!("{path}: {}", self.reason)).suggest(self.suggestion)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Code::BadValue, message.to_string(), String::new())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        let reason = format!("expected {expected}, found {}", found_in_words(found));
        let mut error = Self::new(Code::WrongType, reason, String::new());
        error.asked = Some(Box::new(Asked {
            words: expected,
            of: None,
        }));
        error
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        Self::new(
            Code::OutOfRange,
            format!(
                "{} is out of range: expected {expected}",
                found_in_words(found)
            ),
            String::new(),
        )
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            Code::UnknownValue,
            format!("unknown value `{}`", shorten(variant)),
            suggest::sentence(variant, expected),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(
            Code::MissingField,
            format!("the field `{field}` is missing"),
            format!("add `{field}:`"),
        )
    }
}

fn in_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number".into(),
        "i32" | "i64" => "a whole number, a sign is allowed".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        other => other.into(),
    }
}

fn found_in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Bool(b) => format!("`{b}`"),
        Unexpected::Unsigned(n) => format!("the number {n}"),
        Unexpected::Signed(n) => format!("the number {n}"),
        Unexpected::Float(n) => format!("the number {n}"),
        Unexpected::Str(text) => format!("\"{}\"", shorten(text)),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

/// Enough of a value to recognise it.
fn shorten(text: &str) -> String {
    const ENOUGH: usize = 80;
    if text.chars().count() <= ENOUGH {
        return text.escape_debug().to_string();
    }
    let head: String = text.chars().take(ENOUGH).collect();
    format!("{}…", head.escape_debug())
}
