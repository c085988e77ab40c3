//! How serde walks a `Node`: items of a list, entries of a mapping (where unknown fields are
//! caught, since a struct's reader says which it knows), a value with its position, a unit variant.

use std::slice;

use serde::de::{self, DeserializeSeed, IntoDeserializer, value::StrDeserializer};

use super::{Context, DecodeError, Problem, Reader, Unknown, fields::elsewhere};
use crate::{
    check::Code,
    source::node::{Key, Node},
};

pub(super) struct ItemAccess<'a> {
    items: std::iter::Enumerate<slice::Iter<'a, Node>>,
    context: &'a Context,
}

impl<'a> ItemAccess<'a> {
    pub(super) fn new(items: &'a [Node], context: &'a Context) -> Self {
        Self {
            items: items.iter().enumerate(),
            context,
        }
    }
}

impl<'de> de::SeqAccess<'de> for ItemAccess<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let context = self.context;
        context
            .within(format!("[{index}]"), (None, node), || {
                seed.deserialize(Reader { node, context })
            })
            .map(Some)
    }
}

pub(super) struct MapAccess<'a> {
    entries: slice::Iter<'a, (Key, Node)>,
    fields: Option<&'static [&'static str]>,
    value: Option<(&'a Key, &'a Node)>,
    context: &'a Context,
}

impl<'a> MapAccess<'a> {
    pub(super) fn new(
        entries: &'a [(Key, Node)],
        fields: Option<&'static [&'static str]>,
        context: &'a Context,
    ) -> Self {
        Self {
            entries: entries.iter(),
            fields,
            value: None,
            context,
        }
    }

    fn is_known(&self, key: &Key, value: &Node) -> bool {
        if let Some(written) = &key.written
            && self.context.unknown == Unknown::Refuse
        {
            let reason = format!(
                "{}: without quotes the key `{written}` is `{}`",
                self.context.path(),
                key.name
            );
            let problem = Problem::new(Code::WrongType, key.at, reason);
            self.context
                .report(problem.suggest("put the key in quotes"));
        }
        let Some(fields) = self.fields else {
            return true;
        };
        if fields.contains(&&*key.name) {
            return true;
        }
        if self.context.unknown == Unknown::Refuse {
            let reason = format!("unknown field `{}` in {}", key.name, self.context.path());
            self.context.report(
                Problem::new(Code::UnknownField, key.at, reason)
                    .suggest(elsewhere(&key.name, value, fields)),
            );
        }
        false
    }
}

impl<'de> de::MapAccess<'de> for MapAccess<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        while let Some((key, node)) = self.entries.next() {
            if self.is_known(key, node) {
                self.value = Some((key, node));
                let name: StrDeserializer<'_, DecodeError> = (*key.name).into_deserializer();
                return seed
                    .deserialize(name)
                    .map(Some)
                    .map_err(|error| error.place(key.at, || self.context.path()));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let context = self.context;
        let step = if self.fields.is_some() {
            format!(".{}", key.name)
        } else {
            format!("[\"{}\"]", key.name)
        };
        context.within(step, (Some(key), node), || {
            seed.deserialize(Reader { node, context })
        })
    }
}

/// [line, column, value]: how `At` reads itself.
pub(super) struct AtAccess<'a> {
    reader: Reader<'a>,
    step: u8,
}

impl<'a> AtAccess<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, step: 0 }
    }
}

impl<'de> de::SeqAccess<'de> for AtAccess<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.step = self.step.saturating_add(1);
        match self.step {
            1 => seed
                .deserialize(self.reader.node.at.line.into_deserializer())
                .map(Some),
            2 => seed
                .deserialize(self.reader.node.at.column.into_deserializer())
                .map(Some),
            3 => seed.deserialize(self.reader).map(Some),
            _ => Ok(None),
        }
    }
}

pub(super) struct UnitVariant<'a>(pub(super) &'a str);

impl<'de> de::EnumAccess<'de> for UnitVariant<'_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for UnitVariant<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeError> {
        Err(de::Error::custom("a word was expected"))
    }

    fn tuple_variant<V: de::Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("a word was expected"))
    }

    fn struct_variant<V: de::Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("a word was expected"))
    }
}
