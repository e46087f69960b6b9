//! Somebody who makes heads of an entity without end keeps nobody else from editing it.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ROOT};
use headwater::document::{HEADS_MAX, examine, highest_operation, meet};
use headwater::replica::MergeRequest;
use headwater::{ChangeHash, DynamicCollection, EntityId, Map, Replica, SpaceId, Value};
use headwater_storage::{Bytes, ChangeRecord, CollectionName, PayloadKind};

use crate::pair::{SPACE, changes, replica};

const COLLECTION: &str = "bags";

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn bags(replica: &Replica) -> DynamicCollection {
    replica.space(SPACE).dynamic(COLLECTION).unwrap()
}

fn record(id: EntityId, (hash, payload): (ChangeHash, Bytes)) -> ChangeRecord {
    let collection = CollectionName::new(COLLECTION).unwrap();
    ChangeRecord { entity: id, collection, kind: PayloadKind::Change, hash, payload }
}

fn merge(to: &Replica, id: EntityId, changes: Vec<(ChangeHash, Bytes)>) {
    let records: Vec<ChangeRecord> = changes.into_iter().map(|change| record(id, change)).collect();
    let merged = to.merge(space(), MergeRequest { records, position: None }).unwrap();
    assert_eq!(merged.set_aside, 0);
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

/// As many changes as are asked for, of which none builds on another.
fn concurrent(replica: &Replica, id: EntityId, count: u32) -> Vec<(ChangeHash, Bytes)> {
    let mut base = AutoCommit::new();
    let known = changes(replica, id).into_iter();
    base.apply_changes(known.map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap())).unwrap();
    let change = |number: u32| {
        let mut fork = base.fork().with_actor(ActorId::from(&number.to_be_bytes()[..]));
        fork.put(ROOT, "x", i64::from(number)).unwrap();
        let change = fork.get_last_local_change().unwrap();
        (ChangeHash::from_bytes(change.hash().0), Bytes::copy_from_slice(change.raw_bytes()))
    };
    (0..count).map(change).collect()
}

fn heads(replica: &Replica) -> Vec<ChangeHash> {
    replica.entity_positions(space(), None, 1).unwrap().remove(0).heads
}

#[test]
fn an_entity_with_any_number_of_heads_is_edited_as_before() {
    // Would let anybody freeze any entity for everybody, with a hundred kilobytes.
    for count in [1_100, 2_600] {
        let (a, b) = (replica(), replica());
        let id = bags(&a).insert(fields([("title", "shared".into()), ("n", 0.into())])).unwrap().id;
        merge(&b, id, changes(&a, id));
        let many = concurrent(&a, id, count);
        merge(&a, id, many.clone());
        merge(&b, id, many);
        assert_eq!(heads(&a).len(), count as usize);

        bags(&a).set(id, fields([("n", 1.into())])).unwrap();
        assert_eq!(heads(&a).len(), 1);
        bags(&b).delete(id).unwrap();
        bags(&b).restore(id).unwrap();
        bags(&b).set(id, fields([("m", 2.into())])).unwrap();
        merge(&a, id, changes(&b, id));
        merge(&b, id, changes(&a, id));
        for replica in [&a, &b] {
            let now = bags(replica).get(id).unwrap().unwrap().fields;
            assert_eq!([now["n"].as_i64(), now["m"].as_i64()], [Some(1), Some(2)]);
            let examined = examine(changes(replica, id));
            assert_eq!((examined.culprits.len(), examined.alarm), (0, None));
            assert!(examined.snapshot.is_some());
            assert_eq!(replica.verify().unwrap().rows_repaired, 0);
            assert!(replica.alarms().is_empty(), "{:?}", replica.alarms());
        }
        // Both made the same changes of the same heads, so that they are there once.
        assert_eq!(heads(&a), heads(&b));
        assert_eq!(heads(&a).len(), 2);
    }
}

#[test]
fn what_makes_heads_one_was_made_by_nobody_and_shows_nowhere() {
    // Would name the relay as the last who has edited an entity, and have every list drawn again for nothing.
    let a = replica();
    let id = bags(&a).insert(fields([("n", 0.into())])).unwrap().id;
    let many = concurrent(&a, id, HEADS_MAX as u32 + 1);
    merge(&a, id, many);
    let shown = |replica: &Replica| {
        let record = bags(replica).get(id).unwrap().unwrap();
        (record.fields, record.meta.created, record.meta.updated, record.meta.updated_by)
    };
    let before = shown(&a);
    let mut patches = a.patches();
    let known = changes(&a, id);
    let max_op = highest_operation(known.iter().map(|(_, payload)| payload));
    let met = meet(&CollectionName::new(COLLECTION).unwrap(), &heads(&a), max_op).unwrap();
    merge(&a, id, met.clone());
    assert_eq!(heads(&a), [met[0].0]);
    assert_eq!(shown(&a), before);
    assert!(patches.try_next().is_none(), "nothing that anybody reads has changed");
    // Whoever forges one is refused: its actor says what is in it.
    let mut forged = Change::from_bytes(met[0].1.to_vec()).unwrap().decode();
    (forged.hash, forged.time) = (None, 1);
    let forged = Change::from(forged);
    let forged = (ChangeHash::from_bytes(forged.hash().0), Bytes::copy_from_slice(forged.raw_bytes()));
    let records = vec![record(id, forged)];
    assert_eq!(a.merge(space(), MergeRequest { records, position: None }).unwrap().set_aside, 1);
}
