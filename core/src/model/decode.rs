//! [`Value`] to Rust, by serde, leniently: any number for a numeric field that can hold it, a text for a string and back.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor,
};

use super::names::Step;
use super::{COUNTER_NAME, Map, TIMESTAMP_NAME, Value};

/// A stored entity that does not fit the Rust type it is read as.
///
/// The entity itself is fine: read it through a type (or a `#[serde(default)]`) that fits, or as fields by name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{message}", in_field_text(path))]
pub struct DecodeError {
    /// Where, from the entity's root: `brews[3].grams`. A name that is no plain word is in quotes: `by_lot["a.b"]`. Empty for the
    /// entity itself.
    pub path: String,
    /// What did not fit.
    pub message: String,
    /// As `path`, from the inside out.
    place: Vec<Step>,
    /// The field that is there by two of its names.
    twice: Option<&'static str>,
}

fn in_field_text(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("field `{path}`: ") }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError { path: String::new(), message: message.to_string(), place: Vec::new(), twice: None }
    }

    fn duplicate_field(field: &'static str) -> Self {
        let message = format!("it is there twice, by two of the names of `{field}`");
        DecodeError { twice: Some(field), ..DecodeError::custom(message) }
    }

    fn missing_field(field: &'static str) -> Self {
        DecodeError::custom("it is missing").in_field(field)
    }
}

impl DecodeError {
    /// Where a field is by two of its names, from the root, and the name that the type has for it.
    pub(super) fn twice(&self) -> Option<(Vec<Step>, &'static str)> {
        Some((self.place.iter().rev().cloned().collect(), self.twice?))
    }

    /// The same error, seen from around the field.
    fn in_field(mut self, name: &str) -> DecodeError {
        self.place.push(Step::Name(name.to_owned()));
        let is_word = !name.is_empty() && !name.contains(|c: char| "[].\"".contains(c) || c.is_whitespace());
        match is_word {
            true => self.behind(name.to_owned()),
            false => self.behind(format!("[{name:?}]")),
        }
    }

    /// The same error, seen from around the list.
    fn in_element(mut self, index: usize) -> DecodeError {
        self.place.push(Step::Element);
        self.behind(format!("[{index}]"))
    }

    fn behind(self, mut step: String) -> DecodeError {
        if !self.path.is_empty() && !self.path.starts_with('[') {
            step.push('.');
        }
        DecodeError { path: step + &self.path, ..self }
    }
}

/// Reads fields as a Rust struct. Fields that the struct does not know are passed over.
///
/// # Errors
/// When a field is missing that the struct does not default, or holds something of another kind.
///
/// ```
/// use headwater::model::{from_map, Map, Value};
/// #[derive(serde::Deserialize)]
/// struct Bag { rating: f64, grams: u32 }
/// // JavaScript writes 5.0 as an integer and -0 or 250.0 as a float.
/// let fields = Map::from([("rating".into(), Value::Int(5)), ("grams".into(), Value::Float(250.0))]);
/// let bag: Bag = from_map(fields).unwrap();
/// assert_eq!((bag.rating, bag.grams), (5.0, 250));
/// ```
pub fn from_map<T: DeserializeOwned>(fields: Map) -> Result<T, DecodeError> {
    T::deserialize(FromValue(Value::Map(fields)))
}

struct FromValue(Value);

impl FromValue {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(v) => Unexpected::Bool(*v),
            Value::Int(v) | Value::Counter(v) | Value::Timestamp(v) => Unexpected::Signed(*v),
            Value::Uint(v) => Unexpected::Unsigned(*v),
            Value::Float(v) => Unexpected::Float(*v),
            Value::Str(v) => Unexpected::Str(v),
            Value::Bytes(v) => Unexpected::Bytes(v),
            Value::Text(v) => Unexpected::Str(v.as_str()),
            Value::List(_) | Value::Keyed(..) | Value::Tuple(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
            Value::Variant(..) => Unexpected::Enum,
        }
    }

    fn mismatch<'de, V: Visitor<'de>>(&self, visitor: &V) -> DecodeError {
        de::Error::invalid_type(self.unexpected(), visitor)
    }

    /// Integers of any width: the visitor checks the range of the type that it is for.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match (&self.0, self.0.as_i64()) {
            (_, Some(v)) => visitor.visit_i64(v),
            (Value::Uint(v), None) => visitor.visit_u64(*v),
            (Value::Timestamp(v), None) => visitor.visit_i64(*v),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.as_f64() {
            Some(v) => visitor.visit_f64(v),
            None => Err(self.mismatch(&visitor)),
        }
    }
}

macro_rules! by {
    ($helper:ident: $($method:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.$helper(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for FromValue {
    type Error = DecodeError;

    by!(integer: deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64, deserialize_i128);
    by!(integer: deserialize_u8, deserialize_u16, deserialize_u32, deserialize_u64, deserialize_u128);
    by!(float: deserialize_f32, deserialize_f64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(v),
            Value::Int(v) | Value::Counter(v) | Value::Timestamp(v) => visitor.visit_i64(v),
            Value::Uint(v) => visitor.visit_u64(v),
            Value::Float(v) => visitor.visit_f64(v),
            Value::Str(v) => visitor.visit_string(v),
            Value::Text(v) => visitor.visit_string(v.to_string()),
            Value::Bytes(v) => visitor.visit_byte_buf(v),
            Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
                visitor.visit_seq(Items { items: items.into_iter(), index: 0 })
            }
            Value::Map(map) => visitor.visit_map(Fields::of(map)),
            Value::Variant(name, content) => visitor.visit_map(Fields::of(Map::from([(name, *content)]))),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match (name, &self.0) {
            (COUNTER_NAME | TIMESTAMP_NAME, Value::Null) => Err(self.mismatch(&visitor)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            // A `Vec<u8>` field asks for a sequence; bytes written by a bytes-aware type must read there too.
            Value::Bytes(bytes) => visitor.visit_seq(de::value::SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Str(variant) => visitor.visit_enum(StringDeserializer::new(variant)),
            Value::Text(variant) => visitor.visit_enum(StrDeserializer::new(variant.as_str())),
            Value::Map(map) if map.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Fields::of(map)))
            }
            Value::Variant(name, content) => {
                visitor.visit_enum(MapAccessDeserializer::new(Fields::of(Map::from([(name, *content)]))))
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(FromValue(value)).map(Some).map_err(|error| error.in_element(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields {
    entries: std::collections::btree_map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl Fields {
    fn of(map: Map) -> Fields {
        Fields { entries: map.into_iter(), next: None }
    }
}

impl<'de> de::MapAccess<'de> for Fields {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.next = self.entries.next();
        match &self.next {
            Some((key, _)) => seed.deserialize(Key(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some((key, value)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(FromValue(value)).map_err(|error| error.in_field(&key))
    }
}

/// A map key: a string that also reads as the number or bool it spells, because map keys are always stored as strings.
struct Key<'a>(&'a str);

macro_rules! parsed_key {
    ($($method:ident => $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.0)
    }

    parsed_key!(
        deserialize_bool => visit_bool, deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64, deserialize_u8 => visit_u8, deserialize_u16 => visit_u16, deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64
    );

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::super::{Counter, Keyed, Text, Timestamp, to_map};
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Roast {
        Light,
        Custom { degrees: u16 },
        Pair(u8, u8),
        Named(String),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        id: uuid::Uuid,
        name: String,
        letter: char,
        grams: u32,
        offset: i8,
        rating: f64,
        half: f32,
        organic: Option<bool>,
        nothing: Option<String>,
        notes: Text,
        brewed: Counter,
        roasted: Timestamp,
        tags: Vec<String>,
        pair: (i32, String),
        steps: Keyed<BTreeMap<String, i64>>,
        by_year: BTreeMap<u16, f64>,
        roasts: Vec<Roast>,
        big: u64,
        unit: (),
    }

    fn everything() -> Everything {
        Everything {
            id: uuid::Uuid::from_u128(7),
            name: "Guji".into(),
            letter: 'ß',
            grams: 250,
            offset: -3,
            rating: 4.5,
            half: 0.5,
            organic: Some(true),
            nothing: None,
            notes: "juicy".into(),
            brewed: Counter::new(3),
            roasted: Timestamp(1_700_000_000_000),
            tags: vec!["a".into(), "b".into()],
            pair: (1, "x".into()),
            steps: vec![BTreeMap::from([("id".to_owned(), 1)])].into(),
            by_year: BTreeMap::from([(2024, 1.0)]),
            roasts: vec![
                Roast::Light,
                Roast::Custom { degrees: 210 },
                Roast::Pair(1, 2),
                Roast::Named("x".into()),
            ],
            big: u64::MAX,
            unit: (),
        }
    }

    #[test]
    fn every_serde_shape_comes_back() {
        // Would fail if any kind of Rust field could be written but not read.
        let fields = to_map(&everything()).unwrap();
        assert_eq!(from_map::<Everything>(fields).unwrap(), everything());
    }

    #[test]
    fn javascript_numbers_read_into_any_numeric_field_that_holds_them() {
        // Would fail if a browser's `1` broke a float field, or its `-2.0` an integer one.
        let mut fields = to_map(&everything()).unwrap();
        fields.insert("rating".into(), Value::Int(1));
        fields.insert("offset".into(), Value::Float(-2.0));
        fields.insert("brewed".into(), Value::Uint(9));
        fields.insert("name".into(), Value::Text("Guji".into()));
        fields.insert("notes".into(), Value::Str("plain".into()));
        let read: Everything = from_map(fields).unwrap();
        assert_eq!((read.rating, read.offset, read.brewed.value()), (1.0, -2, 9));
        assert_eq!(read.notes, "plain");
    }

    #[test]
    fn a_number_that_does_not_fit_names_its_field() {
        // Would fail if 300 silently became 44 in a u8, or if the error did not say where.
        #[derive(Debug, Deserialize)]
        struct Small {
            #[allow(dead_code, reason = "only the failure to read it matters")]
            inner: BTreeMap<String, Vec<u8>>,
        }
        let inner = Map::from([("a".to_owned(), Value::List(vec![Value::Int(1), Value::Int(300)]))]);
        let error = from_map::<Small>(Map::from([("inner".to_owned(), Value::Map(inner))])).unwrap_err();
        assert_eq!(error.path, "inner.a[1]");
        let half =
            from_map::<BTreeMap<String, i32>>(Map::from([("n".to_owned(), Value::Float(0.5))])).unwrap_err();
        assert_eq!(half.path, "n");
    }
}
