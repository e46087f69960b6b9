//! The replica store: one commit is one step, and nothing is lost on the way out or in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_storage::{
    Bytes, ChainHash, ChangeHash, ChangeRecord, CollectionName, Commit, CommitDurability, CommitError,
    DeviceId, Direction, EntityId, EntitySync, EntityWrite, FeedEpoch, Judged, NewChange, NewReplica, Outbox,
    OutboxSeq, PayloadKind, Position, Refusal, ReplicaStore, Seq, SetAside, SpaceId, Step, Unfolded,
    Watermark,
};
use std::path::Path;

fn open(path: &Path) -> ReplicaStore {
    ReplicaStore::open(path, NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 1 }).unwrap()
}

fn space(name: &str) -> SpaceId {
    SpaceId::from_name(name)
}

fn entity(number: u8) -> EntityId {
    EntityId::from_bytes([number; 16])
}

fn hash(number: u8) -> ChangeHash {
    ChangeHash::from_bytes([number; 32])
}

fn named(name: &str) -> CollectionName {
    CollectionName::new(name).unwrap()
}

fn change(number: u8, outbox: Outbox) -> NewChange {
    NewChange {
        kind: PayloadKind::Change,
        hash: hash(number),
        payload: Bytes::from(vec![number; 10]),
        outbox,
    }
}

fn write(of: u8, collection: &str, changes: Vec<NewChange>, row: Option<&'static str>) -> EntityWrite {
    EntityWrite { entity: entity(of), collection: named(collection), changes, row: row.map(Bytes::from) }
}

fn commit_to(name: &str, writes: Vec<EntityWrite>) -> Commit {
    let steps = writes.into_iter().map(Step::Write).collect();
    Commit { steps, ..Commit::new(space(name), 5) }
}

fn acknowledge(queued: &[OutboxSeq]) -> Commit {
    let steps = queued.iter().copied().map(Step::Acknowledge).collect();
    Commit { steps, ..Commit::new(space("home"), 5) }
}

fn position(seq: u64) -> Position {
    let watermark = Watermark {
        epoch: FeedEpoch::from_bytes([9; 16]),
        seq: Seq::new(seq),
        chain: ChainHash::from_bytes([8; 32]),
    };
    Position { watermark: Some(watermark), cursor: Some(Bytes::from_static(b"cursor")) }
}

/// Would lose an edit, or its place in the outbox, when the app is closed.
#[test]
fn a_commit_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    let store = open(&path);
    let mut commit = commit_to(
        "home",
        vec![write(1, "bags", vec![change(1, Outbox::Queue), change(2, Outbox::Skip)], Some("row"))],
    );
    commit.steps.push(Step::Position(position(7)));
    let committed = store.commit(commit).unwrap();
    drop(store);

    let store = open(&path);
    let home = space("home");
    assert_eq!(store.spaces(), [home]);
    assert_eq!(store.collections(home), [named("bags")]);
    assert_eq!(store.position(home).unwrap(), position(7));
    assert_eq!(store.row(home, &named("bags"), entity(1)).unwrap().unwrap(), "row");
    assert_eq!(store.find(home, entity(1)).unwrap().unwrap().0, named("bags"));
    let changes = store.entity(home, entity(1)).unwrap().changes;
    assert_eq!(changes.iter().map(|change| change.hash).collect::<Vec<_>>(), [hash(1), hash(2)]);
    let outbox = store.outbox(home, OutboxSeq::ZERO, 10, 1000).unwrap();
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].seq, committed.outbox[0]);
    assert_eq!(outbox[0].record.hash, hash(1));
    assert_eq!(outbox[0].record.collection, named("bags"));
    assert_eq!((store.outbox_len(home), store.count(home, &named("bags")).unwrap()), (1, 1));
}

/// Would apply half of a page and then ask the relay for what comes after all of it.
#[test]
fn a_refused_commit_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("home"));
    let mut commit = commit_to("home", vec![write(1, "bags", vec![change(1, Outbox::Queue)], Some("row"))]);
    commit.steps.push(Step::Position(Position { cursor: Some(vec![0; 65].into()), ..position(1) }));
    assert!(matches!(store.commit(commit.clone()), Err(CommitError::CursorTooLong { len: 65 })));
    assert!(store.spaces().is_empty());
    assert_eq!(store.find(space("home"), entity(1)).unwrap(), None);
    commit.steps.pop();
    commit.steps.push(Step::Position(Position { cursor: Some(vec![0; 64].into()), ..position(1) }));
    store.commit(commit).unwrap();
    assert_eq!(store.position(space("home")).unwrap().cursor.unwrap().len(), 64);
}

/// Would send a change before the one that it depends on, or confirm the wrong one.
#[test]
fn outbox_places_rise_and_are_never_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    let home = space("home");
    let mut last = OutboxSeq::ZERO;
    for round in 0..3 {
        let store = open(&path);
        let writes = vec![
            write(1, "bags", vec![change(1, Outbox::Queue), change(2, Outbox::Queue)], None),
            write(2, "bags", vec![change(3, Outbox::Queue)], None),
        ];
        let queued = store.commit(commit_to("home", writes)).unwrap().outbox;
        assert_eq!(queued.len(), 3);
        for seq in &queued {
            assert!(*seq > last, "round {round}");
            last = *seq;
        }
        let waiting = store.outbox(home, OutboxSeq::ZERO, 10, 1000).unwrap();
        assert_eq!(waiting.iter().map(|entry| entry.seq).collect::<Vec<_>>(), queued);
        assert_eq!(store.outbox_last(home).unwrap(), Some(last));
        assert_eq!(store.outbox_entities(home).unwrap().len(), 2);
        store.commit(acknowledge(&queued)).unwrap();
        // Acknowledged twice, as after a lost connection.
        store.commit(acknowledge(&queued)).unwrap();
        assert_eq!((store.outbox_len(home), store.outbox_last(home).unwrap()), (0, None));
    }
}

/// Would push more in one frame than the relay accepts, or nothing at all when one change is large.
#[test]
fn outbox_pages_are_bounded_but_never_empty() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("home"));
    let home = space("home");
    let changes = (1..=5).map(|number| change(number, Outbox::Queue)).collect();
    let seqs = store.commit(commit_to("home", vec![write(1, "bags", changes, None)])).unwrap().outbox;
    assert_eq!(store.outbox(home, OutboxSeq::ZERO, 2, 1000).unwrap().len(), 2);
    assert_eq!(store.outbox(home, OutboxSeq::ZERO, 10, 29).unwrap().len(), 2);
    assert_eq!(store.outbox(home, OutboxSeq::ZERO, 10, 30).unwrap().len(), 3);
    assert_eq!(store.outbox(home, OutboxSeq::ZERO, 10, 1).unwrap().len(), 1);
    let rest = store.outbox(home, seqs[2], 10, 1000).unwrap();
    assert_eq!(rest.iter().map(|entry| entry.seq).collect::<Vec<_>>(), seqs[3..]);
    assert!(store.outbox(home, seqs[4], 10, 1000).unwrap().is_empty());
    assert!(store.outbox_contains(home, seqs[0]).unwrap());
    assert!(!store.outbox_contains(space("team"), seqs[0]).unwrap());
}

/// Would keep sending a change that the relay never takes, or hide that it was refused.
#[test]
fn refused_changes_leave_the_outbox_and_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    let store = open(&path);
    let home = space("home");
    let writes =
        vec![write(1, "bags", vec![change(1, Outbox::Queue), change(2, Outbox::Queue)], Some("row"))];
    let seqs = store.commit(commit_to("home", writes)).unwrap().outbox;
    let reason = Refusal { code: 403, message: "no grant for “home”".to_owned() };
    let from_relay = SetAside {
        record: ChangeRecord {
            entity: entity(3),
            collection: named("bags"),
            kind: PayloadKind::Snapshot,
            hash: hash(9),
            payload: Bytes::from_static(b"bad"),
        },
        direction: Direction::FromRelay,
        reason: Refusal { code: 1, message: String::new() },
        time_ms: 4,
    };
    let mut commit = Commit::new(home, 5);
    commit.steps = vec![
        Step::Refuse(seqs[0], reason.clone()),
        Step::Refuse(OutboxSeq::new(99), reason.clone()),
        Step::SetAside(from_relay.clone()),
    ];
    store.commit(commit).unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(store.outbox_len(home), 1);
    assert_eq!(store.entity(home, entity(1)).unwrap().changes.len(), 2);
    let listed = store.set_aside(home).unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].record.hash, hash(1));
    assert_eq!(listed[0].record.payload, Bytes::from(vec![1; 10]));
    assert_eq!((listed[0].direction, &listed[0].reason, listed[0].time_ms), (Direction::Refused, &reason, 5));
    assert_eq!(listed[1], from_relay);
    assert!(store.set_aside(space("team")).unwrap().is_empty());
}

/// Would cost an fsync per acknowledgement, or lose a write that was reported as durable.
#[test]
fn deferred_acknowledgements_can_be_undone_by_a_crash_but_writes_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let (path, crashed) = (directory.path().join("home"), directory.path().join("crashed"));
    let store = open(&path);
    let home = space("home");
    let deferred = |commit| Commit { durability: CommitDurability::Deferred, ..commit };
    let queue = commit_to("home", vec![write(1, "bags", vec![change(1, Outbox::Queue)], Some("row"))]);
    let seqs = store.commit(deferred(queue)).unwrap().outbox;
    store.commit(deferred(acknowledge(&seqs))).unwrap();
    assert_eq!(store.outbox_len(home), 0);
    assert!(!store.outbox_contains(home, seqs[0]).unwrap());

    std::fs::copy(&path, &crashed).unwrap();
    let after_crash = open(&crashed);
    assert_eq!(after_crash.outbox_len(home), 1);
    assert_eq!(after_crash.entity(home, entity(1)).unwrap().changes.len(), 1);
    drop(after_crash);

    store.commit(commit_to("home", vec![])).unwrap();
    std::fs::copy(&path, &crashed).unwrap();
    assert_eq!(open(&crashed).outbox_len(home), 0);
}

/// Would show an entity in two collections, or in none.
#[test]
fn a_row_in_another_collection_moves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    let store = open(&path);
    let home = space("home");
    let (bags, beans) = (named("bags"), named("beans"));
    store
        .commit(commit_to("home", vec![write(1, "bags", vec![change(1, Outbox::Skip)], Some("one"))]))
        .unwrap();
    // Changes alone do not move it: the view still shows the old row.
    store.commit(commit_to("home", vec![write(1, "beans", vec![change(2, Outbox::Skip)], None)])).unwrap();
    assert_eq!(
        store.find(home, entity(1)).unwrap().unwrap(),
        (bags.clone(), Some(Bytes::from_static(b"one")))
    );
    store.commit(commit_to("home", vec![write(1, "beans", vec![], Some("two"))])).unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(store.row(home, &bags, entity(1)).unwrap(), None);
    assert_eq!(
        store.find(home, entity(1)).unwrap().unwrap(),
        (beans.clone(), Some(Bytes::from_static(b"two")))
    );
    assert_eq!((store.count(home, &bags).unwrap(), store.count(home, &beans).unwrap()), (0, 1));
    assert_eq!(store.entities(home, None, 10).unwrap(), [(entity(1), beans)]);
    assert_eq!(store.entity(home, entity(1)).unwrap().changes.len(), 2);
}

/// Would show one space's data in another that happens to have the same entity id.
#[test]
fn the_same_entity_in_two_spaces_is_two_entities() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("home"));
    for (name, row) in [("home", "mine"), ("team", "ours")] {
        store
            .commit(commit_to(name, vec![write(1, "bags", vec![change(1, Outbox::Queue)], Some(row))]))
            .unwrap();
    }
    assert_eq!(store.row(space("home"), &named("bags"), entity(1)).unwrap().unwrap(), "mine");
    assert_eq!(store.row(space("team"), &named("bags"), entity(1)).unwrap().unwrap(), "ours");
    assert_eq!(store.entity(space("team"), entity(1)).unwrap().changes.len(), 1);
    assert_eq!(store.outbox_len(space("home")), 1);
    assert_eq!(store.spaces().len(), 2);
}

/// Would skip or repeat a row at the edge of a page.
#[test]
fn pages_of_rows_and_entities_join_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("home"));
    let home = space("home");
    let numbers = [0, 1, 2, 7, 8, 254, 255];
    let mut writes: Vec<_> =
        numbers.iter().map(|number| write(*number, "bags", vec![], Some("row"))).collect();
    writes.extend([3, 9].map(|number| write(number, "beans", vec![], Some("row"))));
    store.commit(commit_to("home", writes)).unwrap();
    for limit in 1..=8 {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = store.rows(home, &named("bags"), after, limit).unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            seen.extend(page.into_iter().map(|(id, _)| id));
        }
        assert_eq!(seen, numbers.map(entity));
    }
    assert_eq!(store.entities(home, None, 100).unwrap().len(), 9);
    assert_eq!(store.entities(home, Some(entity(3)), 100).unwrap().len(), 5);
    assert!(store.rows(home, &named("none"), None, 10).unwrap().is_empty());
    assert_eq!(store.count(home, &named("bags")).unwrap(), 7);
}

/// Would answer a reader with an error, or a half-known row, while another thread commits.
#[test]
fn readers_never_see_half_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("home"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..60 {
                let writes = vec![
                    write(number, &format!("c{number}"), vec![change(1, Outbox::Queue)], Some("row")),
                    write(number + 100, &format!("c{number}"), vec![change(1, Outbox::Queue)], Some("row")),
                ];
                store.commit(commit_to("home", writes)).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(store.entities(space("home"), None, 1000).unwrap().len() % 2, 0);
                assert_eq!(store.outbox(space("home"), OutboxSeq::ZERO, 1000, 100_000).unwrap().len() % 2, 0);
            }
        });
    });
    assert_eq!(store.outbox_len(space("home")), 120);
}

#[test]
fn an_entity_knows_what_waits_and_when_it_was_synced() {
    // Would leave an app without "not synced yet" and "synced at" per entity.
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("r"));
    let space = space("home");
    assert_eq!(store.entity_sync(space, entity(4)).unwrap(), None);
    let write =
        |changes| Step::Write(EntityWrite { entity: entity(4), collection: named("c"), changes, row: None });
    let sync = |waiting, synced_ms| Some(EntitySync { waiting, synced_ms });
    let mut commit = Commit::new(space, 10);
    commit.steps.push(write(vec![change(1, Outbox::Queue), change(2, Outbox::Queue)]));
    let outbox = store.commit(commit).unwrap().outbox;
    assert_eq!(store.entity_sync(space, entity(4)).unwrap(), sync(2, None));
    let mut commit = Commit::new(space, 20);
    commit.steps = vec![Step::Acknowledge(outbox[0]), Step::Acknowledge(outbox[0])];
    store.commit(commit).unwrap();
    assert_eq!(store.entity_sync(space, entity(4)).unwrap(), sync(1, Some(20)));
    let mut commit = Commit::new(space, 30);
    commit.steps.push(Step::Refuse(outbox[1], Refusal { code: 1, message: "no".to_owned() }));
    store.commit(commit).unwrap();
    assert_eq!(store.entity_sync(space, entity(4)).unwrap(), sync(0, Some(20)));
    let mut commit = Commit::new(space, 40);
    commit.steps.push(write(vec![change(3, Outbox::Skip)]));
    store.commit(commit).unwrap();
    assert_eq!(store.entity_sync(space, entity(4)).unwrap(), sync(0, Some(40)));
}

#[test]
fn a_snapshot_that_would_take_new_changes_along_is_refused() {
    // Would lose what one commit writes to an entity, because a later step of it puts older changes in its
    // place.
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("r"));
    let unfold = Step::Unfold(Unfolded { entity: entity(1), changes: Vec::new() });
    let mut commit = commit_to("home", vec![write(1, "bags", vec![change(1, Outbox::Queue)], Some("row"))]);
    commit.steps.push(unfold.clone());
    let refused = store.commit(commit.clone()).unwrap_err();
    assert!(matches!(refused, CommitError::UnfoldsTooLate(of) if of == entity(1)), "{refused}");
    assert!(store.spaces().is_empty());
    commit.steps.rotate_right(1);
    assert_eq!(commit.steps[0], unfold);
    store.commit(commit).unwrap();
    assert_eq!(store.outbox_len(space("home")), 1);
}

#[test]
fn steps_find_what_the_steps_before_them_left() {
    // Would keep a change set aside that the same commit has got again, or set aside one that is in use.
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("r"));
    let home = space("home");
    store
        .commit(commit_to("home", vec![write(1, "bags", vec![change(1, Outbox::Queue)], Some("row"))]))
        .unwrap();
    let reason = Refusal { code: 1, message: "damaged".to_owned() };
    let judge = Step::Judge(Judged {
        entity: entity(1),
        collection: named("bags"),
        direction: Direction::Damaged,
        quarantined: vec![(hash(1), reason)],
        released: Vec::new(),
    });
    let write = Step::Write(write(1, "bags", vec![change(1, Outbox::Queue)], None));
    let mut commit = Commit::new(home, 7);
    commit.steps = vec![judge.clone(), write.clone(), Step::Recover(entity(1), hash(1))];
    store.commit(commit.clone()).unwrap();
    assert_eq!(store.entity(home, entity(1)).unwrap().changes.len(), 1);
    assert!(store.set_aside(home).unwrap().is_empty());
    assert_eq!(store.outbox_len(home), 1);
    commit.steps = vec![write, Step::Recover(entity(1), hash(1)), judge];
    store.commit(commit).unwrap();
    assert!(store.entity(home, entity(1)).unwrap().changes.is_empty());
    assert_eq!((store.set_aside(home).unwrap().len(), store.outbox_len(home)), (1, 0));
}
