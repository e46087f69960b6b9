//! Values keep their kinds on every way in and out, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

mod support;

use headwater::{Map, Replica, Value};
use serde_json::json;
use support::{Terminal, lines};

fn element<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn all_kinds() -> Map {
    let map = |key: &str, value| Value::Map(Map::from([(key.to_owned(), value)]));
    let values = [
        ("null", Value::Null),
        ("bool", Value::Bool(true)),
        ("int", Value::Int(i64::MIN)),
        ("uint", Value::Uint(u64::MAX)),
        ("float", Value::Float(0.1)),
        ("whole_float", Value::Float(1.0)),
        ("large_float", Value::Float(1e300)),
        ("negative_zero", Value::Float(-0.0)),
        ("nan", Value::Float(f64::NAN)),
        ("other_nan", Value::Float(f64::from_bits(0xfff8_0000_0000_0007))),
        ("infinity", Value::Float(f64::INFINITY)),
        ("minus_infinity", Value::Float(f64::NEG_INFINITY)),
        ("string", Value::from("a\0\n\u{2028}\"😀")),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("timestamp", Value::Timestamp(-1)),
        ("counter", Value::Counter(-3)),
        ("text", Value::Text("sweet\0".into())),
        ("empty_text", Value::Text("".into())),
        (
            "list",
            Value::List(vec![Value::Text("x".into()), Value::List(vec![]), map("$text", Value::Counter(1))]),
        ),
        (
            "map",
            Value::Map(Map::from([("a".to_owned(), Value::Float(f64::NAN)), (String::new(), Value::Null)])),
        ),
        ("empty_map", Value::Map(Map::new())),
        (
            "keyed",
            Value::Keyed(
                "id".into(),
                vec![
                    element([("id", "b".into()), ("notes", Value::Text("x".into()))]),
                    element([("id", 5.into())]),
                    element([("id", "5".into()), ("spot", Value::Tuple(vec![1.into(), Value::Counter(2)]))]),
                ],
            ),
        ),
        ("empty_keyed", Value::Keyed("a.b".into(), vec![])),
        ("tuple", Value::Tuple(vec![Value::Float(13.4), Value::Text("y".into()), Value::Null])),
        ("empty_tuple", Value::Tuple(vec![])),
        ("variant", Value::Variant("Hot".into(), Box::new(map("bar", 9.into())))),
        ("variants", Value::List(vec![Value::Variant("$text".into(), Box::new(Value::Null)), "Cold".into()])),
        ("looks_keyed", map("$keyed", Value::List(vec!["id".into(), Value::List(vec![])]))),
        ("looks_like_text", map("$text", Value::from("x"))),
        ("looks_like_a_map", map("$map", map("$map", Value::List(vec![])))),
        ("$text", Value::from("a field of this name")),
        ("a\0b", Value::Int(1)),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn records(terminal: &Terminal) -> Vec<Map> {
    let replica = Replica::open(terminal.path("replica.redb")).unwrap();
    let records =
        replica.space("default").dynamic("bags").unwrap().iter().collect::<Result<Vec<_>, _>>().unwrap();
    records.into_iter().map(|record| record.fields).collect()
}

#[test]
fn an_export_is_imported_as_exactly_what_it_was() {
    // Would turn texts into strings and counters into numbers on the way to another device, where later edits
    // no longer merge.
    let (a, b) = (Terminal::new(), Terminal::new());
    let only = |key: &str, value| Map::from([(key.to_owned(), value)]);
    let entities =
        vec![all_kinds(), Map::new(), only("$map", Value::List(vec![])), only("$counter", Value::Int(1))];
    {
        let replica = Replica::open(a.path("replica.redb")).unwrap();
        let bags = replica.space("default").dynamic("bags").unwrap();
        for fields in &entities {
            bags.insert(fields.clone()).unwrap();
        }
        let deleted = bags.insert(only("gone", Value::Null)).unwrap().id;
        bags.delete(deleted).unwrap();
    }
    let path = a.path("export.jsonl");
    a.ok(&["export", "bags", path.to_str().unwrap()]);
    b.ok(&["import", "bags", path.to_str().unwrap()]);
    assert_eq!(records(&b), entities);
    // Onto the device that it came from, it is no edit at all.
    let pending = a.json(&["status"])["pending"].clone();
    a.ok(&["import", "bags", path.to_str().unwrap()]);
    assert_eq!(a.json(&["status"])["pending"], pending);
    assert_eq!(records(&a), entities);
    // Both ways of writing are the same text.
    assert_eq!(b.ok(&["export", "bags", "-"]), std::fs::read_to_string(path).unwrap());
}

#[test]
fn a_plain_export_is_for_other_programs() {
    // Would hand a spreadsheet objects in the place of words and numbers.
    let terminal = Terminal::new();
    terminal.ok(&[
        "put",
        "bags",
        r#"{"notes": {"$text": "juicy"}, "brewed": {"$counter": 3}, "level": {"$float": "NaN"}}"#,
    ]);
    let plain = lines(&terminal.ok(&["export", "bags", "--plain"]));
    assert_eq!((&plain[0]["notes"], &plain[0]["brewed"]), (&json!("juicy"), &json!(3)));
    let kinds = lines(&terminal.ok(&["export", "bags"]));
    assert_eq!(kinds[0]["notes"], json!({"$text": "juicy"}));
    assert_eq!(kinds[0]["brewed"], json!({"$counter": 3}));
    // What JSON has no number for is never a null, in whatever style.
    for records in [&plain, &kinds, &lines(&terminal.ok(&["ls", "bags", "--json"]))] {
        assert_eq!(records[0]["level"], json!({"$float": "NaN"}));
    }
}

#[test]
fn lists_by_key_tuples_and_cases_are_edited_as_what_they_are() {
    // Would make a plain list of a keyed one at the first command, and merge it by place from then on.
    let terminal = Terminal::new();
    let forms = json!({
        "gear": {"$keyed": ["id", [{"id": 1, "g": 5}, {"id": 2, "g": 6}]]},
        "spot": {"$tuple": [13.4, 52.5]},
        "method": {"$variant": ["Hot", {"bar": 9}]},
    });
    let id = terminal.ok(&["put", "bags", &forms.to_string()]).trim().to_owned();
    let kinds = || {
        let mut fields = lines(&terminal.ok(&["export", "bags"])).remove(0);
        fields.as_object_mut().unwrap().remove("id");
        fields
    };
    assert_eq!(kinds(), forms);
    // Everything that shows them plainly shows lists and maps, and takes those back.
    let plain = json!({"gear": [{"id": 1, "g": 5}, {"id": 2, "g": 6}], "spot": [13.4, 52.5], "method": {"Hot": {"bar": 9}}});
    for shown in
        [terminal.json(&["get", "bags", &id]), lines(&terminal.ok(&["export", "bags", "--plain"])).remove(0)]
    {
        for (name, value) in plain.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{shown}");
        }
    }
    let pending = terminal.json(&["status"])["pending"].clone();
    let mut again = plain.clone();
    again["id"] = id.as_str().into();
    let ran = terminal.run_with_input(&["import", "bags", "-"], &again.to_string());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((terminal.json(&["status"])["pending"].clone(), kinds()), (pending, forms));
    terminal.ok(&[
        "set",
        "bags",
        &id,
        r#"gear=[{"id": 2, "g": 7}, {"id": 1, "g": 5}]"#,
        "spot=[13.4, 1]",
        r#"method={"Hot": {"bar": 8}}"#,
    ]);
    let edited = json!({
        "gear": {"$keyed": ["id", [{"id": 2, "g": 7}, {"id": 1, "g": 5}]]},
        "spot": {"$tuple": [13.4, 1]},
        "method": {"$variant": ["Hot", {"bar": 8}]},
    });
    assert_eq!(kinds(), edited);
    // Of a list without keys nobody can say what became of its elements.
    for bad in [r#"gear=[{"g": 1}]"#, r#"gear=[{"id": 1}, {"id": 1}]"#, r#"new={"$keyed": ["id", [1]]}"#] {
        let error = terminal.error(1, &["set", "bags", &id, bad]);
        assert!(error["kind"] == "edit" && error["message"].as_str().unwrap().contains("`id`"), "{error}");
    }
    assert_eq!(kinds(), edited);
}

#[test]
fn what_cannot_be_kept_is_refused_before_anything_is_written() {
    // Would store another number than the one that was given, and say that it is done.
    let terminal = Terminal::new();
    let id = terminal
        .ok(&["put", "bags", r#"{"n": {"$counter": 9223372036854775807}, "m": {"$counter": 5}}"#])
        .trim()
        .to_owned();
    let before = terminal.ok(&["export", "bags"]);
    for (assignment, about) in [
        ("n=-9223372036854775808", "cannot be set to -9223372036854775808"),
        ("m=18446744073709551615", "cannot be set to 18446744073709551615"),
        ("m=1e300", "cannot be set to 1"),
        ("m=-9223372036854775808", "cannot be set to -9223372036854775808"),
    ] {
        // Together with another field: neither is written.
        let error = terminal.error(1, &["set", "bags", &id, "rating=1", assignment]);
        assert_eq!(error["kind"], "edit");
        assert!(error["message"].as_str().unwrap().contains(about), "{assignment}: {error}");
        let (field, value) = assignment.split_once('=').unwrap();
        let line = format!("{{\"id\": \"{id}\", \"rating\": 1, \"{field}\": {value}}}");
        let ran = terminal.run_with_input(&["import", "bags", "-"], &line);
        assert!(ran.code == 1 && ran.stderr.contains(about), "{ran:?}");
        assert_eq!(terminal.ok(&["export", "bags"]), before);
    }
    for bad in [
        "a=18446744073709551616",
        "a=0.12345678901234567890",
        r#"a={"b": 1, "b": 2}"#,
        r#"a={"$float": "x"}"#,
    ] {
        terminal.error(2, &["set", "bags", &id, bad]);
    }
    for bad in [r#"{"a": 1e400}"#, r#"{"a": 1, "a": 1}"#, r#"{"a": "\ud800"}"#] {
        assert_eq!(terminal.error(2, &["put", "bags", bad])["kind"], "bad_json", "{bad}");
    }
    assert_eq!(terminal.ok(&["export", "bags"]), before);
    // As far as 64 bits go, it does what it says.
    terminal.ok(&["set", "bags", &id, "n=0"]);
    terminal.ok(&["set", "bags", &id, "n=-9223372036854775808", "m=-9223372036854775803"]);
    let found = terminal.json(&["get", "bags", &id]);
    assert_eq!((&found["n"], &found["m"]), (&json!(i64::MIN), &json!(i64::MIN + 5)));
}
