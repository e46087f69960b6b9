//! Devices whose clocks are wrong by decades: boards without a battery, and dates far ahead.

use std::sync::atomic::{AtomicU64, Ordering};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ROOT};
use headwater::document::{OutsideEdit, OutsideKind, edit_outside, project};
use headwater::replica::MergeRequest;
use headwater::{ChangeHash, EntityId, Environment, Map, Replica, SpaceId, Timestamp, Value};
use headwater_storage::{Bytes, ChangeRecord, CollectionName, PayloadKind};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, exchange};

/// A clock that stands still, and randomness that repeats.
struct Stopped {
    now_ms: u64,
    calls: AtomicU64,
}

impl Environment for Stopped {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn random(&self) -> u128 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        uuid::Uuid::new_v5(&uuid::Uuid::from_u64_pair(self.now_ms, call), b"random").as_u128()
    }
}

fn replica(now_ms: u64) -> Replica {
    Replica::in_memory(Stopped { now_ms, calls: AtomicU64::new(0) }).unwrap()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    tags: Vec<String>,
    notes: headwater::Text,
}

/// 1970 and before, the first day, 1972, the last time that reads as seconds, now, the year 292 million, and
/// beyond.
const CLOCKS: [u64; 9] = [
    0,
    1,
    97_200_000,
    73_872_000_000,
    99_999_999_999,
    1_700_000_000_000,
    1 << 48,
    i64::MAX.unsigned_abs(),
    u64::MAX,
];

#[test]
fn whatever_the_clock_says_an_edit_is_there_on_both_devices_and_its_row_is_right() {
    // Would make `put` succeed and the entity not exist, or have `verify` repair what is whole.
    for now_ms in CLOCKS {
        let (wrong, right) = (replica(now_ms), replica(1_700_000_000_001));
        let things = wrong.space(SPACE).collection::<Thing>("things").unwrap();
        let thing = Thing { name: "clock".into(), tags: vec!["a".into()], notes: "n".into() };
        let id = things.insert(&thing).unwrap().id;
        things.update(id, |thing| thing.name.push('!')).unwrap();
        exchange(&wrong, &right);
        for replica in [&wrong, &right] {
            let things = replica.space(SPACE).collection::<Thing>("things").unwrap();
            assert_eq!(things.get(id).unwrap().unwrap().name, "clock!", "{now_ms}");
            assert_eq!(things.as_dynamic().iter().count(), 1);
            let verified = replica.verify().unwrap();
            assert_eq!((verified.rows_repaired, verified.set_aside.len()), (0, 0), "{now_ms}");
        }
        things.delete(id).unwrap();
        exchange(&wrong, &right);
        let there = right.space(SPACE).dynamic("things").unwrap();
        assert!(there.get(id).unwrap().is_none());
        there.restore(id).unwrap();
        exchange(&wrong, &right);
        let [here, there] =
            [&wrong, &right].map(|replica| replica.space(SPACE).dynamic("things").unwrap().meta(id).unwrap());
        assert_eq!(here, there, "{now_ms}");
        assert!(here.unwrap().created.is_some());
        for replica in [&wrong, &right] {
            assert_eq!(replica.compact_all().unwrap(), 1);
            assert_eq!(replica.verify().unwrap().rows_repaired, 0, "{now_ms}");
        }
    }
}

#[test]
fn an_edit_with_sql_at_any_time_makes_an_entity_that_exists() {
    // Would lose what a database with a wrong clock wrote.
    for time_ms in [i64::MIN, -1, 0, 1, i64::MAX] {
        let fields = serde_json::json!({"name": "Guji"});
        let put = OutsideKind::Put { collection: "bags".parse().unwrap(), fields };
        let edit = OutsideEdit { actor: [1; 24], time_ms, base: vec![], kind: put };
        let made = edit_outside(Vec::new(), &edit).unwrap();
        let changes: Vec<_> = made.into_iter().map(|made| (made.hash, made.payload)).collect();
        let seen = project(changes.clone()).unwrap().expect("it exists");
        assert_eq!(seen.data["name"], "Guji");
        let delete = OutsideKind::Delete;
        let edit = OutsideEdit { actor: [2; 24], time_ms, base: seen.meta.heads, kind: delete };
        assert!(!edit_outside(changes, &edit).unwrap().is_empty(), "{time_ms}");
    }
}

#[test]
fn an_entity_of_a_program_that_writes_no_times_exists() {
    // Would hide what JavaScript or another program made with Automerge alone, which writes 0 unless it is
    // told a time.
    let mut document = Automerge::new().with_actor(ActorId::from(&[7; 16][..]));
    let mut transaction = document.transaction();
    transaction.put(ROOT, "_collection", "bags").unwrap();
    transaction.put(ROOT, "name", "Guji").unwrap();
    transaction.commit_with(CommitOptions::default().with_time(0));
    let change = document.get_last_local_change().unwrap();
    let entity = EntityId::from_bytes([3; 16]);
    let record = ChangeRecord {
        entity,
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(change.hash().0),
        payload: Bytes::copy_from_slice(change.raw_bytes()),
    };
    let replica = replica(1_700_000_000_000);
    let request = MergeRequest { records: vec![record], position: None };
    assert_eq!(replica.merge(SpaceId::from_name(SPACE), request).unwrap().applied, 1);
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.get(entity).unwrap().expect("it exists");
    assert_eq!((bag.meta.created, bag.fields["name"].as_str()), (None, Some("Guji")));
    bags.set(entity, Map::from([("rating".into(), Value::Int(4))])).unwrap();
    assert_eq!(bags.meta(entity).unwrap().unwrap().created, Some(Timestamp(1_700_000_000_000)));
    assert_eq!(replica.verify().unwrap().rows_repaired, 0);
}
