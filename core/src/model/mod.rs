//! The value model: what an entity's fields can hold, and how Rust structs map to it.

mod align;
mod compare;
mod decode;
mod encode;
mod json;
mod names;
mod row;
mod scalar;
mod shape;
mod text;
mod text_cuts;
mod text_difference;
mod text_letters;
mod value;

pub(crate) use align::{Hunk, Likeness, are_alike, best_pairs, hunks};
pub(crate) use compare::fingerprint;
pub use decode::{DecodeError, from_map};
pub use encode::{EncodeError, to_map};
pub(crate) use json::JSON_DEPTH_MAX;
pub use json::{
    JsonError, JsonStyle, json_from_map, json_from_value, map_from_json, map_from_json_text, value_from_json,
    value_from_json_text,
};
pub(crate) use names::StoredNames;
pub(crate) use row::{decode_value, encode_map, encode_value};
pub use scalar::{Counter, IdField, KeyField, Keyed, Timestamp};
pub(crate) use shape::{Container, Shape};
pub use text::{Splice, Text};
pub(crate) use text_difference::difference as text_difference;
pub use value::{ContainerKind, Map, Value};

/// How deep lists and maps may nest inside an entity. Deeper values are refused on write and on read.
pub const DEPTH_MAX: usize = 64;

/// Newtype names by which the scalar types of this module announce themselves to our serializer; every other format
/// passes a newtype through and sees the plain value inside.
pub(crate) const TEXT_NAME: &str = "$headwater::Text";
pub(crate) const COUNTER_NAME: &str = "$headwater::Counter";
pub(crate) const TIMESTAMP_NAME: &str = "$headwater::Timestamp";
pub(crate) const KEYED_NAME: &str = "$headwater::Keyed";
