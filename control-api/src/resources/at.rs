//! `At<T>`: a value that knows its line and column, so that a mistake found later (in the model)
//! can be shown where it was written. `Unsupported` and `Ignored` type the fields of an API
//! that are not used: the first is refused by name, the second has no meaning for a mesh.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use crate::source::node::Position;

/// Name by which `source::decode` knows an `At`.
pub const AT: &str = "$heddle::At";
/// Name by which `source::decode` knows an `Unsupported`.
pub const UNSUPPORTED: &str = "$heddle::Unsupported";

/// A value and where it was written. Equality is that of the value alone.
#[derive(Clone, Copy, Default)]
pub struct At<T> {
    /// Where; unknown (0, 0) when the source has no text.
    pub at: Position,
    /// What.
    pub value: T,
}

impl<T> At<T> {
    /// A value from nowhere.
    pub fn nowhere(value: T) -> Self {
        Self {
            at: Position::default(),
            value,
        }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: fmt::Debug> fmt::Debug for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(AT, AtVisitor(PhantomData))
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<At<T>, D::Error> {
        T::deserialize(deserializer).map(At::nowhere)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<At<T>, A::Error> {
        let short = || de::Error::custom("a value was expected");
        let line = seq.next_element()?.ok_or_else(short)?;
        let column = seq.next_element()?.ok_or_else(short)?;
        let value = seq.next_element()?.ok_or_else(short)?;
        Ok(At {
            at: Position { line, column },
            value,
        })
    }
}

/// A field that the API has and we do not support yet. The strict decoder lists it as a problem;
/// any other deserializer fails on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UnsupportedVisitor;

        impl<'de> de::Visitor<'de> for UnsupportedVisitor {
            type Value = Unsupported;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing (the field is not supported yet)")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Unsupported, E> {
                Ok(Unsupported)
            }
        }

        deserializer.deserialize_newtype_struct(UNSUPPORTED, UnsupportedVisitor)
    }
}

/// A field that a mesh has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}
