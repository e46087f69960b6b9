//! What a replica keeps when it is closed, and when its file is copied.

use headwater::{Counter, Map, Replica};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, exchange};

#[derive(Serialize, Deserialize)]
struct Log {
    reps: Counter,
}

#[test]
fn everything_is_there_after_opening_again() {
    // Would lose data, the outbox or the device id on a restart.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.headwater");
    let replica = Replica::open(&path).unwrap();
    let device = replica.device_id();
    let logs = replica.space(SPACE).collection::<Log>("logs").unwrap();
    let id = logs.insert(&Log { reps: Counter::new(1) }).unwrap().id;
    let pending = replica.space(SPACE).pending().unwrap();
    drop((logs, replica));
    let replica = Replica::open(&path).unwrap();
    let logs = replica.space(SPACE).collection::<Log>("logs").unwrap();
    assert_eq!((replica.device_id(), replica.space(SPACE).pending().unwrap()), (device, pending));
    logs.update(id, |log| log.reps.increment(4)).unwrap();
    assert_eq!(logs.get(id).unwrap().unwrap().reps.value(), 5);
}

#[test]
fn a_closed_replica_can_be_opened_at_once() {
    // Would fail to open, now and then, because a snapshot is still being made in the background.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.headwater");
    let mut replica = Replica::open(&path).unwrap();
    for round in 0..5 {
        let notes = replica.space(SPACE).dynamic("notes").unwrap();
        let note = notes.insert(Map::from([("text".into(), "hi".into())])).unwrap().id;
        let text = "x".repeat(1_000);
        for number in 0..40 {
            notes.set(note, Map::from([("text".into(), format!("{number}{text}").into())])).unwrap();
        }
        // Whoever has a handle is told of, and the replica goes on.
        let still_open = replica.close().unwrap_err();
        assert_eq!(still_open.others, 1, "round {round}");
        assert_eq!(notes.count().unwrap(), round + 1);
        drop(notes);
        still_open.replica.close().unwrap();
        replica = Replica::open(&path).unwrap();
    }
}

#[test]
fn a_copied_file_does_not_continue_the_other_ones_changes() {
    // Would make two different changes with one actor and number, and one of them could never be merged again.
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("a"), directory.path().join("b"));
    let replica = Replica::open(&path).unwrap();
    let id = replica
        .space(SPACE)
        .collection::<Log>("logs")
        .unwrap()
        .insert(&Log { reps: Counter::new(0) })
        .unwrap()
        .id;
    drop(replica);
    std::fs::copy(&path, &copy).unwrap();
    let (a, b) = (Replica::open(&path).unwrap(), Replica::open(&copy).unwrap());
    for replica in [&a, &b] {
        replica
            .space(SPACE)
            .collection::<Log>("logs")
            .unwrap()
            .update(id, |log| log.reps.increment(1))
            .unwrap();
    }
    exchange(&a, &b);
    for replica in [&a, &b] {
        let log = replica.space(SPACE).collection::<Log>("logs").unwrap().get(id).unwrap().unwrap();
        assert_eq!(log.reps.value(), 2);
    }
}
