//! Snapshots in place of long histories: made here, and come from elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use headwater::ingest::{Chunk, Verdict};
use headwater::replica::{MergeError, MergeRequest, TakeBackError};
use headwater::{ChangeHash, EntityId, Map, Replica, SpaceId, Value};
use headwater_storage::{
    Bytes, ChangeRecord, CollectionName, Direction, OutboxSeq, PayloadKind, Position, Refusal, ReplicaStore,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::pair::{SPACE, carry, replica};

/// As in `storage/src/replica/tables.rs`.
const SNAPSHOTS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("snapshots_v1");
const CHANGES: TableDefinition<&[u8; 24], &[u8]> = TableDefinition::new("changes_v1");

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

/// The changes of a new entity of these tests: nobody's, with the list of tags, and one of the device.
const FIRST: usize = 2;

/// An entity with so many changes after its first ones.
fn grown(replica: &Replica, changes: i64) -> EntityId {
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    let tags = Value::List(vec![Value::from("floral")]);
    let id =
        bags.insert(Map::from([("name".into(), Value::from("Guji")), ("tags".into(), tags)])).unwrap().id;
    grow(replica, id, 0..changes);
    id
}

fn grow(replica: &Replica, id: EntityId, numbers: std::ops::Range<i64>) {
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    for number in numbers {
        bags.set(id, Map::from([("number".into(), Value::Int(number))])).unwrap();
    }
}

fn fields(replica: &Replica, id: EntityId) -> Map {
    replica.space(SPACE).dynamic("bags").unwrap().get(id).unwrap().unwrap().fields
}

fn hashes(replica: &Replica, id: EntityId) -> BTreeSet<ChangeHash> {
    replica.entity_changes(space(), id).unwrap().into_iter().map(|(hash, _)| hash).collect()
}

fn acknowledge_all(replica: &Replica) {
    let outbox = replica.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
    let seqs = outbox.into_iter().map(|entry| entry.seq).collect();
    replica.acknowledge(space(), seqs, Vec::new(), None).unwrap();
}

/// How many rows there are: snapshots, and changes by themselves.
fn rows(path: &Path) -> (usize, usize) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let snapshots = transaction.open_table(SNAPSHOTS).unwrap().iter().unwrap().count();
    (snapshots, transaction.open_table(CHANGES).unwrap().iter().unwrap().count())
}

/// The snapshot of `id`, as a relay would send it.
fn snapshot_record(path: &Path, id: EntityId) -> ChangeRecord {
    let new =
        headwater_storage::NewReplica { device: headwater::DeviceId::from_bytes([9; 16]), created_ms: 0 };
    let store = ReplicaStore::open(path, new).unwrap();
    let snapshot = store.entity(space(), id).unwrap().snapshot.unwrap();
    let (hash, payload) = (snapshot.hash, snapshot.payload);
    let collection = CollectionName::new("bags").unwrap();
    ChangeRecord { entity: id, collection, kind: PayloadKind::Snapshot, hash, payload }
}

#[test]
fn a_long_history_becomes_a_snapshot_and_nothing_else_changes() {
    // Would grow and slow down without end, or lose what the snapshot stands for.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica");
    let (id, before, heads, all) = {
        let replica = Replica::open(&path).unwrap();
        let id = grown(&replica, 400);
        acknowledge_all(&replica);
        let _made = replica.compact_all().unwrap();
        let heads = replica.entity_positions(space(), None, 10).unwrap();
        (id, fields(&replica, id), heads, hashes(&replica, id))
    };
    assert_eq!(all.len(), FIRST + 400);
    assert_eq!(rows(&path), (1, 0));
    let replica = Replica::open(&path).unwrap();
    assert_eq!(fields(&replica, id), before);
    assert_eq!(replica.entity_positions(space(), None, 10).unwrap(), heads);
    assert_eq!(hashes(&replica, id), all);
    // It goes on from there.
    grow(&replica, id, 400..410);
    assert_eq!(fields(&replica, id).get("number"), Some(&Value::Int(409)));
    assert_eq!(hashes(&replica, id).len(), all.len() + 10);
    let verified = replica.verify().unwrap();
    assert_eq!(
        (verified.changes as usize, verified.set_aside.len(), verified.rows_repaired),
        (FIRST + 410, 0, 0)
    );
    acknowledge_all(&replica);
    assert_eq!(replica.compact_all().unwrap(), 1);
    assert_eq!(hashes(&replica, id).len(), all.len() + 10);
}

#[test]
fn only_an_entity_that_has_grown_is_due_and_writing_stays_in_proportion() {
    // Would write a snapshot for every change, and wear the disk out.
    let replica = replica();
    let small = grown(&replica, 10);
    let large = grown(&replica, 100);
    assert_eq!(replica.compact().unwrap(), 0, "16 KiB are not reached");
    let (mut made, mut total) = (0, 0);
    for round in 0..40 {
        grow(&replica, large, round * 50..round * 50 + 50);
        made += replica.compact().unwrap();
        total += 50;
    }
    assert!((2..=20).contains(&made), "{made} snapshots for {total} changes");
    assert_eq!(hashes(&replica, small).len(), FIRST + 10);
    assert_eq!(hashes(&replica, large).len(), FIRST + 100 + total);
}

#[test]
fn what_waits_for_the_relay_still_waits_and_leaves_when_it_is_acknowledged() {
    // Would lose edits that nobody else has yet, or keep them for ever.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica");
    let replica = Replica::open(&path).unwrap();
    let id = grown(&replica, 300);
    let outbox = || replica.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
    let before = outbox();
    let _made = replica.compact_all().unwrap();
    assert_eq!(outbox(), before);
    assert_eq!(before.len(), FIRST + 300);
    let all = hashes(&replica, id);
    let [first, second] = [before[0].seq, before[1].seq];
    let refusal = Refusal { code: 1, message: "no".to_owned() };
    replica.acknowledge(space(), vec![first], vec![(second, refusal)], None).unwrap();
    assert_eq!(outbox(), before[2..]);
    assert_eq!(replica.space(SPACE).set_aside().unwrap()[0].record, before[1].record);
    assert_eq!(hashes(&replica, id), all, "what was refused stays in the entity");
    acknowledge_all(&replica);
    drop(replica);
    assert_eq!(rows(&path), (1, 0));
}

#[test]
fn it_happens_by_itself_and_the_file_can_be_opened_again_at_once() {
    // Would leave it to each app to call something, or lock the app out of its own file.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica");
    for round in 0..100 {
        let replica = Replica::open(&path).unwrap();
        let id = grown(&replica, 150);
        acknowledge_all(&replica);
        if round > 0 {
            // Dropped in the middle of it.
            drop(replica);
            if round > 5 && rows(&path).0 > 0 {
                return;
            }
            continue;
        }
        grow(&replica, id, 150..400);
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("no snapshot was made in a hundred rounds");
}

#[test]
fn a_verdict_on_a_change_inside_a_snapshot_takes_it_out() {
    // Would leave this replica alone with a change that everybody else leaves out.
    let [a, b] = [replica(), replica()];
    let id = grown(&a, 40);
    carry(&a, &b);
    let last = *a.entity_positions(space(), None, 10).unwrap()[0].heads.first().unwrap();
    for replica in [&a, &b] {
        assert_eq!(replica.compact_all().unwrap(), 1);
        let reason = Refusal { code: 1, message: "harmful".to_owned() };
        let verdict = Verdict { at_ms: 1, quarantined: vec![(last, reason)], released: vec![] };
        let record = verdict.record(id, CollectionName::new("bags").unwrap());
        let merged = replica.merge(space(), MergeRequest { records: vec![record], position: None }).unwrap();
        assert_eq!(merged.set_aside, 1);
        assert_eq!(fields(replica, id).get("number"), Some(&Value::Int(38)));
        assert!(!hashes(replica, id).contains(&last));
        let aside = replica.space(SPACE).set_aside().unwrap();
        assert_eq!((aside[0].direction, aside[0].record.hash), (Direction::Quarantined, last));
        assert!(!aside[0].record.payload.is_empty(), "its bytes are kept");
        let _made = replica.compact_all().unwrap();
        let release = Verdict { at_ms: 2, quarantined: vec![], released: vec![last] };
        let record = release.record(id, CollectionName::new("bags").unwrap());
        replica.merge(space(), MergeRequest { records: vec![record], position: None }).unwrap();
        assert_eq!(fields(replica, id).get("number"), Some(&Value::Int(39)));
        assert!(hashes(replica, id).contains(&last));
    }
    // The author's outbox has everything but what was taken out of it.
    assert_eq!(a.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap().len(), FIRST + 40 - 1);
    assert_eq!(
        a.entity_positions(space(), None, 10).unwrap(),
        b.entity_positions(space(), None, 10).unwrap()
    );
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_snapshot_is_found_and_mended() {
    // Would lose all that it stands for, in silence.
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let healthy = replica();
    let id = grown(&healthy, 30);
    {
        let damaged = Replica::open(path("damaged")).unwrap();
        carry(&healthy, &damaged);
        assert_eq!(damaged.compact_all().unwrap(), 1);
        // One change behind the snapshot, and one that only this replica has.
        grow(&healthy, id, 30..31);
        carry(&healthy, &damaged);
        let bags = damaged.space(SPACE).dynamic("bags").unwrap();
        bags.set(id, Map::from([("mine".into(), Value::Int(1))])).unwrap();
        carry(&damaged, &healthy);
    }
    let (key, len) = {
        let database = Database::open(path("damaged")).unwrap();
        let table = database.begin_read().unwrap().open_table(SNAPSHOTS).unwrap();
        let (key, value) = table.iter().unwrap().next().unwrap().unwrap();
        (*key.value(), value.value().len())
    };
    let every: usize = std::env::var("HEADWATER_FLIPS").map_or(5, |every| every.parse().unwrap());
    // Behind the hash are two numbers that only say how much it stands for.
    for at in (0..len).filter(|at| at % every == 0 && !(32..48).contains(at)) {
        std::fs::copy(path("damaged"), path("copy")).unwrap();
        {
            let database = Database::open(path("copy")).unwrap();
            let transaction = database.begin_write().unwrap();
            {
                let mut table = transaction.open_table(SNAPSHOTS).unwrap();
                let mut value = table.get(&key).unwrap().unwrap().value().to_vec();
                value[at] ^= 1 << (at % 8);
                table.insert(&key, value.as_slice()).unwrap();
            }
            transaction.commit().unwrap();
        }
        let copy = Replica::open(path("copy")).unwrap();
        // Whoever meets it first: a walk, a session that compares, an edit, or changes that come in.
        match at / every % 4 {
            0 => assert_eq!(copy.verify().unwrap().set_aside.len(), 1, "byte {at}"),
            1 => assert_eq!(copy.entity_changes(space(), id).unwrap().len(), 2, "byte {at}"),
            2 => {
                // Without what it stands for there is no such entity to be edited.
                let bags = copy.space(SPACE).dynamic("bags").unwrap();
                let _either_way = bags.set(id, Map::from([("note".into(), Value::Int(1))]));
            }
            _ => {
                copy.begin_session(space()).unwrap();
                let outbox = healthy.outbox(space(), OutboxSeq::ZERO, 4, usize::MAX).unwrap();
                let records = outbox.into_iter().map(|entry| entry.record).collect();
                let request = MergeRequest { records, position: Some(Position::default()) };
                let merged = copy.merge(space(), request);
                assert!(matches!(merged, Err(MergeError::Damaged)), "byte {at}: {merged:?}");
            }
        }
        assert_eq!(copy.position(space()).unwrap(), Position::nowhere(), "byte {at}");
        let aside = copy.space(SPACE).set_aside().unwrap();
        let kinds: Vec<_> = aside.iter().map(|aside| (aside.direction, aside.record.kind)).collect();
        assert_eq!(kinds, [(Direction::Damaged, PayloadKind::Snapshot)], "byte {at}");
        let mine = copy.outbox(space(), OutboxSeq::ZERO, 10, usize::MAX).unwrap();
        assert!(!mine.is_empty(), "byte {at}: what only this replica had is gone");
        carry(&healthy, &copy);
        let mut now = fields(&copy, id);
        now.remove("note");
        assert_eq!(now, fields(&healthy, id), "byte {at}");
        assert!(hashes(&copy, id).is_superset(&hashes(&healthy, id)), "byte {at}");
    }
}

#[test]
fn an_entity_begins_with_a_snapshot_that_comes_from_elsewhere() {
    // Would make a new device apply every change that there ever was.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source");
    let (id, tail) = {
        let source = Replica::open(&path).unwrap();
        let id = grown(&source, 200);
        let _made = source.compact_all().unwrap();
        let folded = hashes(&source, id);
        grow(&source, id, 200..210);
        let outbox = source.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
        let tail = outbox.into_iter().map(|entry| entry.record);
        (id, tail.filter(|record| !folded.contains(&record.hash)).collect::<Vec<_>>())
    };
    assert_eq!(tail.len(), 10);
    let snapshot = snapshot_record(&path, id);
    let source = Replica::open(&path).unwrap();
    let request = |records: Vec<ChangeRecord>| MergeRequest { records, position: None };

    let fresh = replica();
    let mut patches = fresh.patches();
    let records = [vec![snapshot.clone()], tail.clone()].concat();
    assert_eq!(fresh.merge(space(), request(records)).unwrap().applied as usize, FIRST + 210);
    assert_eq!(fields(&fresh, id), fields(&source, id));
    assert_eq!(hashes(&fresh, id), hashes(&source, id));
    assert!(patches.try_next().is_some(), "listeners hear of it");
    let verified = fresh.verify().unwrap();
    assert_eq!(
        (verified.changes as usize, verified.set_aside.len(), verified.rows_repaired),
        (FIRST + 210, 0, 0)
    );
    // The same again changes nothing.
    assert_eq!(fresh.merge(space(), request(vec![snapshot.clone()])).unwrap().applied, 0);

    // What is here already stays, and what is missing comes.
    let partial = replica();
    let outbox = source.outbox(space(), OutboxSeq::ZERO, 100, usize::MAX).unwrap();
    partial.merge(space(), request(outbox.into_iter().map(|entry| entry.record).collect())).unwrap();
    let bags = partial.space(SPACE).dynamic("bags").unwrap();
    bags.set(id, Map::from([("mine".into(), Value::Int(1))])).unwrap();
    assert_eq!(
        partial.merge(space(), request(vec![snapshot.clone()])).unwrap().applied as usize,
        FIRST + 100
    );
    assert_eq!(hashes(&partial, id).len(), FIRST + 200 + 1);
    assert_eq!(fields(&partial, id).get("mine"), Some(&Value::Int(1)));

    // One that is damaged, or another than its header says, is set aside, and the next session compares heads.
    let mut bytes = snapshot.payload.to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let other = Replica::open(directory.path().join("other")).unwrap();
    let wrong = ChangeRecord { hash: ChangeHash::from_bytes([1; 32]), ..snapshot.clone() };
    for bad in [ChangeRecord { payload: Bytes::from(bytes), ..snapshot.clone() }, wrong] {
        let position = Some(Position::default());
        let merged = other.merge(space(), MergeRequest { records: vec![bad], position });
        assert!(matches!(merged, Err(MergeError::Damaged)), "{merged:?}");
        assert_eq!(other.begin_session(space()).unwrap(), Position::nowhere());
    }
    assert_eq!(other.space(SPACE).set_aside().unwrap().len(), 2);
    let again = other.space(SPACE).take_back(id, snapshot.hash);
    assert!(matches!(again, Err(TakeBackError::StillUnusable)), "{again:?}");
    assert_eq!(Chunk::single(&snapshot.payload).unwrap().hash(), snapshot.hash);
}
