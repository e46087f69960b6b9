use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::model::{Map, Value};

/// `PROPTEST_CASES=n` for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(2000), ..default }
}

/// Any value, with what is hard to carry more often than chance would have it.
fn values() -> impl Strategy<Value = Value> {
    let float = prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        (0..1u64 << 52).prop_map(|bits| f64::from_bits(0x7ff0_0000_0000_0000 | bits)),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            1e16,
            1e18,
            -1e19,
            1.8e19,
            1e22,
            1e300,
            5e-324,
            f64::MIN_POSITIVE
        ]),
        (-1_000_000i64..1_000_000, 0..20i32).prop_map(|(digits, zeros)| digits as f64 * 10f64.powi(zeros)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (1u64 << 63..=u64::MAX).prop_map(Value::Uint),
        float.prop_map(Value::Float),
        strings().prop_map(Value::Str),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
        any::<i64>().prop_map(Value::Timestamp),
        any::<i64>().prop_map(Value::Counter),
        strings().prop_map(|text| Value::Text(text.into())),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            maps(inner.clone()).prop_map(Value::Map),
            vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            (strings(), vec(inner.clone(), 0..4)).prop_map(|(key, items)| Value::Keyed(key, items)),
            (strings(), inner.clone()).prop_map(|(name, content)| Value::Variant(name, Box::new(content))),
            (strings(), inner).prop_map(|(key, value)| Value::Map(Map::from([(key, value)]))),
        ]
    })
}

fn maps(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
    btree_map(strings(), values, 0..4)
}

fn strings() -> impl Strategy<Value = String> {
    let names = [
        "$text",
        "$counter",
        "$bytes",
        "$timestamp",
        "$float",
        "$string",
        "$map",
        "$keyed",
        "$tuple",
        "$variant",
        "$other",
        "$",
        "id",
    ];
    prop_oneof![
        any::<String>(),
        prop::sample::select(names.to_vec()).prop_map(str::to_owned),
        r#"[a"\\/\x00\n\u{7f}\u{2028}😀$]{0,5}"#.prop_map(|text: String| text),
    ]
}

/// What is left of a value in the styles in which a text is a string, a counter a number, and a list of any kind a list.
fn plain(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Str(text.to_string()),
        Value::Counter(count) => Value::Int(*count),
        Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
            Value::List(items.iter().map(plain).collect())
        }
        Value::Variant(name, content) => Value::Map(Map::from([(name.clone(), plain(content))])),
        Value::Map(map) => Value::Map(map.iter().map(|(key, value)| (key.clone(), plain(value))).collect()),
        other => other.clone(),
    }
}

/// What a `jsonb` column makes of JSON: floats lose their exponent, and whole ones of them their point.
fn through_jsonb(json: &Json) -> Json {
    match json {
        Json::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap();
            assert!(float.to_bits() != (-0.0f64).to_bits(), "jsonb has no -0");
            let written = number.to_string();
            let written = if written.contains('e') { format!("{float}") } else { written };
            serde_json::from_str(&written).unwrap()
        }
        Json::String(text) => {
            assert!(!text.contains('\0'), "jsonb has no U+0000");
            json.clone()
        }
        Json::Array(items) => Json::Array(items.iter().map(through_jsonb).collect()),
        Json::Object(object) => {
            assert!(object.keys().all(|key| !key.contains('\0')), "jsonb has no U+0000");
            Json::Object(object.iter().map(|(key, json)| (key.clone(), through_jsonb(json))).collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_value_comes_back_from_json_with_kinds(value in values()) {
        // Would change somebody's data between an export and the import of it.
        let text = json_from_value(&value, JsonStyle::Kinds).to_string();
        prop_assert_eq!(&value_from_json_text(text.as_bytes()).unwrap(), &value, "{}", text);
    }

    #[test]
    fn any_entity_comes_back_in_every_style(map in maps(values())) {
        // Would lose a field whose name looks like a form, or that a database cannot hold.
        let text = json_from_map(&map, JsonStyle::Kinds).to_string();
        prop_assert_eq!(&map_from_json_text(text.as_bytes()).unwrap(), &map, "{}", text);
        let expected = plain(&Value::Map(map.clone()));
        let text = json_from_map(&map, JsonStyle::Plain).to_string();
        prop_assert_eq!(Value::Map(map_from_json_text(text.as_bytes()).unwrap()), expected.clone(), "{}", text);
        let stored = through_jsonb(&json_from_map(&map, JsonStyle::Sql));
        prop_assert_eq!(Value::Map(map_from_json(stored.clone()).unwrap()), expected, "{}", stored);
    }

    #[test]
    fn any_value_comes_back_from_a_database(value in values()) {
        // Would give an app another value after somebody with SQL touched the row, or none at all.
        let stored = through_jsonb(&json_from_value(&value, JsonStyle::Sql));
        prop_assert_eq!(value_from_json(stored.clone()).unwrap(), plain(&value), "{}", stored);
    }

    #[test]
    fn any_float_that_a_program_writes_is_taken(bits in any::<u64>()) {
        // Would refuse what another program exports, because it writes more digits than it needs.
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        for text in [format!("{float:e}"), format!("{float:.16e}"), format!("{float:?}")] {
            let read = value_from_json_text(text.as_bytes()).unwrap();
            prop_assert_eq!(read, Value::Float(float), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}":,$\\u0-9dDeE+. mapfloat-]{0,40}"#) {
        // Would end an import, or a process that reads what somebody sent.
        let _ignored = map_from_json_text(text.as_bytes()).is_ok();
    }
}

#[test]
fn the_deepest_value_comes_back_in_the_widest_form() {
    // Would export an entity that cannot be imported again.
    let mut value = Value::Float(f64::NAN);
    for _ in 0..DEPTH_MAX {
        value = Value::Map(Map::from([("$text".to_owned(), value)]));
    }
    let text = json_from_value(&value, JsonStyle::Kinds).to_string();
    assert_eq!(value_from_json_text(text.as_bytes()).unwrap(), value);
    let mut value = Value::from("\0");
    for _ in 0..DEPTH_MAX {
        value = Value::Map(Map::from([("\0".to_owned(), value)]));
    }
    let text = json_from_value(&value, JsonStyle::Sql).to_string();
    assert_eq!(value_from_json_text(text.as_bytes()).unwrap(), value);
    let mut value = Value::from("x");
    for _ in 0..DEPTH_MAX {
        value = Value::Keyed("id".to_owned(), vec![value]);
    }
    let text = json_from_value(&value, JsonStyle::Kinds).to_string();
    assert_eq!(value_from_json_text(text.as_bytes()).unwrap(), value);
    let deeper = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(value_from_json_text(deeper.as_bytes()), Err(JsonError::TooDeep)));
}

#[test]
fn the_forms_are_as_documented() {
    // Would make an export that other programs were written for unreadable to them.
    let cases = [
        (Value::Text("juicy".into()), json!({"$text": "juicy"}), json!("juicy")),
        (Value::Counter(5), json!({"$counter": 5}), json!(5)),
        (Value::Bytes(vec![0xc0, 0xff, 0xee]), json!({"$bytes": "c0ffee"}), json!({"$bytes": "c0ffee"})),
        (Value::Timestamp(-7), json!({"$timestamp": -7}), json!({"$timestamp": -7})),
        (Value::Float(f64::NAN), json!({"$float": "NaN"}), json!({"$float": "NaN"})),
        (Value::Float(f64::INFINITY), json!({"$float": "Infinity"}), json!({"$float": "Infinity"})),
        (Value::Float(f64::NEG_INFINITY), json!({"$float": "-Infinity"}), json!({"$float": "-Infinity"})),
        (
            Value::Float(f64::from_bits(0x7ff8_0000_0000_0001)),
            json!({"$float": "0x7ff8000000000001"}),
            json!({"$float": "0x7ff8000000000001"}),
        ),
        (
            Value::Map(Map::from([("$text".to_owned(), Value::Counter(1))])),
            json!({"$map": {"$text": {"$counter": 1}}}),
            json!({"$map": {"$text": 1}}),
        ),
        (
            Value::Keyed("id".into(), vec![Value::Map(Map::from([("id".to_owned(), Value::Int(1))]))]),
            json!({"$keyed": ["id", [{"id": 1}]]}),
            json!([{"id": 1}]),
        ),
        (Value::Tuple(vec![1.into(), "two".into()]), json!({"$tuple": [1, "two"]}), json!([1, "two"])),
        (
            Value::Variant("Hot".into(), Box::new(Value::Counter(93))),
            json!({"$variant": ["Hot", {"$counter": 93}]}),
            json!({"Hot": 93}),
        ),
        (
            Value::Variant("$tuple".into(), Box::new(Value::Null)),
            json!({"$variant": ["$tuple", null]}),
            json!({"$map": {"$tuple": null}}),
        ),
        (
            Value::Map(Map::from([("$ref".to_owned(), Value::Int(1))])),
            json!({"$map": {"$ref": 1}}),
            json!({"$ref": 1}),
        ),
    ];
    for (value, kinds, plain) in cases {
        assert_eq!(json_from_value(&value, JsonStyle::Kinds), kinds);
        assert_eq!(json_from_value(&value, JsonStyle::Plain), plain);
    }
    let negative_zero = Value::Float(-0.0);
    assert_eq!(json_from_value(&negative_zero, JsonStyle::Kinds).to_string(), "-0.0");
    assert_eq!(json_from_value(&negative_zero, JsonStyle::Sql), json!({"$float": "-0.0"}));
    assert_eq!(json_from_value(&Value::from("a\0b"), JsonStyle::Sql), json!({"$string": "a\\u0000b"}));
    let nul_key = Value::Map(Map::from([("a\0b".to_owned(), Value::Int(1))]));
    assert_eq!(json_from_value(&nul_key, JsonStyle::Sql), json!({"$map": [["a\\u0000b", 1]]}));
}

#[test]
fn what_does_not_hold_what_its_name_says_is_refused() {
    // Would store a bytes field as a map, silently, if a typing error passed.
    for bad in [
        json!({"$bytes": "0g"}),
        json!({"$bytes": "000"}),
        json!({"$timestamp": "now"}),
        json!({"$keyed": ["id"]}),
        json!({"$keyed": [["id"], []]}),
        json!({"$keyed": ["id", {}]}),
        json!({"$keyed": ["id", [], 1]}),
        json!({"$tuple": {}}),
        json!({"$variant": "Hot"}),
        json!({"$variant": ["Hot"]}),
        json!({"$variant": [1, 2]}),
        json!({"$counter": 0.5}),
        json!({"$counter": u64::MAX}),
        json!({"$text": 5}),
        json!({"$text": {"$bytes": "00"}}),
        json!({"$float": "nan"}),
        json!({"$float": "inf"}),
        json!({"$float": 1.5}),
        json!({"$float": "0x7ff8"}),
        json!({"$string": "a\"b"}),
        json!({"$string": "\\ud800"}),
        json!({"$map": 5}),
        json!({"$map": [["a"]]}),
        json!({"$map": [["a", 1, 2]]}),
        json!({"$map": [[1, 2]]}),
    ] {
        assert!(matches!(value_from_json(bad.clone()), Err(JsonError::BadTag(_))), "{bad}");
    }
    let twice = value_from_json(json!({"$map": [["a", 1], ["\\u0061", 2]]}));
    assert!(matches!(twice, Err(JsonError::DuplicateKey(key)) if key == "a"));
    assert!(matches!(map_from_json(json!([1])), Err(JsonError::NotAnObject)));
    assert!(matches!(map_from_json_text(b"[1]"), Err(JsonError::NotAnObject)));
}

#[test]
fn a_number_that_cannot_be_kept_is_refused_by_name() {
    // Would round somebody's account number, and say that it was stored.
    for bad in [
        "18446744073709551616",
        "-9223372036854775809",
        "100000000000000000000000000000",
        "0.1234567890123456789",
        "3.14159265358979323846",
        "1e400",
        "-1e400",
        "1e-400",
        "1.2345678901234567e-320",
    ] {
        let text = format!(r#"{{"a \" 1e999 \\": [true, {{"b": {bad}}}]}}"#);
        match map_from_json_text(text.as_bytes()) {
            Err(JsonError::NumberOutOfRange(named)) => assert_eq!(named, bad),
            other => panic!("{bad}: {other:?}"),
        }
    }
    for (good, value) in [
        ("18446744073709551615", Value::Uint(u64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("-0.0", Value::Float(-0.0)),
        ("0.0000", Value::Float(0.0)),
        ("1.10", Value::Float(1.1)),
        ("1e22", Value::Float(1e22)),
        ("0.10000000000000001", Value::Float(0.1)),
        ("0.1000000000000000055511151231257827021181583404541015625", Value::Float(0.1)),
        ("4.9E-324", Value::Float(5e-324)),
        ("1E+2", Value::Float(100.0)),
    ] {
        assert_eq!(value_from_json_text(good.as_bytes()).unwrap(), value, "{good}");
    }
}

#[test]
fn a_number_of_any_length_is_kept_or_refused() {
    // Would panic: what formats a number to compare its digits takes no more than 65,535 of them. Or would fill a terminal with them.
    let long = format!("1.{}", "3".repeat(100_000));
    let error = value_from_json_text(long.as_bytes()).unwrap_err();
    assert!(matches!(&error, JsonError::NumberOutOfRange(number) if *number == long));
    assert!(error.to_string().len() < 200, "{error}");
    let form = json!({ "$float": long });
    assert!(matches!(value_from_json(form), Err(JsonError::BadTag("$float"))));
    // The double with the most digits when it is written out.
    let longest = f64::from_bits((1 << 53) - 1);
    assert_eq!(value_from_json_text(format!("{longest:.1074}").as_bytes()).unwrap(), Value::Float(longest));
    let error = map_from_json_text(format!(r#"{{"{0}": 1, "{0}": 2}}"#, "k".repeat(1_000)).as_bytes());
    assert!(error.unwrap_err().to_string().len() < 200);
}

#[test]
fn a_key_that_is_there_twice_is_refused_by_name() {
    // Would drop one of the two values, whichever the parser happens to meet first.
    for twice in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"a": 1, "\u0061": 2}]}"#] {
        assert!(
            matches!(map_from_json_text(twice.as_bytes()), Err(JsonError::DuplicateKey(key)) if key == "a"),
            "{twice}"
        );
    }
    assert!(map_from_json_text(br#"{"a": {"b": 1}, "b": {"a": 1}}"#).is_ok());
}

#[test]
fn half_a_character_is_refused_with_its_place() {
    // Would store a replacement character in the place of what somebody wrote.
    for (bad, half) in [
        (r#"{"a": "\ud800"}"#, (r"\ud800", 7)),
        (r#"{"a": "\\ud800 \udC00 x"}"#, (r"\udC00", 15)),
        (r#"{"\ud83d\ude00\ud800": 1}"#, (r"\ud800", 14)),
    ] {
        match map_from_json_text(bad.as_bytes()) {
            Err(JsonError::HalfCharacter { escape, at }) => assert_eq!((escape.as_str(), at), half, "{bad}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    assert_eq!(value_from_json_text(br#""\ud83d\ude00""#).unwrap(), Value::from("😀"));
    assert!(matches!(map_from_json_text(b"{\"a\": \"\xff\"}"), Err(JsonError::NotJson(_))));
}
