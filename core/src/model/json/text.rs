//! JSON as it is written: nothing of the text is lost on its way to a value.
//!
//! serde_json by itself rounds a number that has too many digits, keeps the last of two equal keys, and has
//! only the rounded number left to look at afterwards. Its feature `arbitrary_precision` would keep the
//! digits, but for every crate of a build at once, and it makes a number an object to serde's visitors. So
//! the text is read twice: by serde_json with a visitor that knows the keys, and, once it is known to be
//! JSON, by a scan for its numbers, which needs to tell strings from everything else and no more.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map as Object, Number, Value as Json};

use super::{JSON_DEPTH_MAX, JsonError, map_from_json, value_from_json};
use crate::model::{Map, Value};

/// Digits behind which a double says nothing more: as many as tell any two doubles apart.
const DIGITS_MAX: usize = 17;
/// No double has more digits than this when it is written out in full. Rust cannot format 65,536 of them, and panics.
const FULL_DIGITS_MAX: usize = 767;

/// Reads the fields of an entity from JSON text.
///
/// # Errors
/// When the text is no JSON, a number cannot be kept to the last digit, a key is there twice, or it is no
/// entity; see [`JsonError`].
///
/// ```
/// use headwater::model::{JsonError, map_from_json_text};
/// assert_eq!(map_from_json_text(br#"{"name": "Guji"}"#)?.len(), 1);
/// let twice = map_from_json_text(br#"{"rating": 4, "rating": 5}"#);
/// assert!(matches!(twice, Err(JsonError::DuplicateKey(key)) if key == "rating"));
/// # Ok::<(), JsonError>(())
/// ```
pub fn map_from_json_text(text: &[u8]) -> Result<Map, JsonError> {
    map_from_json(parse(text)?)
}

/// Reads one field from JSON text.
///
/// # Errors
/// As for [`map_from_json_text`].
///
/// ```
/// use headwater::model::{JsonError, Value, value_from_json_text};
/// assert_eq!(value_from_json_text(b"18446744073709551615")?, Value::Uint(u64::MAX));
/// let larger = value_from_json_text(b"18446744073709551616");
/// assert!(matches!(larger, Err(JsonError::NumberOutOfRange(number)) if number == "18446744073709551616"));
/// # Ok::<(), JsonError>(())
/// ```
pub fn value_from_json_text(text: &[u8]) -> Result<Value, JsonError> {
    value_from_json(parse(text)?)
}

fn parse(text: &[u8]) -> Result<Json, JsonError> {
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // The limit of serde_json is below what the deepest value needs, and the visitor has one of its own.
    deserializer.disable_recursion_limit();
    let json = Level { depth: 0, fault: &fault }.deserialize(&mut deserializer);
    let json = json.and_then(|json| deserializer.end().map(|()| json));
    let json = json.map_err(|error| {
        // Whatever serde_json says of a fault that the visitor found, the visitor knows better. And it does
        // not say which number it is that no double holds, nor that an escape is half a character.
        let is_endless = |number: &&str| number.parse::<f64>().is_ok_and(f64::is_infinite);
        let endless =
            || numbers(text).find(is_endless).map(|number| JsonError::NumberOutOfRange(number.to_owned()));
        let known = fault.take().or_else(endless).or_else(|| half_character(text));
        known.unwrap_or_else(|| JsonError::NotJson(error.to_string()))
    })?;
    match numbers(text).find(|number| !is_kept(number)) {
        Some(number) => Err(JsonError::NumberOutOfRange(number.to_owned())),
        None => Ok(json),
    }
}

/// One value, and how many levels of lists and objects it is in.
#[derive(Clone, Copy)]
struct Level<'a> {
    depth: usize,
    fault: &'a Cell<Option<JsonError>>,
}

impl Level<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(self.fail(JsonError::TooDeep));
        }
        Ok(Level { depth: self.depth + 1, ..self })
    }

    fn fail<E: Error>(self, fault: JsonError) -> E {
        let message = E::custom(&fault);
        self.fault.set(Some(fault));
        message
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        let number = Number::from_f64(value).map(Json::Number);
        number.ok_or_else(|| self.fail(JsonError::NumberOutOfRange(value.to_string())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inside = self.inside()?;
        let mut object = Object::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(self.fail(JsonError::DuplicateKey(key)));
            }
            object.insert(key, entries.next_value_seed(inside)?);
        }
        Ok(Json::Object(object))
    }
}

/// The numbers in a text that is JSON, as they are written.
fn numbers(text: &[u8]) -> impl Iterator<Item = &str> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            match rest.first()? {
                b'"' => rest = behind_string(rest),
                b'-' | b'0'..=b'9' => {
                    let len = rest.iter().take_while(|byte| is_of_number(byte)).count();
                    let (number, behind) = rest.split_at(len);
                    rest = behind;
                    return std::str::from_utf8(number).ok();
                }
                _ => rest = &rest[1..],
            }
        }
    })
}

/// What comes after the string that `text` begins with.
fn behind_string(text: &[u8]) -> &[u8] {
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return text.get(at + 1..).unwrap_or_default(),
            Some(_) => at += 1,
        }
    }
}

/// The first escape that is half of a surrogate pair.
fn half_character(text: &[u8]) -> Option<JsonError> {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix(br"\u")?.get(..4)?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while at < text.len() {
        // A backslash stands only in strings, and whatever follows it belongs to it.
        at += match (text.get(at), unit(at), unit(at + 6)) {
            (Some(b'\\'), Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(b'\\'), Some(0xd800..0xe000), _) => {
                let escape = String::from_utf8_lossy(&text[at..at + 6]).into_owned();
                return Some(JsonError::HalfCharacter { escape, at });
            }
            (Some(b'\\'), ..) => 2,
            _ => 1,
        };
    }
    None
}

/// Whether a number of JSON is kept as it is written.
fn is_kept(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) {
        exact_float(number).is_some()
    } else {
        number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
    }
}

/// The double that is written in digits, unless digits of it would be lost: those that a double can hold are
/// kept, and of a longer number (somebody wrote out a double in full) all have to be right.
pub(super) fn exact_float(number: &str) -> Option<f64> {
    let float: f64 = number.parse().ok().filter(|float: &f64| float.is_finite())?;
    let written = significant_digits(number);
    let is_precise = float.is_normal() || written.is_empty();
    if written.len() <= DIGITS_MAX && is_precise {
        return Some(float);
    }
    if written.len() > FULL_DIGITS_MAX {
        return None;
    }
    let shown = format!("{:.*e}", written.len().saturating_sub(1), float);
    (significant_digits(&shown) == written).then_some(float)
}

/// The digits of a number, from the first to the last that is not 0.
fn significant_digits(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}
