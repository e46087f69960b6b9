use std::collections::BTreeMap;

use super::{DEPTH_MAX, Text};

/// The fields of an entity, or of a map inside one, by name.
pub type Map = BTreeMap<String, Value>;

/// Anything a field can hold.
///
/// Numbers read leniently: `5`, `5u` and `5.0` are the same number to a typed reader, and to [`Value::same`]. A UUID is written as its
/// hyphenated string, which is what JavaScript and SQL readers expect.
///
/// ```
/// use headwater::model::{Map, Value};
/// let mut fields = Map::new();
/// fields.insert("name".into(), Value::from("Guji"));
/// fields.insert("rating".into(), Value::from(4.5));
/// assert_eq!(fields["name"].as_str(), Some("Guji"));
/// ```
#[derive(Clone, Debug)]
pub enum Value {
    /// No value. A field that holds `Null` exists; a field that was deleted does not.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer above `i64::MAX`; smaller ones are read as [`Value::Int`].
    Uint(u64),
    /// A floating point number.
    Float(f64),
    /// A string that is replaced as a whole.
    Str(String),
    /// Bytes that are replaced as a whole.
    Bytes(Vec<u8>),
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// A number that concurrent edits add up in.
    Counter(i64),
    /// A string that concurrent edits merge in, character by character.
    Text(Text),
    /// An ordered list.
    List(Vec<Value>),
    /// A list whose elements are maps, told apart by the field named here: each key is there once, and an element that is moved
    /// stays the same element.
    Keyed(String, Vec<Value>),
    /// A map by name.
    Map(Map),
    /// A list of a fixed length, whose elements are told apart by their places: a tuple, or an array of a fixed size.
    Tuple(Vec<Value>),
    /// One case of an enum, by its name, and what it holds. Concurrent edits inside one case merge; of two cases one wins.
    Variant(String, Box<Value>),
}

/// The kinds of value that merge inside instead of being replaced, and so must be created once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// A [`Value::Text`].
    Text,
    /// A [`Value::List`].
    List,
    /// A [`Value::Keyed`], whose elements are told apart by the field named here.
    Keyed(&'static str),
    /// A [`Value::Map`].
    Map,
    /// A [`Value::Counter`].
    Counter,
}

impl Value {
    /// The string inside a string or a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            Value::Text(t) => Some(t.as_str()),
            _ => None,
        }
    }

    /// The number inside an integer, counter or integral float, where it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(i) | Value::Counter(i) => Some(*i),
            Value::Uint(u) => i64::try_from(*u).ok(),
            // 2^63 itself is a float but no i64, hence the strict upper bound.
            Value::Float(f) if f.fract() == 0.0 && *f >= -(2f64.powi(63)) && *f < 2f64.powi(63) => {
                Some(*f as i64)
            }
            _ => None,
        }
    }

    /// The number inside any numeric value.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(i) | Value::Counter(i) => Some(*i as f64),
            Value::Uint(u) => Some(*u as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The map inside, if this is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The elements, if this is a list of any kind.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Whether lists and maps nest at most [`DEPTH_MAX`] deep in a document, where this value itself is at `depth`.
    pub(crate) fn fits_depth(&self, depth: usize) -> bool {
        if depth > DEPTH_MAX {
            return false;
        }
        match self {
            Value::List(items) | Value::Keyed(_, items) => {
                items.iter().all(|item| item.fits_depth(depth + 1))
            }
            Value::Map(map) => map.values().all(|value| value.fits_depth(depth + 1)),
            // A map stands around the list.
            Value::Tuple(items) => items.iter().all(|item| item.fits_depth(depth + 2)),
            Value::Variant(_, content) => content.fits_depth(depth + 1),
            _ => true,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$v:ident| $into:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($v: $from) -> Value {
                $into
            }
        })*
    };
}

value_from! {
    bool => |v| Value::Bool(v);
    i32 => |v| Value::Int(v.into());
    i64 => |v| Value::Int(v);
    u32 => |v| Value::Int(v.into());
    u64 => |v| i64::try_from(v).map_or(Value::Uint(v), Value::Int);
    f64 => |v| Value::Float(v);
    &str => |v| Value::Str(v.to_owned());
    String => |v| Value::Str(v);
    Vec<u8> => |v| Value::Bytes(v);
    Vec<Value> => |v| Value::List(v);
    Map => |v| Value::Map(v);
    Text => |v| Value::Text(v);
    uuid::Uuid => |v| Value::Str(v.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_not_forced_to() {
        // Would read 2^63 as the largest i64.
        assert_eq!(Value::Float(2f64.powi(63)).as_i64(), None);
        assert_eq!(Value::Uint(u64::MAX).as_i64(), None);
        assert_eq!(Value::Float(-(2f64.powi(63))).as_i64(), Some(i64::MIN));
    }
}
