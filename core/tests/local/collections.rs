//! The collection is part of what an entity is, and never changes.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ROOT};
use headwater::document::Content;
use headwater::replica::{AsideCause, MergeRequest, Notice, ReapplyError, TakeBackError};
use headwater::{
    ChangeHash, DynamicCollection, EntityId, Map, PatchKind, ReceiptError, Replica, SpaceId, Value,
};
use headwater_storage::{Bytes, ChangeRecord, CollectionName, OutboxSeq, PayloadKind};

use crate::pair::{SPACE, carry, changes, exchange, replica};

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn named(replica: &Replica, collection: &str) -> DynamicCollection {
    replica.space(SPACE).dynamic(collection).unwrap()
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What the relay sends of an entity that `from` made, in the collection that it made it in.
fn feed(from: &Replica, id: EntityId, collection: &str) -> Vec<ChangeRecord> {
    let record = |(hash, payload)| {
        let collection = CollectionName::new(collection).unwrap();
        ChangeRecord { entity: id, collection, kind: PayloadKind::Change, hash, payload }
    };
    changes(from, id).into_iter().map(record).collect()
}

fn merge(to: &Replica, records: Vec<ChangeRecord>) -> headwater::replica::Merged {
    to.merge(space(), MergeRequest { records, position: None }).unwrap()
}

#[test]
fn one_id_in_two_collections_is_told_and_what_gave_way_is_made_again_under_another_id() {
    // Would let one of two records vanish from the device that made it, without a word and for good.
    let (a, b) = (replica(), replica());
    let id = EntityId::from_bytes([7; 16]);
    named(&a, "bags").upsert(id, map([("name", "Guji".into())])).unwrap();
    let cups = named(&b, "cups");
    let made = cups.upsert(id, map([("name", "blue".into()), ("used", Value::Counter(2))])).unwrap();
    cups.set(id, map([("note", Value::Text("chipped".into()))])).unwrap();
    let gone: Vec<ChangeHash> = changes(&b, id).into_iter().map(|(hash, _)| hash).collect();
    let whole = cups.get(id).unwrap().unwrap().fields;
    let (mut patches, mut notices) = (b.patches(), b.notices());
    // The feed took the bag first.
    assert_eq!(merge(&b, feed(&a, id, "bags")).set_aside, 0);

    for replica in [&a, &b] {
        assert_eq!(named(replica, "bags").get(id).unwrap().unwrap().fields, map([("name", "Guji".into())]));
        assert!(named(replica, "cups").meta(id).unwrap().is_none());
    }
    assert_eq!(a.entity_positions(space(), None, 9).unwrap(), b.entity_positions(space(), None, 9).unwrap());
    let told: Vec<_> = std::iter::from_fn(|| patches.try_next()).map(Result::unwrap).collect();
    let told: Vec<_> = told.iter().map(|patch| (patch.collection.as_str(), patch.kind)).collect();
    assert_eq!(told, [("cups", PatchKind::Withdrawn), ("bags", PatchKind::Created)]);
    let heard: Vec<_> = std::iter::from_fn(|| notices.try_next()).map(Result::unwrap).collect();
    assert_eq!(heard.len(), gone.len());
    for notice in heard {
        let Notice::SetAside(change) = notice else { panic!("{notice:?}") };
        assert!(gone.contains(&change.hash) && change.is_own && change.collection.as_str() == "cups");
        assert!(change.reason.contains("in the collection bags"), "{}", change.reason);
        assert!(matches!(change.content, Content::Fields { .. }), "{:?}", change.content);
    }
    // Nothing of it waits for the relay, and nobody takes it for delivered.
    assert!(b.outbox(space(), OutboxSeq::ZERO, 9, 1 << 20).unwrap().is_empty());
    assert!(matches!(made.is_on_relay(), Err(ReceiptError::Refused(_))));
    let home = b.space(SPACE);
    let aside = home.set_aside().unwrap();
    assert!(aside.iter().all(|aside| aside.direction == AsideCause::OtherCollection), "{aside:?}");
    assert!(matches!(home.take_back(id, gone[0]), Err(TakeBackError::RelaysWord(_))));

    // One call makes all of it again, whichever change it names, and a second one nothing more.
    let again = home.reapply(id, gone[0]).unwrap();
    let new: Vec<EntityId> = again.entities().collect();
    assert_eq!(new.len(), 1);
    assert_eq!(cups.get(new[0]).unwrap().unwrap().fields, whole);
    cups.set(new[0], map([("name", "green".into())])).unwrap();
    assert!(home.reapply(id, gone[1]).unwrap().is_empty());
    assert_eq!(cups.get(new[0]).unwrap().unwrap().fields["name"].as_str(), Some("green"));
    assert!(matches!(home.reapply(new[0], gone[0]), Err(ReapplyError::NotThere)));
    exchange(&a, &b);
    assert_eq!(named(&a, "cups").get(new[0]).unwrap(), cups.get(new[0]).unwrap());
    for replica in [&a, &b] {
        assert_eq!(replica.verify().unwrap().rows_repaired, 0);
    }
}

#[test]
fn two_devices_that_both_gave_way_make_one_entity_with_what_each_of_them_had() {
    // Would drop what the second device had written, although its app made it again.
    let (a, b, c) = (replica(), replica(), replica());
    let id = EntityId::from_bytes([7; 16]);
    named(&a, "bags").upsert(id, map([("name", "Guji".into())])).unwrap();
    named(&b, "cups").upsert(id, map([("name", "blue".into()), ("size", 3.into())])).unwrap();
    named(&c, "cups").upsert(id, map([("name", "red".into()), ("made", "of clay".into())])).unwrap();
    let again = |replica: &Replica| {
        merge(replica, feed(&a, id, "bags"));
        let home = replica.space(SPACE);
        let aside = home.set_aside().unwrap();
        home.reapply(id, aside[0].record.hash).unwrap().entities().next().unwrap()
    };
    let new = again(&b);
    named(&b, "cups").set(new, map([("size", 4.into())])).unwrap();
    merge(&c, feed(&b, new, "cups"));
    assert_eq!(again(&c), new);
    exchange(&b, &c);
    let both = map([("name", "blue".into()), ("size", 4.into()), ("made", "of clay".into())]);
    for replica in [&b, &c] {
        assert_eq!(named(replica, "cups").get(new).unwrap().unwrap().fields, both);
    }
}

#[test]
fn whoever_hears_of_both_collections_agrees_on_the_first_and_changes_its_mind_only_with_the_feed() {
    // Would leave each device with the collection that it happened to hear of last.
    let (a, b, c) = (replica(), replica(), replica());
    let id = EntityId::from_bytes([7; 16]);
    named(&a, "bags").upsert(id, map([("name", "Guji".into())])).unwrap();
    named(&b, "cups").upsert(id, map([("name", "blue".into())])).unwrap();
    let (bag, cup) = (feed(&a, id, "bags"), feed(&b, id, "cups"));
    // In one page, as no relay sends it: the first one counts.
    let merged = merge(&c, [bag.clone(), cup.clone()].concat());
    assert_eq!((merged.applied, merged.set_aside), (bag.len() as u64, cup.len() as u64));
    assert_eq!(named(&c, "bags").count().unwrap() + named(&c, "cups").count().unwrap(), 1);
    let aside = c.space(SPACE).set_aside().unwrap();
    assert!(aside.iter().all(|aside| aside.record.collection.as_str() == "cups"));
    assert_eq!(aside[0].direction, AsideCause::OtherCollection);
    // What could not be used, and named the other one, is no way there either.
    let broken = ChangeRecord { payload: Bytes::from_static(b"broken"), ..cup[0].clone() };
    let broken = ChangeRecord { hash: ChangeHash::from_bytes([5; 32]), ..broken };
    merge(&c, vec![broken]);
    let refused = c.space(SPACE).take_back(id, ChangeHash::from_bytes([5; 32]));
    assert!(matches!(refused, Err(TakeBackError::RelaysWord(_))), "{refused:?}");
    // Another relay, restored from before the bag, took the cup first: everybody follows, and comes back
    // whole.
    merge(&c, cup);
    assert!(named(&c, "cups").exists(id).unwrap() && !named(&c, "bags").exists(id).unwrap());
    merge(&c, bag);
    assert!(named(&c, "bags").exists(id).unwrap() && !named(&c, "cups").exists(id).unwrap());
    let aside = c.space(SPACE).set_aside().unwrap();
    assert!(aside.iter().all(|aside| aside.record.collection.as_str() == "cups"), "{aside:?}");
    let again = named(&c, "bags").set(id, map([("rating", 4.into())])).unwrap();
    assert!(!again.is_empty());
    assert_eq!(c.verify().unwrap().set_aside, []);
}

#[test]
fn what_the_feed_lacks_when_it_comes_back_to_a_collection_is_made_again_there() {
    // Would tell an app that an edit is lost whose bytes are all here.
    let (a, b) = (replica(), replica());
    let id = EntityId::from_bytes([7; 16]);
    named(&a, "bags").upsert(id, map([("name", "Guji".into())])).unwrap();
    let cups = named(&b, "cups");
    cups.upsert(id, map([("name", "blue".into())])).unwrap();
    let known = feed(&b, id, "cups");
    cups.set(id, map([("note", "chipped".into())])).unwrap();
    let edit = changes(&b, id).last().unwrap().0;
    merge(&b, feed(&a, id, "bags"));
    assert_eq!(b.space(SPACE).set_aside().unwrap().len(), 2);
    // Another relay has what this device had pushed to it before the edit.
    merge(&b, known);
    assert_eq!(cups.get(id).unwrap().unwrap().fields, map([("name", "blue".into())]));
    assert!(!b.space(SPACE).reapply(id, edit).unwrap().is_empty());
    let whole = map([("name", "blue".into()), ("note", "chipped".into())]);
    assert_eq!(cups.get(id).unwrap().unwrap().fields, whole);
    assert!(matches!(b.space(SPACE).reapply(id, edit), Err(ReapplyError::Done(_))));
}

#[test]
fn a_long_history_gives_way_whole() {
    // Would keep what a snapshot stands for in the entity that took its place, or lose it.
    let (a, b) = (replica(), replica());
    let id = EntityId::from_bytes([7; 16]);
    named(&a, "bags").upsert(id, map([("name", "Guji".into())])).unwrap();
    let cups = named(&b, "cups");
    cups.upsert(id, map([("name", "blue".into())])).unwrap();
    for number in 0..50 {
        cups.set(id, map([("number", number.into())])).unwrap();
    }
    assert_eq!(b.compact_all().unwrap(), 1);
    merge(&b, feed(&a, id, "bags"));
    assert_eq!(changes(&b, id), changes(&a, id));
    let aside = b.space(SPACE).set_aside().unwrap();
    assert_eq!(aside.len(), 51);
    let again = b.space(SPACE).reapply(id, aside[20].record.hash).unwrap();
    let new = again.entities().next().unwrap();
    assert_eq!(cups.get(new).unwrap().unwrap().fields, map([("name", "blue".into()), ("number", 49.into())]));
}

#[test]
fn a_change_that_writes_the_collection_into_its_document_moves_nothing() {
    // Would let one change take somebody's record out of its list on every device.
    let (a, b) = (replica(), replica());
    let bags = named(&a, "bags");
    let id = bags.insert(map([("name", "Guji".into())])).unwrap().id;
    let mut copy = AutoCommit::new().with_actor(ActorId::from(&[9; 16][..]));
    let all = changes(&a, id).into_iter().map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap());
    copy.apply_changes(all).unwrap();
    copy.put(ROOT, "_collection", "evil").unwrap();
    let change = copy.get_last_local_change().unwrap();
    let record = ChangeRecord {
        entity: id,
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(change.hash().0),
        payload: Bytes::copy_from_slice(change.raw_bytes()),
    };
    merge(&a, vec![record.clone()]);
    carry(&a, &b);
    merge(&b, vec![record.clone()]);
    // A device that begins with all of it.
    let c = replica();
    let mut records = feed(&a, id, "bags");
    records.reverse();
    merge(&c, records);
    for replica in [&a, &b, &c] {
        let bags = named(replica, "bags");
        assert_eq!(bags.get(id).unwrap().unwrap().fields, map([("name", "Guji".into())]));
        assert_eq!(replica.space(SPACE).collections(), [CollectionName::new("bags").unwrap()]);
        bags.set(id, map([("name", "Kochere".into())])).unwrap();
        assert_eq!(replica.verify().unwrap().rows_repaired, 0);
        assert_eq!(bags.count().unwrap(), 1);
    }
}
