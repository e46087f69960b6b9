//! [`Value`] to JSON and back, for the command line, export and import.
//!
//! What JSON has no type for is an object with one key: `{"$bytes": "c0ffee"}` (hexadecimal) and `{"$timestamp": 1700000000000}`
//! (milliseconds). `{"$text": "..."}` and `{"$counter": 5}` are read, to create a text or a counter, but written as a plain
//! string and number: that is the field's value to any reader.

use serde_json::{Number, Value as Json};

use super::{Map, Text, Value};

/// JSON that cannot be an entity or a field of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// An entity is a JSON object; give it as `{...}`.
    #[error("an entity is a JSON object")]
    NotAnObject,
    /// A `$bytes`, `$timestamp`, `$text` or `$counter` whose content is of the wrong kind.
    #[error("`{0}` does not hold what its name says")]
    BadTag(&'static str),
    /// A number that neither an integer of 64 bits nor a double holds.
    #[error("the number {0} is out of range")]
    NumberOutOfRange(Number),
}

/// Reads the fields of a JSON object.
///
/// # Errors
/// When `json` is no object, or a field cannot be read; see [`value_from_json`].
pub fn map_from_json(json: Json) -> Result<Map, JsonError> {
    match json {
        Json::Object(object) => {
            object.into_iter().map(|(key, json)| Ok((key, value_from_json(json)?))).collect()
        }
        _ => Err(JsonError::NotAnObject),
    }
}

/// Reads one field.
///
/// # Errors
/// When a `$` form is malformed, or a number out of range.
///
/// ```
/// use headwater::model::{value_from_json, Value};
/// let value = value_from_json(serde_json::json!({"$counter": 5})).unwrap();
/// assert_eq!(value, Value::Counter(5));
/// ```
pub fn value_from_json(json: Json) -> Result<Value, JsonError> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(v) => Value::Bool(v),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(v), _, _) => Value::Int(v),
            (None, Some(v), _) => Value::Uint(v),
            (None, None, Some(v)) if v.is_finite() => Value::Float(v),
            _ => return Err(JsonError::NumberOutOfRange(number)),
        },
        Json::String(v) => Value::Str(v),
        Json::Array(items) => Value::List(items.into_iter().map(value_from_json).collect::<Result<_, _>>()?),
        Json::Object(object) => match tagged(&object) {
            Some(value) => value?,
            None => Value::Map(map_from_json(Json::Object(object))?),
        },
    })
}

/// The fields as a JSON object.
pub fn json_from_map(map: &Map) -> Json {
    Json::Object(map.iter().map(|(key, value)| (key.clone(), json_from_value(value))).collect())
}

/// One field as JSON. A float that JSON cannot write (infinite, not a number) becomes `null`.
///
/// ```
/// use headwater::model::{json_from_value, Value};
/// assert_eq!(json_from_value(&Value::Bytes(vec![0xc0, 0xff])), serde_json::json!({"$bytes": "c0ff"}));
/// ```
pub fn json_from_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => Json::Bool(*v),
        Value::Int(v) | Value::Counter(v) => Json::from(*v),
        Value::Uint(v) => Json::from(*v),
        Value::Float(v) => Number::from_f64(*v).map_or(Json::Null, Json::Number),
        Value::Str(v) => Json::String(v.clone()),
        Value::Text(v) => Json::String(v.to_string()),
        Value::Timestamp(v) => serde_json::json!({ "$timestamp": v }),
        Value::Bytes(v) => serde_json::json!({ "$bytes": hex(v) }),
        Value::List(items) | Value::Keyed(_, items) => {
            Json::Array(items.iter().map(json_from_value).collect())
        }
        Value::Map(map) => json_from_map(map),
    }
}

fn tagged(object: &serde_json::Map<String, Json>) -> Option<Result<Value, JsonError>> {
    let mut entries = object.iter();
    let (Some((key, json)), None) = (entries.next(), entries.next()) else { return None };
    let (name, value) = match key.as_str() {
        "$bytes" => ("$bytes", json.as_str().and_then(unhex).map(Value::Bytes)),
        "$timestamp" => ("$timestamp", json.as_i64().map(Value::Timestamp)),
        "$text" => ("$text", json.as_str().map(|text| Value::Text(Text::from(text)))),
        "$counter" => ("$counter", json.as_i64().map(Value::Counter)),
        _ => return None,
    };
    Some(value.ok_or(JsonError::BadTag(name)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_a_round_trip() {
        // Would fail if an import followed by an export changed a record.
        let record = json!({
            "name": "Guji", "rating": 8.67, "bags": 300, "lot": null, "tags": ["a", {"b": [1, -2]}], "big": u64::MAX,
            "raw": {"$bytes": "00ff"}, "at": {"$timestamp": 1_700_000_000_000i64}, "looks_tagged": {"$bytes": "00", "more": 1},
        });
        assert_eq!(json_from_map(&map_from_json(record.clone()).unwrap()), record);
        assert_eq!(json_from_value(&value_from_json(json!({"$text": "a"})).unwrap()), json!("a"));
    }

    #[test]
    fn malformed_tags_are_refused() {
        // Would store a bytes field as a map, silently, if a typing error passed.
        for bad in [
            json!({"$bytes": "0g"}),
            json!({"$bytes": "000"}),
            json!({"$timestamp": "now"}),
            json!({"$counter": 0.5}),
        ] {
            assert!(matches!(value_from_json(bad), Err(JsonError::BadTag(_))));
        }
        assert!(matches!(map_from_json(json!([1])), Err(JsonError::NotAnObject)));
    }
}
