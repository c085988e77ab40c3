//! Reads typed structs out of a `Node` tree. Strict: a field that the struct does not name is a
//! problem with its path, position and the nearest right name; so is a field typed
//! `Unsupported`. Every such problem of a document is collected, not only the first. Lenient
//! (for kinds that servers fill in) skips unknown fields.

mod access;
mod error;
mod fields;
mod meant;

use std::cell::RefCell;

use serde::de::{
    self, DeserializeOwned, IntoDeserializer, Unexpected, Visitor, value::StrDeserializer,
};

use self::access::{AtAccess, ItemAccess, MapAccess, UnitVariant};
pub use self::error::{DecodeError, Problem};
use super::{
    node::{Key, Node, Value},
    scalar::Scalar,
};
use crate::{
    check::Code,
    resources::at::{AT, UNSUPPORTED},
};

/// Problems listed for one document at most.
const MAX_PROBLEMS: usize = 32;

/// What happens to a field that the struct does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is a problem.
    Refuse,
    /// It is skipped.
    Skip,
}

/// Decodes. `root` is what paths begin with ("spec").
pub fn decode<T: DeserializeOwned>(
    node: &Node,
    root: &str,
    unknown: Unknown,
) -> Result<T, Vec<Problem>> {
    let context = Context {
        unknown,
        path: RefCell::new(vec![root.to_owned()]),
        problems: RefCell::new(Vec::new()),
    };
    let result = T::deserialize(Reader {
        node,
        context: &context,
    });
    let mut problems = context.problems.take();
    match result {
        Ok(value) if problems.is_empty() => Ok(value),
        Ok(_) => Err(problems),
        Err(error) => {
            problems.push(error.into_problem(node.at, root));
            Err(problems)
        }
    }
}

struct Context {
    unknown: Unknown,
    path: RefCell<Vec<String>>,
    problems: RefCell<Vec<Problem>>,
}

impl Context {
    fn path(&self) -> String {
        self.path.borrow().concat()
    }

    fn report(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem);
        }
    }

    /// Runs `read` one step down, at `node`; an error that has no place yet gets this one.
    fn within<T>(
        &self,
        step: String,
        (key, node): (Option<&Key>, &Node),
        read: impl FnOnce() -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.path.borrow_mut().push(step);
        let result = read().map_err(|error| {
            // An empty value begins where its key's line ends; the key is what a person looks for.
            let at = key.filter(|_| node.is_null()).map_or(node.at, |key| key.at);
            error.of(key, node).place(at, || self.path())
        });
        self.path.borrow_mut().pop();
        result
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    context: &'a Context,
}

impl<'a> Reader<'a> {
    fn unexpected(&self) -> Unexpected<'a> {
        match &self.node.value {
            Value::Plain(text) => plain(text),
            Value::Quoted(text) => Unexpected::Str(text),
            Value::Seq(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }

    fn invalid<T>(&self, expected: &dyn de::Expected) -> Result<T, DecodeError> {
        Err(de::Error::invalid_type(self.unexpected(), expected))
    }

    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Plain(text) => match plain(text) {
                Unexpected::Unsigned(n) => visitor.visit_u64(n),
                Unexpected::Signed(n) => visitor.visit_i64(n),
                Unexpected::Float(n) => visitor.visit_f64(n),
                _ => self.invalid(&visitor),
            },
            _ => self.invalid(&visitor),
        }
    }

    fn string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Quoted(text) => visitor.visit_str(text),
            Value::Plain(text) => match plain(text) {
                Unexpected::Str(text) => visitor.visit_str(text),
                _ => self.invalid(&visitor),
            },
            _ => self.invalid(&visitor),
        }
    }
}

fn plain(text: &str) -> Unexpected<'_> {
    match Scalar::plain(text) {
        Scalar::Null => Unexpected::Unit,
        Scalar::Bool(value) => Unexpected::Bool(value),
        Scalar::Unsigned(number) => Unexpected::Unsigned(number),
        Scalar::Signed(number) => Unexpected::Signed(number),
        Scalar::Float(number) => Unexpected::Float(number),
        Scalar::Text(text) => Unexpected::Str(text),
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.number(visitor)
        }
    )*};
}

macro_rules! strings {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.string(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = DecodeError;

    numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_i8
    deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_f32 deserialize_f64 }

    strings! { deserialize_char deserialize_str deserialize_string deserialize_identifier deserialize_bytes
    deserialize_byte_buf }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Plain(text) => match plain(text) {
                Unexpected::Unit => visitor.visit_unit(),
                Unexpected::Bool(b) => visitor.visit_bool(b),
                Unexpected::Str(text) => visitor.visit_str(text),
                _ => self.number(visitor),
            },
            Value::Quoted(text) => visitor.visit_str(text),
            Value::Seq(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.unexpected() {
            Unexpected::Bool(b) => visitor.visit_bool(b),
            _ => self.invalid(&visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() {
            visitor.visit_unit()
        } else {
            self.invalid(&visitor)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            AT => visitor.visit_seq(AtAccess::new(self)),
            UNSUPPORTED => {
                let reason = format!("{} is not supported yet", self.context.path());
                self.context.report(
                    Problem::new(Code::UnsupportedField, self.node.at, reason)
                        .suggest(instead(&self.context.path())),
                );
                visitor.visit_unit()
            }
            // Kubernetes' amounts may be numbers.
            "Quantity" => match &self.node.value {
                Value::Plain(text) if !self.node.is_null() => {
                    let text: StrDeserializer<'_, DecodeError> = (**text).into_deserializer();
                    visitor.visit_newtype_struct(text)
                }
                _ => visitor.visit_newtype_struct(self),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Seq(items) => visitor.visit_seq(ItemAccess::new(items, self.context)),
            _ => self.invalid(&visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Map(entries) => visitor.visit_map(MapAccess::new(entries, None, self.context)),
            _ => self.invalid(&visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(MapAccess::new(entries, Some(fields), self.context))
            }
            _ => Err(DecodeError::no_struct(self.unexpected(), name, fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.unexpected() {
            Unexpected::Str(text) => visitor.visit_enum(UnitVariant(text)),
            _ => self.invalid(&"a word"),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

/// What to write in place of a field that is not supported.
fn instead(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("consecutiveErrors") => "write `consecutive5xxErrors`",
        Some("credentialName") => {
            "name files of the client's pod: `caCertificates`, and for MUTUAL `clientCertificate` and `privateKey`"
        }
        _ => "take the field out; it would otherwise have no effect",
    }
}

#[cfg(test)]
mod tests;
