//! JSON as values.

use serde_json::{Map as Object, Value as Json};

use super::{JSON_DEPTH_MAX, JsonError};
use crate::model::{Map, Text, Value};

/// Reads the fields of a JSON object. Its own keys are fields, whatever they look like, except that `{"$map":
/// ...}` is an escape.
///
/// # Errors
/// When `json` is no object, or a field cannot be read; see [`value_from_json`].
///
/// ```
/// use headwater::model::{Value, map_from_json};
/// let fields = map_from_json(serde_json::json!({"notes": {"$text": "juicy"}}))?;
/// assert_eq!(fields["notes"], Value::Text("juicy".into()));
/// # Ok::<(), headwater::model::JsonError>(())
/// ```
pub fn map_from_json(json: Json) -> Result<Map, JsonError> {
    match json {
        Json::Object(object) if is_escape(&object) => match value_at(Json::Object(object), 0)? {
            Value::Map(map) => Ok(map),
            _ => Err(JsonError::NotAnObject),
        },
        Json::Object(object) => literal(object, 0),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Reads one field.
///
/// # Errors
/// When a `$` form does not hold what its name says, a key is there twice in a list of pairs, or it nests too
/// deep.
///
/// ```
/// use headwater::model::{value_from_json, Value};
/// let value = value_from_json(serde_json::json!({"$counter": 5})).unwrap();
/// assert_eq!(value, Value::Counter(5));
/// ```
pub fn value_from_json(json: Json) -> Result<Value, JsonError> {
    value_at(json, 0)
}

/// Reads one value that is `depth` levels of JSON deep.
fn value_at(json: Json, depth: usize) -> Result<Value, JsonError> {
    if depth > JSON_DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(v) => Value::Bool(v),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(v), _, _) => Value::Int(v),
            (None, Some(v), _) => Value::Uint(v),
            (None, None, Some(v)) if v.is_finite() => Value::Float(v),
            _ => return Err(JsonError::NumberOutOfRange(number.to_string())),
        },
        Json::String(v) => Value::Str(v),
        Json::Array(items) => Value::List(list(items, depth)?),
        Json::Object(object) => match Form::of(&object) {
            Some(form) => {
                let content = object.into_iter().next().map_or(Json::Null, |(_, content)| content);
                form.read(content, depth + 1)?
            }
            None => Value::Map(literal(object, depth)?),
        },
    })
}

fn list(items: Vec<Json>, depth: usize) -> Result<Vec<Value>, JsonError> {
    items.into_iter().map(|item| value_at(item, depth + 1)).collect()
}

/// A map whose keys are what they are.
fn literal(object: Object<String, Json>, depth: usize) -> Result<Map, JsonError> {
    object.into_iter().map(|(key, json)| Ok((key, value_at(json, depth + 1)?))).collect()
}

fn is_escape(object: &Object<String, Json>) -> bool {
    matches!(Form::of(object), Some(Form::Map))
        && object.values().all(|content| content.is_object() || content.is_array())
}

/// Whether a map with this as its only key would read as something else.
pub(super) fn is_form(key: &str) -> bool {
    Form::named(key).is_some()
}

/// What an object with one key can stand for.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Counter,
    Bytes,
    Timestamp,
    Float,
    String,
    Map,
    Keyed,
    Tuple,
    Variant,
}

impl Form {
    fn of(object: &Object<String, Json>) -> Option<Form> {
        match object.keys().next() {
            Some(key) if object.len() == 1 => Form::named(key),
            _ => None,
        }
    }

    fn named(key: &str) -> Option<Form> {
        const ALL: [Form; 10] = [
            Form::Text,
            Form::Counter,
            Form::Bytes,
            Form::Timestamp,
            Form::Float,
            Form::String,
            Form::Map,
            Form::Keyed,
            Form::Tuple,
            Form::Variant,
        ];
        ALL.into_iter().find(|form| form.name() == key)
    }

    fn name(self) -> &'static str {
        match self {
            Form::Text => "$text",
            Form::Counter => "$counter",
            Form::Bytes => "$bytes",
            Form::Timestamp => "$timestamp",
            Form::Float => "$float",
            Form::String => "$string",
            Form::Map => "$map",
            Form::Keyed => "$keyed",
            Form::Tuple => "$tuple",
            Form::Variant => "$variant",
        }
    }

    fn read(self, content: Json, depth: usize) -> Result<Value, JsonError> {
        let value = match (self, content) {
            (Form::Counter, content) => content.as_i64().map(Value::Counter),
            (Form::Timestamp, content) => content.as_i64().map(Value::Timestamp),
            (Form::Text, Json::String(text)) => Some(Value::Text(Text::from(text))),
            (Form::Text, content @ Json::Object(_)) => match value_at(content, depth)? {
                Value::Str(text) => Some(Value::Text(Text::from(text))),
                _ => None,
            },
            (Form::Bytes, Json::String(digits)) => unhex(&digits).map(Value::Bytes),
            (Form::Float, Json::String(text)) => float(&text).map(Value::Float),
            (Form::String, Json::String(escaped)) => unescaped(&escaped).map(Value::Str),
            (Form::Map, Json::Object(object)) => Some(Value::Map(literal(object, depth)?)),
            (Form::Map, Json::Array(pairs)) => Some(Value::Map(from_pairs(pairs, depth)?)),
            (Form::Tuple, Json::Array(items)) => Some(Value::Tuple(list(items, depth)?)),
            (Form::Keyed, Json::Array(pair)) => match <[Json; 2]>::try_from(pair) {
                Ok([Json::String(key), Json::Array(items)]) => {
                    Some(Value::Keyed(key, list(items, depth + 1)?))
                }
                _ => None,
            },
            (Form::Variant, Json::Array(pair)) => match <[Json; 2]>::try_from(pair) {
                Ok([Json::String(name), content]) => {
                    Some(Value::Variant(name, Box::new(value_at(content, depth + 1)?)))
                }
                _ => None,
            },
            _ => None,
        };
        value.ok_or(JsonError::BadTag(self.name()))
    }
}

fn from_pairs(pairs: Vec<Json>, depth: usize) -> Result<Map, JsonError> {
    let bad = || JsonError::BadTag(Form::Map.name());
    let mut map = Map::new();
    for pair in pairs {
        let Json::Array(pair) = pair else { return Err(bad()) };
        let [Json::String(key), value] = <[Json; 2]>::try_from(pair).map_err(|_| bad())? else {
            return Err(bad());
        };
        let key = unescaped(&key).ok_or_else(bad)?;
        if map.insert(key.clone(), value_at(value, depth + 2)?).is_some() {
            return Err(JsonError::DuplicateKey(key));
        }
    }
    Ok(map)
}

/// A float by its name, by its bits, or in digits.
fn float(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        let is_hex = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        return is_hex.then(|| u64::from_str_radix(digits, 16).ok().map(f64::from_bits)).flatten();
    }
    match text {
        "NaN" => Some(f64::from_bits(super::write::USUAL_NAN)),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads words too, such as `inf`; those are none of ours.
        digits if digits.bytes().any(|byte| byte.is_ascii_digit()) => super::text::exact_float(digits),
        _ => None,
    }
}

/// The text that JSON would read from these characters inside quotes.
fn unescaped(escaped: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{escaped}\"")).ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
