//! Two replicas edit apart and come together: both edits are there, and both replicas are equal.

use headwater::ingest::{ChangeLimits, check_change};
use headwater::replica::MergeRequest;
use headwater::{Counter, Keyed, Map, Replica, SpaceId, Text, Value};
use headwater_storage::OutboxSeq;
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, carry, exchange, replica};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct List {
    name: String,
    notes: Text,
    used: Counter,
    items: Keyed<Item>,
    tags: Vec<String>,
    by_day: std::collections::BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    id: u32,
    name: String,
    packed: bool,
}

fn list() -> List {
    List {
        name: "camping".into(),
        notes: "warm".into(),
        used: Counter::new(0),
        items: vec![
            Item { id: 1, name: "tent".into(), packed: false },
            Item { id: 2, name: "stove".into(), packed: false },
        ]
        .into(),
        tags: vec![],
        by_day: [("mon".to_owned(), 1)].into(),
    }
}

fn assert_equal(a: &Replica, b: &Replica) {
    let space = SpaceId::from_name(SPACE);
    assert_eq!(
        a.entity_positions(space, None, 1000).unwrap(),
        b.entity_positions(space, None, 1000).unwrap()
    );
    let records = |replica: &Replica| {
        replica.space(SPACE).dynamic("lists").unwrap().iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(records(a), records(b));
}

#[test]
fn concurrent_edits_of_every_kind_of_field_all_survive() {
    // Would lose one of the two edits if any kind of field were replaced instead of merged.
    let (a, b) = (replica(), replica());
    let (on_a, on_b) = (
        a.space(SPACE).collection::<List>("lists").unwrap(),
        b.space(SPACE).collection::<List>("lists").unwrap(),
    );
    let id = on_a.insert(&list()).unwrap().id;
    carry(&a, &b);
    on_a.update(id, |list| {
        list.name = "camping 2026".into();
        list.notes.insert(0, "stay ");
        list.used.increment(1);
        list.items[0].packed = true;
        list.items.insert(0, Item { id: 3, name: "map".into(), packed: false });
        list.tags.push("summer".into());
        list.by_day.insert("tue".into(), 2);
    })
    .unwrap();
    on_b.update(id, |list| {
        list.notes.push_str(" and dry");
        list.used.increment(2);
        list.items[0].name = "big tent".into();
        list.items.retain(|item| item.id != 2);
        list.tags.push("lake".into());
        list.by_day.insert("wed".into(), 3);
        list.by_day.remove("mon");
    })
    .unwrap();
    exchange(&a, &b);
    assert_equal(&a, &b);
    let merged = on_a.get(id).unwrap().unwrap();
    assert_eq!(
        (merged.name.as_str(), &*merged.notes, merged.used.value()),
        ("camping 2026", "stay warm and dry", 3)
    );
    let items: Vec<_> = merged.items.iter().map(|item| (item.id, item.name.as_str(), item.packed)).collect();
    assert_eq!(items, [(3, "map", false), (1, "big tent", true)]);
    let mut tags = merged.tags.clone();
    tags.sort();
    assert_eq!(tags, ["lake", "summer"]);
    assert_eq!(merged.by_day, [("tue".to_owned(), 2), ("wed".to_owned(), 3)].into());
}

#[test]
fn two_devices_that_create_the_same_entity_share_its_containers() {
    // Would hide one device's list and text behind the other's: "concurrent initialisation".
    let (a, b) = (replica(), replica());
    let (on_a, on_b) = (
        a.space(SPACE).collection::<List>("lists").unwrap(),
        b.space(SPACE).collection::<List>("lists").unwrap(),
    );
    let id = headwater::EntityId::from_bytes([5; 16]);
    on_a.insert_with_id(id, &List { notes: "left ".into(), tags: vec!["a".into()], ..list() }).unwrap();
    on_b.insert_with_id(id, &List { notes: "right ".into(), tags: vec!["b".into()], ..list() }).unwrap();
    exchange(&a, &b);
    assert_equal(&a, &b);
    let merged = on_a.get(id).unwrap().unwrap();
    assert!(merged.notes.contains("left ") && merged.notes.contains("right "), "{:?}", merged.notes);
    assert_eq!(merged.tags.len(), 2);
}

#[test]
fn a_delete_and_an_edit_keep_both() {
    // Would lose the edit for good when the deletion is taken back.
    let (a, b) = (replica(), replica());
    let (on_a, on_b) = (
        a.space(SPACE).collection::<List>("lists").unwrap(),
        b.space(SPACE).collection::<List>("lists").unwrap(),
    );
    let id = on_a.insert(&list()).unwrap().id;
    carry(&a, &b);
    on_a.delete(id).unwrap();
    on_b.update(id, |list| list.name = "hiking".into()).unwrap();
    exchange(&a, &b);
    assert_equal(&a, &b);
    assert_eq!(on_b.get(id).unwrap(), None);
    on_b.restore(id).unwrap();
    exchange(&a, &b);
    assert_eq!(on_a.get(id).unwrap().unwrap().name, "hiking");
}

#[test]
fn order_and_repetition_do_not_matter() {
    // Would diverge if a change that comes before its dependencies, or twice, were applied differently.
    use headwater::replica::MergeRequest;
    let (a, b, c) = (replica(), replica(), replica());
    let on_a = a.space(SPACE).collection::<List>("lists").unwrap();
    let id = on_a.insert(&list()).unwrap().id;
    for n in 0..10 {
        on_a.update(id, |list| list.tags.push(format!("t{n}"))).unwrap();
    }
    let space = SpaceId::from_name(SPACE);
    let outbox = a.outbox(space, headwater_storage::OutboxSeq::ZERO, 100, 1 << 20).unwrap();
    let mut records: Vec<_> = outbox.into_iter().map(|entry| entry.record).collect();
    let duplicates = b
        .merge(space, MergeRequest { records: [records.clone(), records.clone()].concat(), position: None })
        .unwrap();
    assert_eq!((duplicates.applied, duplicates.duplicates), (records.len() as u64, records.len() as u64));
    records.reverse();
    for record in records {
        c.merge(space, MergeRequest { records: vec![record], position: None }).unwrap();
    }
    assert_equal(&a, &b);
    assert_equal(&a, &c);
}

#[test]
fn a_change_that_cannot_be_used_is_set_aside_and_the_others_merge() {
    // Would lose the good changes of a page, or stop syncing, because of one bad one.
    use headwater::replica::MergeRequest;
    let (a, b) = (replica(), replica());
    let on_a = a.space(SPACE).dynamic("lists").unwrap();
    for n in 0..3 {
        on_a.insert(Map::from([("n".into(), Value::Int(n))])).unwrap();
    }
    let space = SpaceId::from_name(SPACE);
    let outbox = a.outbox(space, headwater_storage::OutboxSeq::ZERO, 100, 1 << 20).unwrap();
    let mut records: Vec<_> = outbox.into_iter().map(|entry| entry.record).collect();
    records[1].payload = bytes::Bytes::from_static(b"not a change");
    let merged = b.merge(space, MergeRequest { records, position: None }).unwrap();
    assert_eq!((merged.applied, merged.set_aside), (2, 1));
    assert_eq!(b.space(SPACE).set_aside().unwrap().len(), 1);
    assert_eq!(b.space(SPACE).dynamic("lists").unwrap().iter().count(), 2);
}

#[test]
fn a_string_set_on_a_text_field_merges_as_an_edit() {
    // Would replace the text, and the other device's words with it, when a script sets the field.
    let (a, b) = (replica(), replica());
    let (on_a, on_b) = (a.space(SPACE).dynamic("lists").unwrap(), b.space(SPACE).dynamic("lists").unwrap());
    let id = on_a.insert(Map::from([("notes".into(), Value::Text("the red fox".into()))])).unwrap().id;
    carry(&a, &b);
    on_a.set(id, Map::from([("notes".into(), "the quick red fox".into())])).unwrap();
    on_b.set(id, Map::from([("notes".into(), "the red fox jumps".into())])).unwrap();
    exchange(&a, &b);
    assert_equal(&a, &b);
    assert_eq!(on_a.get(id).unwrap().unwrap().fields["notes"].as_str(), Some("the quick red fox jumps"));
}

#[test]
fn a_change_with_any_flipped_bit_is_refused() {
    // Would store a damaged copy in place of the author's change, under the same hash.
    let replica = replica();
    let things = replica.space(SPACE).dynamic("things").unwrap();
    let id = things.insert(Map::from([("name".into(), Value::from("Guji"))])).unwrap().id;
    let (hash, payload) = replica.entity_changes(SpaceId::from_name(SPACE), id).unwrap().remove(0);
    let limits = ChangeLimits::default();
    assert_eq!(check_change(&payload, &limits).unwrap().hash(), hash);
    for bit in 0..payload.len() * 8 {
        let mut flipped = payload.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let same = check_change(&flipped.into(), &limits).is_ok_and(|change| change.hash() == hash);
        assert!(!same, "with bit {bit} flipped it counts as the same change");
    }
}

#[test]
fn what_came_too_early_is_handed_on_in_its_place() {
    // Would push a change ahead of what it builds on, to a relay that refuses it for that, when the two compare heads.
    let [a, b] = [replica(), replica()];
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let id = bags.insert(Map::from([("name".into(), Value::from("Guji"))])).unwrap().id;
    for number in 0..3 {
        bags.set(id, Map::from([("number".into(), Value::Int(number))])).unwrap();
    }
    let space = SpaceId::from_name(SPACE);
    let outbox = a.outbox(space, OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
    for entry in outbox.into_iter().rev() {
        b.merge(space, MergeRequest { records: vec![entry.record], position: None }).unwrap();
    }
    assert_eq!(b.entity_changes(space, id).unwrap(), a.entity_changes(space, id).unwrap());
}
