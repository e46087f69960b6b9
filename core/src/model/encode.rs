//! Rust to [`Value`], by serde.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::text::Splice;
use super::{COUNTER_NAME, KEYED_NAME, Map, TEXT_NAME, TIMESTAMP_NAME, Text, Value};

/// A Rust value that cannot be an entity's field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot store this value: {0}")]
pub struct EncodeError(String);

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        EncodeError(message.to_string())
    }
}

/// The fields of a struct, or of a map with string keys.
///
/// # Errors
/// When `record` is no struct or map, or holds something that has no place in the value model, such as a map with list keys.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Bag { name: String, rating: f64 }
/// let fields = headwater::model::to_map(&Bag { name: "Guji".into(), rating: 4.5 }).unwrap();
/// assert_eq!(fields["rating"].as_f64(), Some(4.5));
/// ```
pub fn to_map<T: Serialize + ?Sized>(record: &T) -> Result<Map, EncodeError> {
    match record.serialize(ToValue)? {
        Value::Map(map) => Ok(map),
        other => Err(EncodeError(format!("an entity is a struct or a map, not {other:?}"))),
    }
}

struct ToValue;

type Encoded = Result<Value, EncodeError>;

impl Serializer for ToValue {
    type Ok = Value;
    type Error = EncodeError;
    type SerializeSeq = ListBuilder;
    type SerializeTuple = ListBuilder;
    type SerializeTupleStruct = ListBuilder;
    type SerializeTupleVariant = ListBuilder;
    type SerializeMap = MapBuilder;
    type SerializeStruct = MapBuilder;
    type SerializeStructVariant = MapBuilder;

    fn serialize_bool(self, v: bool) -> Encoded {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Encoded {
        Ok(Value::Int(v))
    }
    fn serialize_u8(self, v: u8) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Encoded {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Encoded {
        Ok(Value::from(v))
    }
    fn serialize_f32(self, v: f32) -> Encoded {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Encoded {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Encoded {
        Ok(Value::Str(v.to_string()))
    }
    fn serialize_str(self, v: &str) -> Encoded {
        Ok(Value::Str(v.to_owned()))
    }
    fn serialize_bytes(self, v: &[u8]) -> Encoded {
        Ok(Value::Bytes(v.to_vec()))
    }
    fn serialize_none(self) -> Encoded {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Encoded {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Encoded {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Encoded {
        Ok(Value::Str(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Encoded {
        match name {
            TEXT_NAME => value.serialize(WithParts(Parts::Text)),
            KEYED_NAME => value.serialize(WithParts(Parts::Keyed)),
            COUNTER_NAME => integer(value, Value::Counter),
            TIMESTAMP_NAME => integer(value, Value::Timestamp),
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Encoded {
        Ok(wrap_variant(Some(variant), value.serialize(ToValue)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ListBuilder, EncodeError> {
        Ok(ListBuilder {
            items: Vec::with_capacity(len.unwrap_or(0).min(4096)),
            make: Value::List,
            variant: None,
        })
    }
    fn serialize_tuple(self, _len: usize) -> Result<ListBuilder, EncodeError> {
        Ok(ListBuilder { items: Vec::new(), make: Value::Tuple, variant: None })
    }
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<ListBuilder, EncodeError> {
        self.serialize_tuple(len)
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<ListBuilder, EncodeError> {
        Ok(ListBuilder { items: Vec::new(), make: Value::Tuple, variant: Some(variant) })
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<MapBuilder, EncodeError> {
        Ok(MapBuilder::default())
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<MapBuilder, EncodeError> {
        Ok(MapBuilder::default())
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<MapBuilder, EncodeError> {
        Ok(MapBuilder { variant: Some(variant), ..MapBuilder::default() })
    }
}

fn integer<T: Serialize + ?Sized>(value: &T, make: fn(i64) -> Value) -> Encoded {
    let number = value.serialize(ToValue)?;
    number.as_i64().map(make).ok_or_else(|| EncodeError("a counter or timestamp holds an i64".into()))
}

struct ListBuilder {
    items: Vec<Value>,
    make: fn(Vec<Value>) -> Value,
    variant: Option<&'static str>,
}

impl ListBuilder {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.items.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn finish(self) -> Encoded {
        Ok(wrap_variant(self.variant, (self.make)(self.items)))
    }
}

#[derive(Default)]
struct MapBuilder {
    map: Map,
    key: Option<String>,
    variant: Option<&'static str>,
}

impl MapBuilder {
    fn put<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), EncodeError> {
        self.map.insert(key, value.serialize(ToValue)?);
        Ok(())
    }

    fn finish(self) -> Encoded {
        Ok(wrap_variant(self.variant, Value::Map(self.map)))
    }
}

fn wrap_variant(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::Variant(name.to_owned(), Box::new(value)),
        None => value,
    }
}

macro_rules! list_builder {
    ($($trait:ident :: $method:ident),*) => {
        $(impl ser::$trait for ListBuilder {
            type Ok = Value;
            type Error = EncodeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.push(value)
            }
            fn end(self) -> Encoded {
                self.finish()
            }
        })*
    };
}

list_builder!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! struct_builder {
    ($($trait:ident),*) => {
        $(impl ser::$trait for MapBuilder {
            type Ok = Value;
            type Error = EncodeError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
                self.put(key.to_owned(), value)
            }
            fn end(self) -> Encoded {
                self.finish()
            }
        })*
    };
}

struct_builder!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for MapBuilder {
    type Ok = Value;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.key = Some(match key.serialize(ToValue)? {
            Value::Str(key) => key,
            Value::Int(key) => key.to_string(),
            Value::Uint(key) => key.to_string(),
            Value::Bool(key) => key.to_string(),
            other => return Err(EncodeError(format!("a map key must be a string, not {other:?}"))),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let key = self.key.take().ok_or_else(|| EncodeError("a map value came before its key".into()))?;
        self.put(key, value)
    }

    fn end(self) -> Encoded {
        self.finish()
    }
}

/// Receives the two parts that [`Text`] and [`super::Keyed`] hand to formats that are not for people: it says so itself, which
/// is how they know that the edits or the key's name will be kept.
struct WithParts(Parts);

#[derive(Clone, Copy)]
enum Parts {
    Text,
    Keyed,
}

struct PartsBuilder {
    parts: Parts,
    values: Vec<Value>,
}

impl ser::SerializeTuple for PartsBuilder {
    type Ok = Value;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.values.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Encoded {
        let mut values = self.values.into_iter();
        match (self.parts, values.next(), values.next()) {
            (Parts::Keyed, Some(Value::Str(key)), Some(Value::List(items))) => Ok(Value::Keyed(key, items)),
            (Parts::Text, Some(Value::Str(content)), Some(Value::List(splices))) => {
                let splices = splices.into_iter().map(splice).collect::<Option<Vec<_>>>();
                Ok(Value::Text(Text::from_parts(content, splices.ok_or_else(unexpected_parts)?)))
            }
            _ => Err(unexpected_parts()),
        }
    }
}

fn splice(value: Value) -> Option<Splice> {
    let Value::Map(mut map) = value else { return None };
    let inserted = match map.remove("inserted")? {
        Value::Str(inserted) => inserted,
        _ => return None,
    };
    let number = |name| map.get(name).and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
    Some(Splice { position: number("position")?, deleted: number("deleted")?, inserted })
}

fn unexpected_parts() -> EncodeError {
    EncodeError("a text or keyed list did not serialize itself as expected".into())
}

macro_rules! only_tuples {
    ($($method:ident($($arg:ty),*) -> $result:ty;)*) => {
        $(fn $method(self $(, _: $arg)*) -> Result<$result, EncodeError> {
            Err(unexpected_parts())
        })*
    };
}

impl Serializer for WithParts {
    type Ok = Value;
    type Error = EncodeError;
    type SerializeSeq = ser::Impossible<Value, EncodeError>;
    type SerializeTuple = PartsBuilder;
    type SerializeTupleStruct = ser::Impossible<Value, EncodeError>;
    type SerializeTupleVariant = ser::Impossible<Value, EncodeError>;
    type SerializeMap = ser::Impossible<Value, EncodeError>;
    type SerializeStruct = ser::Impossible<Value, EncodeError>;
    type SerializeStructVariant = ser::Impossible<Value, EncodeError>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_tuple(self, _len: usize) -> Result<PartsBuilder, EncodeError> {
        Ok(PartsBuilder { parts: self.0, values: Vec::with_capacity(2) })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        value.serialize(self)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Encoded {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Encoded {
        Err(unexpected_parts())
    }

    only_tuples! {
        serialize_bool(bool) -> Value;
        serialize_i8(i8) -> Value;
        serialize_i16(i16) -> Value;
        serialize_i32(i32) -> Value;
        serialize_i64(i64) -> Value;
        serialize_u8(u8) -> Value;
        serialize_u16(u16) -> Value;
        serialize_u32(u32) -> Value;
        serialize_u64(u64) -> Value;
        serialize_f32(f32) -> Value;
        serialize_f64(f64) -> Value;
        serialize_char(char) -> Value;
        serialize_str(&str) -> Value;
        serialize_bytes(&[u8]) -> Value;
        serialize_none() -> Value;
        serialize_unit() -> Value;
        serialize_unit_struct(&'static str) -> Value;
        serialize_unit_variant(&'static str, u32, &'static str) -> Value;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
