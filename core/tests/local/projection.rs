//! What a SQL database sees of an entity.

use headwater::document::{Projection, ProjectionError, project};
use headwater::ingest::{ChangeLimits, CheckedChange, IngestError, check_change};
use headwater::model::map_from_json;
use headwater::{ChangeHash, CollectionName, Counter, EntityId, Replica, Text};
use headwater_storage::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::pair::{SPACE, carry, changes, exchange, replica};

/// An entity on two replicas.
fn shared(fields: Json) -> (Replica, Replica, EntityId) {
    let (a, b) = (replica(), replica());
    let id = a.space(SPACE).dynamic("bags").unwrap().insert(map_from_json(fields).unwrap()).unwrap().id;
    carry(&a, &b);
    (a, b, id)
}

fn set(replica: &Replica, id: EntityId, fields: Json) {
    replica.space(SPACE).dynamic("bags").unwrap().set(id, map_from_json(fields).unwrap()).unwrap();
}

fn projection(replica: &Replica, id: EntityId) -> Projection {
    project(changes(replica, id)).unwrap().unwrap()
}

/// The change that was made last.
fn newest(replica: &Replica, id: EntityId) -> CheckedChange {
    check_change(&changes(replica, id).pop().unwrap().1, &ChangeLimits::default()).unwrap()
}

/// The competing values at a path, without who made them.
fn values(projection: &Projection, path: &str) -> Vec<Json> {
    projection.conflicts[path].as_array().unwrap().iter().map(|entry| entry["value"].clone()).collect()
}

#[test]
fn an_entity_is_its_fields_and_what_is_known_of_it() {
    // Would show other values in SQL than an app sees, or Headwater's own fields.
    let (a, b, id) = shared(json!({
        "name": "Guji", "rating": 4.5, "big": u64::MAX, "lot": null, "notes": {"$text": "juicy"}, "used": {"$counter": 2},
        "roasted": {"$timestamp": 1_700_000_000_000i64}, "raw": {"$bytes": "00ff"}, "tags": ["a", {"_b": [1]}],
    }));
    let expected = json!({
        "name": "Guji", "rating": 4.5, "big": u64::MAX, "lot": null, "notes": "juicy", "used": 2,
        "roasted": {"$timestamp": 1_700_000_000_000i64}, "raw": {"$bytes": "00ff"}, "tags": ["a", {"_b": [1]}],
    });
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let made = projection(&a, id);
    assert_eq!((made.data, made.conflicts, made.changes), (expected, json!({}), 4));
    assert_eq!(made.collection, Some(CollectionName::new("bags").unwrap()));
    assert_eq!(Some(made.meta), bags.meta(id).unwrap());
    bags.delete(id).unwrap();
    exchange(&a, &b);
    let deleted = projection(&b, id);
    assert!(deleted.meta.deleted.is_some());
    assert_eq!((Some(deleted.meta), deleted.changes), (bags.meta(id).unwrap(), 5));
}

#[test]
fn values_that_compete_are_listed_with_who_made_them_and_when() {
    // Would lose the other value, or ascribe it to another device or time.
    let (a, b, id) = shared(json!({"name": "Guji", "rating": 1, "untouched": 1}));
    set(&a, id, json!({"name": "Guji A"}));
    set(&a, id, json!({"rating": 4}));
    let by_a = newest(&a, id);
    set(&b, id, json!({"rating": 3}));
    let by_b = newest(&b, id);
    exchange(&a, &b);
    let merged = projection(&a, id);
    assert_eq!(merged.data, json!({"name": "Guji A", "rating": 4, "untouched": 1}));
    let listed = merged.conflicts["/rating"].as_array().unwrap();
    assert_eq!(merged.conflicts.as_object().unwrap().len(), 1);
    for (entry, (value, device, made)) in
        listed.iter().zip([(4, a.device_id(), by_a), (3, b.device_id(), by_b)])
    {
        assert_eq!((&entry["value"], &entry["at"]), (&json!(value), &json!(made.time_ms)));
        assert_eq!(entry["device"], json!(device.to_string()));
        let actor: String = made.header.actor.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry["actor"], json!(actor));
    }
    assert_eq!(listed.len(), 2);
    set(&b, id, json!({"rating": 5}));
    carry(&b, &a);
    assert_eq!(projection(&a, id).conflicts, json!({}), "the later edit has seen both");
}

#[test]
fn conflicts_are_found_wherever_a_value_can_be() {
    // Would miss those inside maps and lists, or name a path that leads elsewhere.
    let (a, b, id) = shared(json!({
        "tasting": {"acidity": 1, "a/b~c": 1}, "steps": [{"pour": "a", "seconds": 1}, {"pour": "b", "seconds": 2}], "plain": [1, 2],
    }));
    let edit = |n: i64| {
        json!({
            "tasting": {"acidity": 10 + n, "a/b~c": 10 + n},
            "steps": [{"pour": "a", "seconds": 1}, {"pour": "b", "seconds": 10 + n}],
            "plain": [1, 10 + n], "origin": {"country": format!("country {n}"), "altitude": [n]},
        })
    };
    set(&a, id, edit(1));
    set(&b, id, edit(2));
    exchange(&a, &b);
    let merged = projection(&a, id);
    let paths: Vec<&str> = merged.conflicts.as_object().unwrap().keys().map(String::as_str).collect();
    let inside = ["/origin/country", "/plain/1", "/steps/1/seconds", "/tasting/acidity", "/tasting/a~1b~0c"];
    assert_eq!(paths, inside);
    for path in paths {
        let values = values(&merged, path);
        assert_eq!(Some(&values[0]), merged.data.pointer(path), "the first value at {path} is the one shown");
        assert_eq!(values.len(), 2);
        assert_ne!(values[0], values[1]);
    }
    // Both made the map and the list in it, which are one each.
    let mut altitudes = merged.data["origin"]["altitude"].as_array().unwrap().clone();
    altitudes.sort_by_key(Json::to_string);
    assert_eq!(altitudes, [json!(1), json!(2)]);
}

#[test]
fn what_merges_is_no_conflict() {
    // Would report every counter, text and list that two devices used at once.
    let (a, b, id) = shared(json!({"used": {"$counter": 2}, "notes": {"$text": "juicy"}, "tags": ["a"]}));
    set(&a, id, json!({"used": 3, "notes": "very juicy", "tags": ["x", "a"]}));
    set(&b, id, json!({"used": 4, "notes": "juicy!", "tags": ["a", "y"]}));
    exchange(&a, &b);
    let merged = projection(&a, id);
    assert_eq!(merged.conflicts, json!({}));
    assert_eq!(merged.data, json!({"used": 5, "notes": "very juicy!", "tags": ["x", "a", "y"]}));
}

#[test]
fn counters_that_two_devices_begin_add_up() {
    // Would lose what one of them counted, or count what came after both twice.
    let (a, b, id) = shared(json!({"name": "Guji"}));
    for (replica, n) in [(&a, 10), (&b, 20)] {
        set(replica, id, json!({"used": {"$counter": n}}));
        set(replica, id, json!({"used": n + 1}));
    }
    exchange(&a, &b);
    let merged = projection(&a, id);
    assert_eq!((&merged.data["used"], &merged.conflicts), (&json!(32), &json!({})));
    set(&a, id, json!({"used": 42}));
    set(&b, id, json!({"used": 33}));
    exchange(&a, &b);
    assert_eq!(projection(&b, id).data["used"], json!(43));
}

#[test]
fn no_entity_is_there_before_it_was_created() {
    // Would give a row to changes that only make room for an entity that never came.
    #[derive(Serialize, Deserialize)]
    struct Bag {
        notes: Text,
        used: Counter,
    }
    assert_eq!(project(Vec::new()).unwrap(), None);
    let a = replica();
    let bags = a.space(SPACE).collection::<Bag>("bags").unwrap();
    let id = bags.insert(&Bag { notes: "juicy".into(), used: Counter::new(1) }).unwrap().id;
    let mut all = changes(&a, id);
    assert_eq!(project(all.clone()).unwrap().unwrap().data, json!({"notes": "juicy", "used": 1}));
    // The last one is the device's own.
    all.pop();
    assert!(!all.is_empty());
    assert_eq!(project(all).unwrap(), None);
}

#[test]
fn what_is_no_change_is_an_error() {
    // Would panic, or show an entity from damaged bytes.
    let (a, _, id) = shared(json!({"name": "Guji"}));
    let mut all = changes(&a, id);
    let other = ChangeHash::from_bytes([7; 32]);
    let garbage = vec![(other, Bytes::from_static(b"garbage"))];
    assert!(matches!(project(garbage), Err(ProjectionError::Ingest(IngestError::Malformed(_)))));
    all[0].0 = other;
    assert!(matches!(project(all), Err(ProjectionError::Ingest(IngestError::WrongHash { .. }))));
}

#[test]
fn a_rival_that_nests_too_deep_does_not_hide_the_entity() {
    // Would let one change that loses anyway take an entity out of SQL.
    use automerge::transaction::Transactable;
    use automerge::{ActorId, Automerge, ObjType, ROOT};
    let (a, _, id) = shared(json!({"rating": 1}));
    let mut foreign = Automerge::new().with_actor(ActorId::from([0u8; 4]));
    let mut tx = foreign.transaction();
    let mut object = tx.put_object(ROOT, "deep", ObjType::Map).unwrap();
    for _ in 0..headwater::model::DEPTH_MAX {
        object = tx.put_object(object, "deep", ObjType::Map).unwrap();
    }
    tx.commit();
    let change = foreign.get_last_local_change().unwrap();
    for n in 0..3 {
        set(&a, id, json!({"rating": n, "deep": n}));
    }
    let mut all = changes(&a, id);
    all.push((ChangeHash::from_bytes(change.hash().0), Bytes::copy_from_slice(change.raw_bytes())));
    let merged = project(all).unwrap().unwrap();
    assert_eq!(values(&merged, "/deep"), [json!(2), json!(null)]);
    assert_eq!(merged.conflicts["/deep"][1]["device"], json!(null));
}

#[derive(Clone, Debug)]
enum Act {
    Set { on: usize, field: &'static str, value: Json },
    Unset { on: usize, field: &'static str },
    Carry { from: usize, to: usize },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let field = || prop::sample::select(vec!["a", "b"]);
    let value = prop::sample::select(vec![
        json!(1),
        json!("x"),
        json!([1, 2]),
        json!([2, [3]]),
        json!({"k": 1}),
        json!({"k": {"l": [1]}}),
        json!({"$counter": 3}),
        json!({"$text": "abc"}),
    ]);
    let act = prop_oneof![
        4 => (0..3usize, field(), value).prop_map(|(on, field, value)| Act::Set { on, field, value }),
        1 => (0..3usize, field()).prop_map(|(on, field)| Act::Unset { on, field }),
        2 => (0..3usize, 0..3usize).prop_map(|(from, to)| Act::Carry { from, to }),
    ];
    prop::collection::vec(act, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_changes_does_not_matter(acts in acts(), seed in any::<u64>()) {
        // Would give two relays different rows for one entity.
        let replicas = [replica(), replica(), replica()];
        let id = replicas[0].space(SPACE).dynamic("bags").unwrap()
            .insert(map_from_json(json!({"a": [1, {"k": 1}], "b": {"k": 1}})).unwrap()).unwrap().id;
        for other in &replicas[1..] {
            carry(&replicas[0], other);
        }
        for act in acts {
            match act {
                Act::Set { on, field, value } => set(&replicas[on], id, json!({ field: value })),
                Act::Unset { on, field } => {
                    replicas[on].space(SPACE).dynamic("bags").unwrap().unset(id, &[field]).unwrap();
                }
                Act::Carry { from, to } if from != to => carry(&replicas[from], &replicas[to]),
                Act::Carry { .. } => {}
            }
        }
        let mut all: Vec<_> = replicas.iter().flat_map(|replica| changes(replica, id)).collect();
        all.sort_unstable();
        all.dedup();
        let expected = project(all.clone()).unwrap().unwrap();
        all.sort_by_key(|(hash, _)| hash.as_bytes().iter().fold(seed, |n, byte| n.rotate_left(7) ^ u64::from(*byte)));
        prop_assert_eq!(&project(all.clone()).unwrap().unwrap(), &expected);
        // What is shown comes first of what competes, and every field in which plain values compete is listed.
        let conflicts = expected.conflicts.as_object().unwrap();
        for (path, entries) in conflicts {
            prop_assert_eq!(expected.data.pointer(path), Some(&entries[0]["value"]));
            prop_assert!(entries.as_array().unwrap().len() > 1);
        }
        for path in rivals(&all) {
            prop_assert!(conflicts.contains_key(&path), "{} is missing in {:?}", path, conflicts);
        }
    }
}

/// The fields in which plain values compete, by asking the merge engine for each one.
fn rivals(changes: &[(ChangeHash, Bytes)]) -> Vec<String> {
    use automerge::{Automerge, Change, ROOT, ReadDoc, ScalarValue, Value as Held};
    let mut document = Automerge::new();
    let parsed = changes.iter().map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap());
    document.apply_changes(parsed.collect::<Vec<_>>()).unwrap();
    let are_rivals = |name: &str| {
        let standing = document.get_all(ROOT, name).unwrap();
        let is_plain = |held: &Held<'_>| matches!(held, Held::Scalar(scalar) if matches!(**scalar, ScalarValue::Int(_) | ScalarValue::Str(_)));
        standing.iter().all(|(held, _)| is_plain(held))
            && standing.iter().any(|(held, _)| *held != standing[0].0)
    };
    ["a", "b"].into_iter().filter(|name| are_rivals(name)).map(|name| format!("/{name}")).collect()
}
