//! Any value of the model from a device to SQL and back. `HEADWATER_VALUES=N` plays as many cases.

use std::collections::HashMap;

use headwater::model::map_from_json;
use headwater::{DynamicCollection, EntityId, Map, Value};
use headwater_fuzz::{Random, values};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::bed::{Bed, SPACE, sync};

fn cases() -> u64 {
    std::env::var("HEADWATER_VALUES").map_or(20, |number| number.parse().unwrap())
}

/// What rows show of a value: a text is a string there, a counter a number, a list of any kind a list, and a case of an enum a map.
fn plain(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Str(text.to_string()),
        Value::Counter(count) => Value::Int(*count),
        Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
            Value::List(items.iter().map(plain).collect())
        }
        Value::Variant(name, content) => Value::Map(Map::from([(name.clone(), plain(content))])),
        Value::Map(map) => Value::Map(plain_fields(map)),
        other => other.clone(),
    }
}

fn plain_fields(fields: &Map) -> Map {
    fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// The rows of a collection, read by the rules that are in the docs.
fn rows(bed: &Bed, collection: &str) -> HashMap<EntityId, Map> {
    let rows = bed.psql(&format!(
        "SELECT id || ' ' || data::text FROM headwater.entities WHERE collection = '{collection}'"
    ));
    let row = |line: &str| {
        let (id, data) = line.split_once(' ').unwrap();
        // Of a large float `jsonb` shows all digits.
        let mut data = serde_json::Deserializer::from_str(data);
        data.disable_recursion_limit();
        (id.parse().unwrap(), map_from_json(Json::deserialize(&mut data).unwrap()).unwrap())
    };
    rows.lines().map(row).collect()
}

fn assert_nothing_failed(bed: &Bed) {
    let failed = "SELECT entity, failed, after FROM headwater.inbox WHERE failed IS NOT NULL LIMIT 1";
    assert_eq!(bed.psql(failed), "");
}

fn without(fields: &Map, name: &str) -> Map {
    let mut fields = fields.clone();
    fields.remove(name);
    fields
}

fn fields_of(collection: &DynamicCollection, id: EntityId) -> Map {
    collection.get(id).unwrap().unwrap().fields
}

/// Would show SQL another value than a device wrote, or give devices another one than SQL shows.
#[tokio::test(flavor = "multi_thread")]
async fn any_value_comes_back_from_sql_as_what_it_was() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let [things, copies] = ["things", "copies"].map(|name| replica.space(SPACE).dynamic(name).unwrap());
    let mut written: Vec<(EntityId, Map, EntityId)> = Vec::new();
    for seed in 0..cases() {
        let fields = values::fields(&mut Random::new(seed));
        let id = things.insert(fields.clone()).unwrap().id;
        let copy = copies.insert(Map::from([("origin".to_owned(), id.to_string().into())])).unwrap().id;
        written.push((id, fields, copy));
    }
    sync(&replica, &relay).await;
    bed.settled().await;

    let shown = rows(&bed, "things");
    for (seed, (id, fields, _)) in written.iter().enumerate() {
        assert_eq!(shown[id], plain_fields(fields), "seed {seed}");
    }

    // Written over itself, as it is and by way of text.
    bed.psql("UPDATE headwater.entities SET data = data");
    bed.psql("UPDATE headwater.entities SET data = data::text::jsonb");
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "0");

    // Beside it, and into an entity of somebody else.
    bed.psql("UPDATE headwater.entities SET data = data || '{\"beside\": 1}' WHERE collection = 'things'");
    for (seed, (id, _, copy)) in written.iter().enumerate() {
        let copied = bed.try_psql(&format!(
            "UPDATE headwater.entities AS c SET data = c.data || (o.data - 'beside')
             FROM headwater.entities AS o WHERE c.id = '{copy}' AND o.id = '{id}'"
        ));
        assert!(copied.is_ok(), "seed {seed}, {:?}: {copied:?}", written[seed].1);
    }
    let at_once = rows(&bed, "copies");
    for (seed, (_, fields, copy)) in written.iter().enumerate() {
        assert_eq!(without(&at_once[copy], "origin"), plain_fields(fields), "at once, seed {seed}");
    }
    bed.settled().await;
    assert_nothing_failed(&bed);
    sync(&replica, &relay).await;
    for (seed, (id, fields, copy)) in written.iter().enumerate() {
        let held = fields_of(&things, *id);
        assert_eq!(held["beside"], Value::Int(1));
        assert_eq!(without(&held, "beside"), *fields, "seed {seed}");
        assert_eq!(without(&fields_of(&copies, *copy), "origin"), plain_fields(fields), "seed {seed}");
    }

    // Any value over any other.
    for (seed, (id, _, copy)) in written.iter().enumerate() {
        let (_, _, other) = &written[(seed + 1) % written.len()];
        let replaced = bed.try_psql(&format!(
            "UPDATE headwater.entities AS c SET data = o.data
             FROM headwater.entities AS o WHERE c.id = '{other}' AND o.id = '{id}'"
        ));
        assert!(replaced.is_ok() && copy != other, "seed {seed}: {replaced:?}");
    }
    bed.settled().await;
    assert_nothing_failed(&bed);
    sync(&replica, &relay).await;
    for (seed, (_, fields, _)) in written.iter().enumerate() {
        let (_, _, other) = &written[(seed + 1) % written.len()];
        let held = without(&fields_of(&copies, *other), "beside");
        // What held the same number keeps its type.
        let (held, wanted) = (Value::Map(held), Value::Map(plain_fields(fields)));
        assert!(held.same(&wanted), "seed {seed}: {held:?} is not {wanted:?}");
    }
    relay.stop().await;
}

/// Would promise in the docs what does not happen to numbers that SQL has, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_only_sql_has_are_rounded_or_fail_by_name() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let things = replica.space(SPACE).dynamic("things").unwrap();
    let id = things.insert(Map::from([("count".to_owned(), Value::Counter(i64::MAX))])).unwrap().id;
    sync(&replica, &relay).await;
    bed.settled().await;
    bed.psql(
        "UPDATE headwater.entities SET data = data
         || '{\"whole\": 18446744073709551616, \"decimal\": 0.1234567890123456789, \"twice\": 1, \"twice\": 2}'",
    );
    bed.settled().await;
    bed.psql("UPDATE headwater.entities SET data = data || '{\"count\": -9223372036854775808}'");
    bed.settled().await;
    let failed = bed.psql("SELECT failed FROM headwater.inbox WHERE failed IS NOT NULL");
    assert!(failed.contains("cannot be set to -9223372036854775808"), "{failed}");
    sync(&replica, &relay).await;
    let expected = [
        ("count", Value::Counter(i64::MAX)),
        ("whole", Value::Float(2f64.powi(64))),
        ("decimal", Value::Float(0.123_456_789_012_345_68)),
        ("twice", Value::Int(2)),
    ];
    assert_eq!(fields_of(&things, id), expected.map(|(name, value)| (name.to_owned(), value)).into());
    relay.stop().await;
}

/// Would make a plain list of a keyed one that somebody edits with SQL, so that the next two devices double its elements.
#[tokio::test(flavor = "multi_thread")]
async fn lists_by_key_tuples_and_cases_stay_that_when_sql_writes_them() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let things = replica.space(SPACE).dynamic("things").unwrap();
    let forms = r#"{"gear": {"$keyed": ["id", [{"id": 1, "g": 5}, {"id": 2, "g": 6}]]}, "spot": {"$tuple": [13.4, 52.5]},
        "method": {"$variant": ["Hot", {"bar": 9, "s": 30}]}}"#;
    let id = things.insert(headwater::model::map_from_json_text(forms.as_bytes()).unwrap()).unwrap().id;
    sync(&replica, &relay).await;
    bed.psql(&format!(
        "INSERT INTO headwater.entities (space, collection, data) SELECT '{}', 'made', $${forms}$$::jsonb",
        headwater::SpaceId::from_name(SPACE)
    ));
    bed.settled().await;
    let shown = r#"{"gear": [{"g": 5, "id": 1}, {"g": 6, "id": 2}], "spot": [13.4, 52.5], "method": {"Hot": {"s": 30, "bar": 9}}}"#;
    assert_eq!(
        bed.psql(
            "SELECT count(*) FROM headwater.entities WHERE data = $$SHOWN$$".replace("SHOWN", shown).as_str()
        ),
        "2"
    );

    // Offline, a device edits the elements that SQL moves and keeps.
    let edit = |fields: &mut Map| {
        let Some(Value::Keyed(_, items)) = fields.get_mut("gear") else { panic!("{fields:?}") };
        let Value::Map(second) = &mut items[1] else { panic!("{items:?}") };
        second.insert("name".to_owned(), "kettle".into());
        let Some(Value::Variant(_, content)) = fields.get_mut("method") else { panic!("{fields:?}") };
        let Value::Map(hot) = &mut **content else { panic!("{content:?}") };
        hot.insert("s".to_owned(), 31.into());
    };
    let mut fields = fields_of(&things, id);
    edit(&mut fields);
    things.set(id, fields).unwrap();
    bed.psql(
        "UPDATE headwater.entities SET data = data || '{\"gear\": [{\"id\": 3}, {\"id\": 2, \"g\": 7}], \"spot\": [13.4, 1],
         \"method\": {\"Hot\": {\"s\": 30, \"bar\": 8}}}'",
    );
    bed.settled().await;
    assert_nothing_failed(&bed);
    sync(&replica, &relay).await;
    sync(&replica, &relay).await;
    let expected = r#"{"gear": {"$keyed": ["id", [{"id": 3}, {"id": 2, "g": 7, "name": "kettle"}]]}, "spot": {"$tuple": [13.4, 1]},
        "method": {"$variant": ["Hot", {"bar": 8, "s": 31}]}}"#;
    let expected = headwater::model::map_from_json_text(expected.as_bytes()).unwrap();
    let held = fields_of(&things, id);
    let kinds = |fields: &Map| headwater::model::json_from_map(fields, headwater::model::JsonStyle::Kinds);
    assert_eq!(kinds(&held), kinds(&expected));
    // Another case, and a record without a key, which is refused where it can still be told.
    bed.psql("UPDATE headwater.entities SET data = data || '{\"method\": {\"Cold\": 1}}' WHERE collection = 'made'");
    bed.psql(
        "UPDATE headwater.entities SET data = data || '{\"gear\": [{\"g\": 1}]}' WHERE collection = 'made'",
    );
    bed.settled().await;
    let failed = bed.psql("SELECT failed FROM headwater.inbox WHERE failed IS NOT NULL");
    assert!(failed.contains("`gear`") && failed.contains("`id`"), "{failed}");
    sync(&replica, &relay).await;
    let made = replica.space(SPACE).dynamic("made").unwrap().iter().next().unwrap().unwrap().fields;
    assert_eq!(made["method"], Value::Variant("Cold".into(), Box::new(Value::Int(1))));
    assert!(matches!(&made["gear"], Value::Keyed(key, items) if key == "id" && items.len() == 2), "{made:?}");
    relay.stop().await;
}
