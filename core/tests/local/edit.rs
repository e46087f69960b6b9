//! One replica: what an edit does, and what it leaves alone.

use headwater::model::DEPTH_MAX;
use headwater::{
    Counter, EditError, EntityId, Keyed, Map, Origin, PatchKind, Replica, Text, Value, WriteError,
};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, replica};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bag {
    name: String,
    rating: f64,
    notes: Text,
    brewed: Counter,
    tags: Vec<String>,
    steps: Keyed<Step>,
    origin: Option<Origin_>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    id: u32,
    seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Origin_ {
    country: String,
    altitude: Vec<u32>,
}

fn bag() -> Bag {
    Bag {
        name: "Guji".into(),
        rating: 4.0,
        notes: "juicy".into(),
        brewed: Counter::new(2),
        tags: vec!["washed".into()],
        steps: vec![Step { id: 1, seconds: 30 }, Step { id: 2, seconds: 60 }].into(),
        origin: Some(Origin_ { country: "Ethiopia".into(), altitude: vec![1950, 2200] }),
    }
}

#[test]
fn what_is_inserted_is_read_back() {
    // Would fail if any kind of field were lost between the struct, the document and the view row.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    assert_eq!(bags.get(id).unwrap(), Some(bag()));
    let other = bags.insert(&Bag { name: "Yirga".into(), ..bag() }).unwrap().id;
    let names: Vec<_> = bags.list().unwrap().into_iter().map(|(id, bag)| (id, bag.name)).collect();
    assert_eq!(names, [(id, "Guji".to_owned()), (other, "Yirga".to_owned())]);
}

#[test]
fn every_kind_of_field_updates_in_place() {
    // Would fail if the difference of two values were written wrongly for some kind of field.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let mut expected = bag();
    let edit = |bag: &mut Bag| {
        bag.rating = 4.5;
        bag.notes.splice(0, 5, "Very juicy");
        bag.brewed.increment(3);
        bag.tags.insert(0, "organic".into());
        bag.steps.insert(0, Step { id: 9, seconds: 5 });
        bag.steps.retain(|step| step.id != 1);
        bag.origin.as_mut().unwrap().altitude = vec![2200, 1800, 1950];
    };
    edit(&mut expected);
    bags.update(id, edit).unwrap();
    assert_eq!(bags.get(id).unwrap(), Some(expected.clone()));
    bags.update(id, |bag| bag.origin = None).unwrap();
    expected.origin = None;
    assert_eq!(bags.get(id).unwrap(), Some(expected));
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    // Would fill the outbox, and wake every other device, with empty changes.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let pending = replica.space(SPACE).pending().unwrap();
    let receipt = bags.update(id, |bag| bag.rating = 4.0).unwrap();
    assert!(receipt.is_empty() && receipt.is_on_relay().unwrap());
    assert_eq!(replica.space(SPACE).pending().unwrap(), pending);
}

#[test]
fn a_deleted_entity_is_gone_until_it_is_restored() {
    // Would show deleted entities, let them be edited, or lose their fields.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    bags.delete(id).unwrap();
    assert_eq!(bags.get(id).unwrap(), None);
    assert_eq!(bags.list().unwrap().len(), 0);
    assert!(bags.meta(id).unwrap().unwrap().deleted.is_some());
    assert!(matches!(bags.update(id, |_| ()), Err(EditError::NotFound(_))));
    assert!(matches!(bags.delete(id), Err(EditError::NotFound(_))));
    bags.restore(id).unwrap();
    assert_eq!(bags.get(id).unwrap(), Some(bag()));
    assert!(bags.restore(id).unwrap().is_empty());
}

#[test]
fn ids_are_unique_within_a_space_and_free_in_another() {
    // Would overwrite an entity, or mix two spaces, if an id were taken for granted.
    let replica = replica();
    let space = replica.space(SPACE);
    let bags = space.collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    assert!(matches!(bags.insert_with_id(id, &bag()), Err(EditError::Exists(_))));
    let elsewhere = space.collection::<Bag>("archive").unwrap();
    let refused = elsewhere.insert_with_id(id, &bag()).unwrap_err();
    assert_eq!(refused.to_string(), format!("entity {id} exists already, in the collection coffee_bags"));
    let other = replica.space("work").collection::<Bag>("coffee_bags").unwrap();
    other.insert_with_id(id, &bag()).unwrap();
    other.update(id, |bag| bag.name = "other".into()).unwrap();
    assert_eq!(bags.get(id).unwrap().unwrap().name, "Guji");
}

#[test]
fn several_entities_go_in_together_or_not_at_all() {
    // Would leave half an import behind.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let taken = bags.insert(&bag()).unwrap().id;
    let fresh = headwater::EntityId::from_bytes([7; 16]);
    assert!(bags.insert_all([(fresh, &bag()), (taken, &bag())]).is_err());
    assert!(matches!(bags.insert_all([(fresh, &bag()), (fresh, &bag())]), Err(EditError::Twice(_))));
    assert_eq!(bags.get(fresh).unwrap(), None);
    assert_eq!(bags.list().unwrap().len(), 1);
}

#[test]
fn bad_values_are_refused_with_the_reason() {
    // Would store what cannot be read again, or take over Headwater's own fields.
    let replica = replica();
    let lists = replica.space(SPACE).dynamic("lists").unwrap();
    let reserved = lists.insert(Map::from([("_deleted".into(), Value::Bool(true))]));
    assert!(reserved.is_err());
    let deep = (0..80).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    assert!(lists.insert(Map::from([("deep".into(), deep)])).is_err());
    // One string cannot be cut into several changes. Letters that nothing can compress take as much as they are.
    let letters = (0..600_000_u64)
        .map(|n| char::from(b'0' + (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9) >> 13) as u8 % 75));
    let huge: String = letters.collect();
    assert!(lists.insert(Map::from([("huge".into(), Value::Str(huge))])).is_err());
    let beyond = "x".repeat(5 << 20);
    assert!(lists.insert(Map::from([("beyond".into(), Value::Str(beyond))])).is_err());
    assert!(replica.space(SPACE).dynamic("_mine").is_err());
    assert_eq!(lists.iter().count(), 0);
    assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
}

#[test]
fn an_edit_may_use_the_replica_and_other_threads_may_write() {
    // Would deadlock if the app's closure ran under the replica's lock; would lose one of two increments without the retry.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let mut interfered = false;
    bags.update(id, |bag| {
        if !std::mem::replace(&mut interfered, true) {
            bags.insert(&self::bag()).unwrap();
            write_elsewhere(|| drop(bags.update(id, |inner| inner.brewed.increment(1)).unwrap()));
        }
        bag.brewed.increment(1);
    })
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..25).for_each(|_| drop(bags.update(id, |bag| bag.brewed.increment(1)).unwrap()))
            });
        }
    });
    assert_eq!(bags.get(id).unwrap().unwrap().brewed.value(), 2 + 2 + 100);
}

#[test]
fn an_update_that_edits_its_own_entity_is_told_so() {
    // Would run for ever: each inner edit makes the outer one begin again.
    let replica = replica();
    let space = replica.space(SPACE);
    let bags = space.collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let set = || space.dynamic("coffee_bags").unwrap().set(id, Map::from([("rating".into(), 1.into())]));
    let mut refused = 0;
    bags.update(id, |bag| {
        let nested = [
            bags.update(id, |inner| inner.rating += 1.0),
            bags.upsert(id, &self::bag()),
            bags.delete(id),
            set(),
        ];
        for nested in nested {
            assert!(matches!(nested, Err(EditError::Nested(entity)) if entity == id));
            refused += 1;
        }
        bag.name = "Guji 2".into();
    })
    .unwrap();
    assert_eq!((refused, bags.get(id).unwrap().unwrap().name), (4, "Guji 2".into()));
    // The mark goes with the closure, also when that panics.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(bags.update(id, |_| panic!("the app's own")));
    }));
    assert!(panicked.is_err());
    set().unwrap();
}

#[test]
fn an_update_that_never_gets_through_ends() {
    // Would run for ever where each run of the closure has another thread edit the entity.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let updated = bags.update(id, |bag| {
        write_elsewhere(|| drop(bags.update(id, |inner| inner.brewed.increment(1)).unwrap()));
        bag.brewed.increment(1);
    });
    assert!(matches!(updated, Err(EditError::Contended(entity)) if entity == id));
}

fn write_elsewhere(write: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(write).join().unwrap());
}

#[test]
fn an_upsert_adds_or_makes_equal() {
    // Would overwrite what another version of the app keeps in the entity, or leave a deleted one deleted.
    let replica = replica();
    let space = replica.space(SPACE);
    let bags = space.collection::<Bag>("coffee_bags").unwrap();
    let id = EntityId::from_bytes([7; 16]);
    assert!(!bags.exists(id).unwrap());
    bags.upsert(id, &bag()).unwrap();
    let fields = space.dynamic("coffee_bags").unwrap();
    fields.set(id, Map::from([("lot".into(), "7".into())])).unwrap();
    assert!(bags.upsert(id, &bag()).unwrap().is_empty(), "it is so already");
    bags.delete(id).unwrap();
    bags.upsert_all([(id, &bag()), (id, &Bag { name: "Guji 2".into(), ..bag() })]).unwrap();
    assert_eq!(bags.get(id).unwrap().unwrap().name, "Guji 2");
    assert_eq!(fields.get(id).unwrap().unwrap().fields["lot"].as_str(), Some("7"));
    // One that does not fit is made to.
    fields.set(id, Map::from([("name".into(), 7.into())])).unwrap();
    assert!(bags.get(id).is_err());
    bags.upsert(id, &bag()).unwrap();
    assert_eq!(bags.get(id).unwrap(), Some(bag()));
    let elsewhere = space.collection::<Bag>("lists").unwrap().upsert(id, &bag());
    assert!(matches!(elsewhere, Err(EditError::OtherCollection { entity, .. }) if entity == id));
}

#[test]
fn counting_needs_no_type_and_leaves_deleted_ones_out() {
    // Would count what nobody sees, or fail for all because of one that does not fit.
    let replica = replica();
    let space = replica.space(SPACE);
    let bags = space.collection::<Bag>("coffee_bags").unwrap();
    // More than a page.
    let ids: Vec<EntityId> = (0..600u128).map(|n| EntityId::from_bytes(n.to_be_bytes())).collect();
    let bag = bag();
    bags.insert_all(ids.iter().map(|id| (*id, &bag))).unwrap();
    space.dynamic("coffee_bags").unwrap().set(ids[0], Map::from([("name".into(), 7.into())])).unwrap();
    for id in &ids[100..150] {
        bags.delete(*id).unwrap();
    }
    assert_eq!(bags.count().unwrap(), 550);
    assert_eq!((bags.list().unwrap().len(), bags.list().unwrap().misfits.len()), (549, 1));
    assert!(bags.exists(ids[0]).unwrap() && !bags.exists(ids[100]).unwrap());
    assert_eq!(space.collection::<Bag>("lists").unwrap().count().unwrap(), 0);
}

#[test]
fn patches_say_which_fields_changed() {
    // Would make an app read everything again after every edit.
    let replica = replica();
    let mut patches = replica.patches();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    assert_eq!(patches.try_next().unwrap().unwrap().kind, PatchKind::Created);
    bags.update(id, |bag| (bag.rating, bag.name) = (5.0, "x".into())).unwrap();
    let patch = patches.try_next().unwrap().unwrap();
    assert_eq!(
        (patch.kind, patch.origin, patch.fields),
        (PatchKind::Updated, Origin::Local, vec!["name".into(), "rating".into()])
    );
    bags.delete(id).unwrap();
    assert_eq!(patches.try_next().unwrap().unwrap().kind, PatchKind::Deleted);
    bags.restore(id).unwrap();
    assert_eq!(patches.try_next().unwrap().unwrap().kind, PatchKind::Restored);
    assert!(patches.try_next().is_none());
}

#[test]
fn times_and_the_editing_device_are_known() {
    // Would leave an app without "edited on the phone, yesterday".
    let replica: Replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let created = bags.meta(id).unwrap().unwrap();
    bags.update(id, |bag| bag.rating = 1.0).unwrap();
    let meta = bags.meta(id).unwrap().unwrap();
    assert_eq!((meta.created, meta.updated_by), (created.created, Some(replica.device_id())));
    assert!(meta.updated > created.updated && meta.deleted.is_none());
}

#[test]
fn an_entity_says_what_the_relay_does_not_have_yet() {
    // Would show an unsynced entity as synced.
    let replica = replica();
    let bags = replica.space(SPACE).collection::<Bag>("coffee_bags").unwrap();
    let id = bags.insert(&bag()).unwrap().id;
    let state = bags.sync_state(id).unwrap().unwrap();
    let space = replica.space(SPACE).id();
    let waiting = replica.outbox(space, headwater_storage::OutboxSeq::ZERO, 100, 1 << 20).unwrap();
    assert_eq!((state.pending, state.synced), (waiting.len() as u64, None));
    replica.acknowledge(space, waiting.iter().map(|entry| entry.seq).collect(), vec![], None).unwrap();
    let state = bags.sync_state(id).unwrap().unwrap();
    assert!(state.pending == 0 && state.synced.is_some());
}

#[test]
fn a_list_that_is_too_deep_where_a_tuple_stands_is_refused_before_anything_is_written() {
    // Would fail with an error about reading, which says nothing of what is wrong with the value.
    let replica = replica();
    let things = replica.space(SPACE).dynamic("things").unwrap();
    let pair = Value::Tuple(vec![Value::Int(1)]);
    let id = things.insert([("pair".to_owned(), pair)].into()).unwrap().id;
    let (before, pending) = (things.get(id).unwrap(), replica.space(SPACE).pending().unwrap());
    let deepest = (1..DEPTH_MAX).fold(Value::Int(1), |value, _| Value::List(vec![value]));
    let refused = things.set(id, [("pair".to_owned(), deepest.clone())].into()).unwrap_err();
    assert!(matches!(refused, EditError::Write(WriteError::TooDeep)), "{refused}");
    assert_eq!((things.get(id).unwrap(), replica.space(SPACE).pending().unwrap()), (before, pending));
    things.set(id, [("list".to_owned(), deepest)].into()).unwrap();
    assert_eq!(things.get(id).unwrap().unwrap().fields.len(), 2);
}

#[test]
fn nought_and_minus_nought_are_two_values() {
    // Would keep the one where an app wrote the other.
    let replica = replica();
    let things = replica.space(SPACE).dynamic("things").unwrap();
    let list = |float: f64| Value::List(vec![Value::Float(1.0), Value::Float(float)]);
    let both = |float: f64| Map::from([("f".to_owned(), Value::Float(float)), ("l".to_owned(), list(float))]);
    let id = things.insert(both(-0.0)).unwrap().id;
    for float in [0.0, -0.0, 0.0, 1.0, -0.0] {
        things.set(id, both(float)).unwrap();
        let found = things.get(id).unwrap().unwrap().fields;
        for value in [&found["f"], &found["l"].as_list().unwrap()[1]] {
            let Value::Float(found) = value else { panic!("{value:?}") };
            assert_eq!(found.to_bits(), float.to_bits(), "{found:?} in the place of {float:?}");
        }
    }
}
