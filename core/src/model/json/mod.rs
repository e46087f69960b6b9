//! [`Value`](super::Value) to JSON and back: the one place that knows how either looks in the other.
//!
//! What JSON has no type for is an object with one key:
//!
//! | form | is |
//! | --- | --- |
//! | `{"$text": "juicy"}` | a text that merges letter by letter |
//! | `{"$counter": 5}` | a number to which every device's increments add up |
//! | `{"$bytes": "c0ffee"}` | bytes, in hexadecimal |
//! | `{"$timestamp": 1700000000000}` | milliseconds since 1970-01-01 UTC |
//! | `{"$float": "NaN"}` | a float that is no JSON number: `NaN`, `Infinity`, `-Infinity`; any other NaN as the 16 hexadecimal digits of its bits, `0x7ff8000000000001` |
//! | `{"$string": "a\\u0000b"}` | a string whose content is escaped once more, as JSON escapes it |
//! | `{"$map": {"$text": 1}}` | a map whose only key would read as a form: its keys are literal, its values are read as usual |
//! | `{"$keyed": ["id", [{"id": 1}]]}` | a list whose elements are told apart by the field named in front |
//! | `{"$tuple": [1, "two"]}` | a list of a fixed length, told apart by place |
//! | `{"$variant": ["Hot", {"degrees": 93}]}` | one case of an enum, and what it holds |
//! | `{"$map": [["a\\u0000b", 1]]}` | a map as pairs, whose keys are escaped as in `$string` |
//!
//! All of them are read everywhere. Which of them are written is a matter of [`JsonStyle`].

mod read;
mod text;
mod write;

pub use read::{map_from_json, value_from_json};
pub use text::{map_from_json_text, value_from_json_text};
pub use write::{json_from_map, json_from_value};

use super::DEPTH_MAX;

/// How deep JSON may nest that is read: each level of a value can be an object, a list of pairs and a pair,
/// and its end a form.
pub(crate) const JSON_DEPTH_MAX: usize = 3 * DEPTH_MAX + 2;

/// How values are written as JSON.
///
/// ```
/// use headwater::model::{JsonStyle, Value, json_from_value, value_from_json};
/// let zero = Value::Float(-0.0);
/// assert_eq!(json_from_value(&zero, JsonStyle::Kinds).to_string(), "-0.0");
/// let in_sql = json_from_value(&zero, JsonStyle::Sql);
/// assert_eq!(in_sql, serde_json::json!({"$float": "-0.0"}));
/// assert_eq!(value_from_json(in_sql)?, zero);
/// # Ok::<(), headwater::model::JsonError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonStyle {
    /// Every value reads back as exactly what it was. For export and import.
    Kinds,
    /// A text is a plain string, a counter a plain number, a keyed list or a tuple a plain list, and a case of an enum a map with
    /// its name, which is what they are to any reader.
    /// Everything else is as in [`JsonStyle::Kinds`], except that a map is escaped only where it would read
    /// back as something else.
    Plain,
    /// As [`JsonStyle::Plain`], for a `jsonb` column. That holds neither U+0000 nor the sign of -0, and
    /// writes a float of many digits as a whole number; all three are written as a form.
    Sql,
}

/// JSON that cannot be an entity or a field of one.
///
/// ```
/// use headwater::model::map_from_json_text;
/// let error = map_from_json_text(br#"{"account": 123456789012345678901}"#).unwrap_err();
/// assert!(error.to_string().starts_with("the number 123456789012345678901 has more digits"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// An entity is a JSON object; give it as `{...}`.
    #[error("an entity is a JSON object")]
    NotAnObject,
    /// A form, such as `$bytes` or `$timestamp`, whose content is of the wrong kind. Correct the content, or
    /// write a map that only looks like a form as `{"$map": {...}}`.
    #[error("`{0}` does not hold what its name says")]
    BadTag(&'static str),
    /// A number that neither an integer of 64 bits nor a double holds to the last digit that is written.
    /// Write it as a string.
    #[error("the number {} has more digits than can be kept; a string keeps them", beginning(.0))]
    NumberOutOfRange(String),
    /// An object that has a key twice, so that one of the two values would be lost. Remove one of them.
    #[error("the key {:?} is there twice", beginning(.0))]
    DuplicateKey(String),
    /// Lists and objects nest deeper than any value can; flatten it.
    #[error("lists and objects nest too deep")]
    TooDeep,
    /// A string with half of a surrogate pair, which is no character, and the byte at which it begins.
    /// Whoever wrote the text cut a string in the middle of a character; correct it there.
    #[error("`{escape}` at byte {at} is half of a surrogate pair, and no character")]
    HalfCharacter {
        /// How it is written.
        escape: String,
        /// Where, from 0 up.
        at: usize,
    },
    /// The text is no JSON; the message says what is wrong, and where.
    #[error("not JSON: {0}")]
    NotJson(String),
}

/// As much of a number or a key as an error shows.
fn beginning(text: &str) -> String {
    const CHARS_SHOWN: usize = 40;
    match text.char_indices().nth(CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
