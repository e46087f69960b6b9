//! Edits by somebody who has no replica, made into changes.

use headwater::document::{
    Document, OutsideChange, OutsideEdit, OutsideError, OutsideKind, Projection, WriteError, edit_outside,
    project,
};
use headwater::ingest::{ChangeLimits, IngestError, check_record};
use headwater::model::{DEPTH_MAX, JsonError, JsonStyle, json_from_map, map_from_json};
use headwater::replica::MergeRequest;
use headwater::{ChangeHash, CollectionName, EntityId, Map, Replica, SpaceId, Value};
use headwater_storage::{Bytes, ChangeRecord, PayloadKind};
use serde_json::{Value as Json, json};

use crate::pair::{SPACE, changes, replica};

type Changes = Vec<(ChangeHash, Bytes)>;

fn bags() -> CollectionName {
    CollectionName::new("bags").unwrap()
}

/// A replica with one entity.
fn one(fields: Json) -> (Replica, EntityId) {
    let replica = replica();
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    let id = bags.insert(map_from_json(fields).unwrap()).unwrap().id;
    (replica, id)
}

fn set(replica: &Replica, id: EntityId, fields: Json) {
    replica.space(SPACE).dynamic("bags").unwrap().set(id, map_from_json(fields).unwrap()).unwrap();
}

/// The fields as an app sees them, unless the entity is deleted.
fn get(replica: &Replica, id: EntityId) -> Option<Json> {
    let record = replica.space(SPACE).dynamic("bags").unwrap().get(id).unwrap();
    record.map(|record| json_from_map(&record.fields, JsonStyle::Plain))
}

fn shown(changes: &Changes) -> Projection {
    project(changes.clone()).unwrap().unwrap()
}

/// The actor's last byte is `number`. Later than anything that a test's replica does.
fn edit(number: u8, base: &[ChangeHash], kind: OutsideKind) -> OutsideEdit {
    let mut actor = [0xd0; 24];
    actor[23] = number;
    let time_ms = 1_800_000_000_000 + i64::from(number);
    OutsideEdit { actor, time_ms, base: base.to_vec(), kind }
}

/// An edit of what `seen` shows.
fn patch(number: u8, seen: &Projection, fields: Json) -> OutsideEdit {
    let mut after = seen.data.clone();
    after.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    edit(number, &seen.meta.heads, OutsideKind::Patch { before: seen.data.clone(), after })
}

fn made(changes: &Changes, edit: &OutsideEdit) -> OutsideChange {
    let mut made = edit_outside(changes.clone(), edit).unwrap();
    assert_eq!(made.len(), 1, "{edit:?}");
    made.remove(0)
}

/// Gives a change to a replica as a relay would.
fn give(replica: &Replica, id: EntityId, change: OutsideChange) {
    let OutsideChange { hash, payload } = change;
    let record = ChangeRecord { entity: id, collection: bags(), kind: PayloadKind::Change, hash, payload };
    check_record(&record, &ChangeLimits::default()).unwrap();
    let request = MergeRequest { records: vec![record], position: None };
    let merged = replica.merge(SpaceId::from_name(SPACE), request).unwrap();
    assert_eq!((merged.applied, merged.set_aside), (1, 0));
}

#[test]
fn what_sql_inserts_is_an_entity_on_every_replica() {
    // Would make rows that no app ever sees, or that lack their collection, time or device.
    let fields = json!({
        "name": "Guji", "rating": 4.5, "tags": ["a", {"b": 1}], "raw": {"$bytes": "00ff"}, "used": {"$counter": 1},
        "at": {"$timestamp": 1_700_000_000_000i64}, "lot": null,
    });
    let put = OutsideKind::Put { collection: bags(), fields: fields.clone() };
    // One change for each container, which nobody made, and one with the rest.
    let all = edit_outside(Vec::new(), &edit(1, &[], put)).unwrap();
    assert_eq!(all.len(), 3);
    let id = EntityId::from_bytes([3; 16]);
    let replica = replica();
    for change in &all {
        give(&replica, id, change.clone());
    }
    let mut expected = fields;
    expected["used"] = json!(1);
    assert_eq!(get(&replica, id), Some(expected.clone()));
    let row = shown(&all.into_iter().map(|change| (change.hash, change.payload)).collect());
    assert_eq!((row.data, row.collection), (expected, Some(bags())));
    assert_eq!(row.meta.created.map(|at| at.0), Some(1_800_000_000_001));
    assert_eq!(row.meta.updated_by.map(|device| *device.as_bytes()), Some([0xd0; 16]));
    set(&replica, id, json!({"rating": 5}));
    assert_eq!(get(&replica, id).unwrap()["rating"], json!(5));
}

#[test]
fn an_edit_of_an_old_state_merges_with_newer_ones() {
    // Would undo what devices did between the SQL client's read and its write.
    let (replica, id) = one(json!({"name": "Guji", "rating": 3, "roast": {"level": 1, "at": 1}, "gone": 1}));
    let seen = shown(&changes(&replica, id));
    set(&replica, id, json!({"name": "Guji newer", "rating": 4, "roast": {"level": 2, "at": 1}}));
    let mut edit = patch(1, &seen, json!({"rating": 5, "roast": {"level": 1, "at": 9}}));
    let OutsideKind::Patch { after, .. } = &mut edit.kind else { unreachable!() };
    after.as_object_mut().unwrap().remove("gone");
    let change = made(&changes(&replica, id), &edit);
    give(&replica, id, change);
    let row = shown(&changes(&replica, id));
    assert_eq!(row.data["name"], json!("Guji newer"));
    assert_eq!(row.data["roast"], json!({"level": 2, "at": 9}));
    assert_eq!(row.data.get("gone"), None);
    assert_eq!(get(&replica, id), Some(row.data.clone()));
    let mut ratings: Vec<i64> = row.conflicts["/rating"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["value"].as_i64().unwrap())
        .collect();
    ratings.sort_unstable();
    assert_eq!((ratings, row.conflicts.as_object().unwrap().len()), (vec![4, 5], 1));
}

#[test]
fn a_field_is_not_an_escape_because_it_alone_differs() {
    // Would put the content of a field called `$map` in the place of fields.
    let (replica, id) = one(json!({"$map": {"a": 1}, "name": "Guji"}));
    let seen = shown(&changes(&replica, id));
    let edit = patch(1, &seen, json!({"$map": {"a": 2, "b": 1}}));
    give(&replica, id, made(&changes(&replica, id), &edit));
    let expected = json!({"$map": {"a": 2, "b": 1}, "name": "Guji"});
    assert_eq!(shown(&changes(&replica, id)).data, expected);
    // Where it is all that there is, both states are in the form of a map.
    let (replica, id) = one(json!({"$map": {"$map": {"a": 1}}}));
    let seen = shown(&changes(&replica, id));
    let edit = patch(1, &seen, json!({"$map": {"$map": {"a": 2}}}));
    give(&replica, id, made(&changes(&replica, id), &edit));
    assert_eq!(shown(&changes(&replica, id)).data, json!({"$map": {"$map": {"a": 2}}}));
}

#[test]
fn texts_counters_and_lists_merge_inside() {
    // Would replace what devices wrote, counted and listed meanwhile, because JSON has only strings, numbers and arrays.
    let (replica, id) = one(json!({
        "notes": {"$text": "the red fox"}, "used": {"$counter": 2}, "steps": [{"id": 1, "s": 30}, {"id": 2, "s": 60}],
    }));
    let seen = shown(&changes(&replica, id));
    set(
        &replica,
        id,
        json!({
            "notes": "the red fox jumps", "used": 5, "steps": [{"id": 1, "s": 31}, {"id": 2, "s": 60}, {"id": 3, "s": 90}],
        }),
    );
    let steps = json!([{"id": 0, "s": 5}, {"id": 1, "s": 30}, {"id": 2, "s": 61}]);
    let edit = patch(1, &seen, json!({"notes": "the quick red fox", "used": 12, "steps": steps}));
    give(&replica, id, made(&changes(&replica, id), &edit));
    let row = shown(&changes(&replica, id));
    let steps = json!([{"id": 0, "s": 5}, {"id": 1, "s": 31}, {"id": 2, "s": 61}, {"id": 3, "s": 90}]);
    assert_eq!(row.data, json!({"notes": "the quick red fox jumps", "used": 15, "steps": steps}));
    assert_eq!(row.conflicts, json!({}));
}

#[test]
fn a_delete_and_a_restore_are_marks_like_any_other() {
    // Would lose an edit that was made while the row was deleted, or write marks that say nothing new.
    let (replica, id) = one(json!({"name": "Guji"}));
    let seen = shown(&changes(&replica, id));
    set(&replica, id, json!({"name": "Guji newer"}));
    give(&replica, id, made(&changes(&replica, id), &edit(1, &seen.meta.heads, OutsideKind::Delete)));
    assert_eq!(get(&replica, id), None);
    let deleted = shown(&changes(&replica, id));
    assert_eq!(deleted.meta.deleted.map(|at| at.0), Some(1_800_000_000_001));
    assert_eq!(deleted.data, json!({"name": "Guji newer"}));
    let all = changes(&replica, id);
    let heads = &deleted.meta.heads;
    assert_eq!(edit_outside(all.clone(), &edit(2, heads, OutsideKind::Delete)).unwrap(), []);
    assert_eq!(edit_outside(all.clone(), &edit(2, &seen.meta.heads, OutsideKind::Restore)).unwrap(), []);
    give(&replica, id, made(&all, &edit(2, heads, OutsideKind::Restore)));
    assert_eq!(get(&replica, id), Some(json!({"name": "Guji newer"})));
    // A row that is inserted under the id of a deleted one.
    replica.space(SPACE).dynamic("bags").unwrap().delete(id).unwrap();
    let heads = shown(&changes(&replica, id)).meta.heads;
    let put = OutsideKind::Put { collection: bags(), fields: json!({"rating": 4}) };
    give(&replica, id, made(&changes(&replica, id), &edit(3, &heads, put)));
    assert_eq!(get(&replica, id), Some(json!({"name": "Guji newer", "rating": 4})));
}

#[test]
fn the_same_edit_is_the_same_change_everywhere() {
    // Would apply an edit twice when two relays make it at the same time, each with what it has.
    let (replica, id) = one(json!({"name": "Guji", "notes": {"$text": "juicy"}, "tags": ["a", "b"]}));
    let first = shown(&changes(&replica, id));
    // Two heads to build on.
    give(&replica, id, made(&changes(&replica, id), &patch(1, &first, json!({"name": "one"}))));
    give(&replica, id, made(&changes(&replica, id)[..3].to_vec(), &patch(2, &first, json!({"name": "two"}))));
    let base = changes(&replica, id);
    let seen = shown(&base);
    assert_eq!(seen.meta.heads.len(), 2);
    let mut edit = patch(3, &seen, json!({"name": "three", "notes": "very juicy", "tags": ["b", "c"]}));
    let alone = made(&base, &edit);
    for n in 0..3 {
        set(&replica, id, json!({"rating": n, "notes": format!("juicy {n}")}));
    }
    let mut later = changes(&replica, id);
    assert_eq!(made(&later, &edit), alone);
    later.reverse();
    edit.base.reverse();
    edit.base.extend(first.meta.heads);
    assert_eq!(made(&later, &edit), alone, "neither order nor what heads build on matters");
    later.push((alone.hash, alone.payload.clone()));
    assert_eq!(made(&later, &edit), alone, "it is there already, from the other relay");
    let mut document = Document::from_changes(base.into_iter().map(|(_, payload)| payload)).unwrap();
    document.apply(&[alone.payload.clone(), alone.payload]).unwrap();
    assert_eq!((document.heads(), document.waiting_len()), (vec![alone.hash], 0));
}

#[test]
fn what_is_the_same_number_is_not_written() {
    // Would make a change, and conflicts, of every row that a client wrote back as it was.
    let numbers = json!({
        "rating": 5.0, "odd": 18.615572544419162, "tiny": 5e-324, "large": 1.5e300, "big": u64::MAX, "list": [1.0, 13.023758087170801, 7],
        "at": {"$timestamp": 1i64}, "raw": {"$bytes": "00ff"}, "map": {"whole": 3.0},
    });
    let (replica, id) = one(numbers);
    let all = changes(&replica, id);
    let seen = shown(&all);
    // As text, and as PostgreSQL writes the numbers of a JSONB.
    let mut after: Json = serde_json::from_str(&seen.data.to_string()).unwrap();
    for (field, value) in [("rating", json!(5)), ("map", json!({"whole": 3}))] {
        after[field] = value;
    }
    after["list"][0] = json!(1);
    let large = format!("15{}", "0".repeat(299));
    after["large"] = serde_json::from_str(&large).unwrap();
    assert_eq!(edit_outside(all.clone(), &patch(1, &seen, after.clone())).unwrap(), []);
    after["list"].as_array_mut().unwrap().push(json!(8));
    give(&replica, id, made(&all, &patch(1, &seen, after)));
    set(&replica, id, json!({"rating": 6}));
    let list = get(&replica, id).unwrap()["list"].clone();
    assert_eq!(
        list.to_string(),
        json!([1.0, 13.023758087170801, 7, 8]).to_string(),
        "the elements were left alone"
    );
}

#[test]
fn a_field_that_json_cannot_tell_apart_does_not_stand_in_the_way() {
    // Would refuse every edit of an entity in which one map happens to look like bytes.
    use headwater::{Map, Value};
    let replica = replica();
    let odd = Value::Map(Map::from([("$bytes".into(), "not hex".into())]));
    let fields = Map::from([("odd".into(), odd.clone()), ("rating".into(), Value::Int(1))]);
    let id = replica.space(SPACE).dynamic("bags").unwrap().insert(fields).unwrap().id;
    let all = changes(&replica, id);
    give(&replica, id, made(&all, &patch(1, &shown(&all), json!({"rating": 2}))));
    let record = replica.space(SPACE).dynamic("bags").unwrap().get(id).unwrap().unwrap();
    assert_eq!(record.fields, Map::from([("odd".into(), odd), ("rating".into(), Value::Int(2))]));
}

#[test]
fn what_cannot_be_made_is_a_typed_error() {
    // Would panic, write over Headwater's own fields, or make changes that nobody can apply.
    let (replica, id) = one(json!({"name": "Guji"}));
    let all = changes(&replica, id);
    let seen = shown(&all);
    let refused = |edit: OutsideEdit| edit_outside(all.clone(), &edit).unwrap_err();
    let patched = |fields: Json| refused(patch(1, &seen, fields));
    let reserved = |error| matches!(error, OutsideError::Write(WriteError::BadFieldName(_)));
    assert!(reserved(patched(json!({"_deleted": 1}))));
    assert!(reserved(patched(json!({"n".repeat(1025): 1}))));
    // Taking one away is writing it, too.
    let before = json!({"_collection": "bags", "name": "Guji"});
    let kind = OutsideKind::Patch { before: before.clone(), after: seen.data.clone() };
    assert!(reserved(refused(edit(1, &seen.meta.heads, kind))));
    let kind = OutsideKind::Patch { before: before.clone(), after: before };
    assert!(reserved(refused(edit(1, &seen.meta.heads, kind))));
    assert!(matches!(patched(json!({"raw": {"$bytes": "0g"}})), OutsideError::Json(JsonError::BadTag(_))));
    for (before, after) in [(json!([]), json!({})), (json!({}), json!(null)), (json!(1), json!(1))] {
        let error = refused(edit(1, &seen.meta.heads, OutsideKind::Patch { before, after }));
        assert!(matches!(error, OutsideError::Json(JsonError::NotAnObject)));
    }
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    assert!(matches!(patched(json!({"deep": nested(1_000)})), OutsideError::Write(WriteError::TooDeep)));
    assert!(matches!(
        patched(json!({"deep": nested(DEPTH_MAX + 1)})),
        OutsideError::Write(WriteError::TooDeep)
    ));
    assert!(edit_outside(all.clone(), &patch(1, &seen, json!({"deep": nested(DEPTH_MAX)}))).is_ok());
    let large = json!({"large": "x".repeat(5 << 20)});
    assert!(matches!(patched(large), OutsideError::Write(WriteError::Limit(_))));

    let missing = ChangeHash::from_bytes([7; 32]);
    let edit_of = |base: &[ChangeHash], kind: OutsideKind| refused(edit(1, base, kind));
    let unknown = edit_of(&[seen.meta.heads[0], missing], OutsideKind::Delete);
    assert!(matches!(unknown, OutsideError::UnknownBase(hash) if hash == missing));
    assert!(matches!(edit_of(&[], OutsideKind::Delete), OutsideError::NoEntity));
    let garbage = vec![(missing, Bytes::from_static(b"garbage"))];
    let error = edit_outside(garbage, &edit(1, &[missing], OutsideKind::Delete)).unwrap_err();
    assert!(matches!(error, OutsideError::Ingest(IngestError::Malformed(_))));
}

#[test]
fn an_actor_makes_one_change_of_an_entity() {
    // Would make two changes with one number, with which the entity loads nowhere any more.
    let (replica, id) = one(json!({"name": "Guji"}));
    let seen = shown(&changes(&replica, id));
    let first = made(&changes(&replica, id), &patch(1, &seen, json!({"name": "one"})));
    give(&replica, id, first.clone());
    let all = changes(&replica, id);
    let again = [patch(1, &seen, json!({"name": "two"})), patch(1, &shown(&all), json!({"name": "two"}))];
    for edit in again {
        let error = edit_outside(all.clone(), &edit).unwrap_err();
        assert!(matches!(error, OutsideError::ActorUsed(hash) if hash == first.hash));
    }
    // A base whose own dependencies are not here.
    let head = vec![(first.hash, first.payload)];
    let error = edit_outside(head, &patch(2, &shown(&all), json!({"name": "two"}))).unwrap_err();
    assert!(matches!(error, OutsideError::Ingest(IngestError::DoesNotApply(_))));
}

#[test]
fn what_a_database_cannot_hold_survives_an_edit_of_the_row() {
    // Would turn a NaN into null, or lose a character, as soon as somebody with SQL corrects another field.
    let map = |key: &str, value| Value::Map(Map::from([(key.to_owned(), value)]));
    let fields: Map = [
        ("nan", Value::Float(f64::NAN)),
        ("negative_zero", Value::Float(-0.0)),
        ("large", Value::Float(1e16)),
        ("big", Value::Uint(u64::MAX)),
        ("string", Value::from("a\0b")),
        ("text", Value::Text("c\0d".into())),
        ("list", Value::List(vec![map("\0", Value::Float(f64::INFINITY)), map("$text", Value::Int(1))])),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let replica = replica();
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    let id = bags.insert(fields.clone()).unwrap().id;
    let seen = shown(&changes(&replica, id));
    let text = seen.data.to_string();
    assert!(!text.contains("null") && !text.contains(r#"a\u0000"#) && !text.contains("-0.0,"), "{text}");
    // One field by itself, and one element of the list beside what it cannot hold.
    let mut list = seen.data["list"].clone();
    list.as_array_mut().unwrap().push(json!(5));
    let change = made(&changes(&replica, id), &patch(1, &seen, json!({"rating": 4, "list": list})));
    give(&replica, id, change);
    let mut expected = fields;
    expected.insert("rating".to_owned(), Value::Int(4));
    let Some(Value::List(items)) = expected.get_mut("list") else { unreachable!() };
    items.push(Value::Int(5));
    assert_eq!(bags.get(id).unwrap().unwrap().fields, expected);
}
