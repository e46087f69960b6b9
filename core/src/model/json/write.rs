//! Values as JSON.

use serde_json::{Number, Value as Json, json};

use super::JsonStyle;
use super::read::is_form;
use crate::model::{Map, Value};

/// The bits of the NaN that every language writes when asked for one.
pub(super) const USUAL_NAN: u64 = 0x7ff8_0000_0000_0000;

/// The fields of an entity as a JSON object.
///
/// ```
/// use headwater::model::{json_from_map, JsonStyle, Map, Value};
/// let fields = Map::from([("notes".into(), Value::Text("juicy".into()))]);
/// assert_eq!(json_from_map(&fields, JsonStyle::Plain), serde_json::json!({"notes": "juicy"}));
/// assert_eq!(json_from_map(&fields, JsonStyle::Kinds), serde_json::json!({"notes": {"$text": "juicy"}}));
/// ```
pub fn json_from_map(map: &Map, style: JsonStyle) -> Json {
    if style == JsonStyle::Sql && map.keys().any(|key| holds_nul(key)) {
        return pairs(map, style);
    }
    let object = object(map, style);
    // The fields of an entity are an object whatever their names; only `$map` would be taken for an escape.
    if map.len() == 1 && map.contains_key("$map") { json!({ "$map": object }) } else { object }
}

/// One field as JSON.
///
/// ```
/// use headwater::model::{json_from_value, JsonStyle, Value};
/// use serde_json::json;
/// assert_eq!(json_from_value(&Value::Bytes(vec![0xc0, 0xff]), JsonStyle::Plain), json!({"$bytes": "c0ff"}));
/// assert_eq!(json_from_value(&Value::Float(f64::NAN), JsonStyle::Plain), json!({"$float": "NaN"}));
/// ```
pub fn json_from_value(value: &Value, style: JsonStyle) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => Json::Bool(*v),
        Value::Int(v) => Json::from(*v),
        Value::Uint(v) => Json::from(*v),
        Value::Float(v) => float(*v, style),
        Value::Str(v) => string(v, style),
        Value::Bytes(v) => json!({ "$bytes": hex(v) }),
        Value::Timestamp(v) => json!({ "$timestamp": v }),
        Value::Counter(v) => match style {
            JsonStyle::Kinds => json!({ "$counter": v }),
            JsonStyle::Plain | JsonStyle::Sql => Json::from(*v),
        },
        Value::Text(v) => match style {
            JsonStyle::Kinds => json!({ "$text": v.as_str() }),
            JsonStyle::Plain | JsonStyle::Sql => string(v.as_str(), style),
        },
        Value::List(items) => list(items, style),
        Value::Keyed(key, items) => match style {
            JsonStyle::Kinds => json!({ "$keyed": [key, list(items, style)] }),
            JsonStyle::Plain | JsonStyle::Sql => list(items, style),
        },
        Value::Tuple(items) => match style {
            JsonStyle::Kinds => json!({ "$tuple": list(items, style) }),
            JsonStyle::Plain | JsonStyle::Sql => list(items, style),
        },
        Value::Variant(name, content) => match style {
            JsonStyle::Kinds => json!({ "$variant": [name, json_from_value(content, style)] }),
            JsonStyle::Plain | JsonStyle::Sql => {
                inner_map(&Map::from([(name.clone(), content.as_ref().clone())]), style)
            }
        },
        Value::Map(map) => inner_map(map, style),
    }
}

fn list(items: &[Value], style: JsonStyle) -> Json {
    Json::Array(items.iter().map(|item| json_from_value(item, style)).collect())
}

fn inner_map(map: &Map, style: JsonStyle) -> Json {
    if style == JsonStyle::Sql && map.keys().any(|key| holds_nul(key)) {
        return pairs(map, style);
    }
    let is_escaped = match map.keys().next() {
        Some(key) if map.len() == 1 => match style {
            // All of them, so that a form which a later version adds means nothing else in an older export.
            JsonStyle::Kinds => key.starts_with('$'),
            JsonStyle::Plain | JsonStyle::Sql => is_form(key),
        },
        _ => false,
    };
    let object = object(map, style);
    if is_escaped { json!({ "$map": object }) } else { object }
}

fn object(map: &Map, style: JsonStyle) -> Json {
    Json::Object(map.iter().map(|(key, value)| (key.clone(), json_from_value(value, style))).collect())
}

fn pairs(map: &Map, style: JsonStyle) -> Json {
    let pairs = map.iter().map(|(key, value)| json!([escaped(key), json_from_value(value, style)]));
    json!({ "$map": pairs.collect::<Vec<_>>() })
}

fn string(text: &str, style: JsonStyle) -> Json {
    if style == JsonStyle::Sql && holds_nul(text) {
        json!({ "$string": escaped(text) })
    } else {
        Json::String(text.to_owned())
    }
}

fn float(float: f64, style: JsonStyle) -> Json {
    /// From here on a float is written with an exponent, of which `jsonb` makes a whole number; up to 2^64
    /// that would be read as one.
    const EXPONENT_FROM: f64 = 1e16;
    const WHOLE_BELOW: f64 = 18_446_744_073_709_551_616.0;
    let is_lost_in_sql = float.to_bits() == (-0.0f64).to_bits()
        || (float.fract() == 0.0 && (EXPONENT_FROM..WHOLE_BELOW).contains(&float.abs()));
    match Number::from_f64(float) {
        Some(_) if style == JsonStyle::Sql && is_lost_in_sql => json!({ "$float": format!("{float:?}") }),
        Some(number) => Json::Number(number),
        None if float == f64::INFINITY => json!({ "$float": "Infinity" }),
        None if float == f64::NEG_INFINITY => json!({ "$float": "-Infinity" }),
        None if float.to_bits() == USUAL_NAN => json!({ "$float": "NaN" }),
        None => json!({ "$float": format!("{:#018x}", float.to_bits()) }),
    }
}

fn holds_nul(text: &str) -> bool {
    text.contains('\0')
}

/// The text as JSON writes it inside quotes.
fn escaped(text: &str) -> String {
    let quoted = Json::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
