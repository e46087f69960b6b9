//! The feed on disk and behind its writer. What every backend promises is in the conformance checks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use headwater_storage::{
    Append, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry, FeedEpoch,
    FeedSnapshot, FeedStore, NewFeed, PageLimit, PayloadKind, Placement, RedbFeed, Seq, SpaceId,
    WriterLimits,
};
use redb::{Database, ReadableTable, TableDefinition};

/// As in `storage/src/feed/redb/tables.rs`: 56 bytes, the digest of the payload in 32, the payload.
const SNAPSHOTS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("snapshots_v1");

const WIDE: PageLimit = PageLimit { entries_max: 100_000, bytes_max: 1 << 30 };

fn open(path: &Path) -> RedbFeed {
    RedbFeed::open(path, NewFeed { created_ms: 1 }).unwrap()
}

fn space(number: u8) -> SpaceId {
    SpaceId::from_bytes([number; 16])
}

fn hash(number: u32) -> ChangeHash {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ChangeHash::from_bytes(bytes)
}

fn append(number: u8, epoch: u8, changes: &[(u8, u32)]) -> Append {
    let collection = CollectionName::new("bags").unwrap();
    let entries = changes.iter().map(|(entity, change)| {
        let record = ChangeRecord {
            entity: EntityId::from_bytes([*entity; 16]),
            collection: collection.clone(),
            kind: PayloadKind::Change,
            hash: hash(*change),
            payload: Bytes::copy_from_slice(&change.to_be_bytes()),
        };
        FeedEntry::new(record, vec![])
    });
    Append {
        space: space(number),
        origin: DeviceId::from_bytes([7; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 3,
        epoch_if_new: FeedEpoch::from_bytes([epoch; 16]),
        entries: entries.collect(),
    }
}

/// Would give acknowledged changes new seqs, or a new epoch, after a restart of the relay.
#[test]
fn a_feed_goes_on_where_it_was_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feed");
    let feed = open(&path);
    let first = feed.append_all(vec![append(1, 1, &[(1, 1), (2, 2)]), append(2, 1, &[(1, 1)])]).unwrap();
    drop(feed);
    let feed = open(&path);
    assert_eq!(feed.head(space(1)).unwrap(), Some(first[0].head()));
    let again = feed.append_all(vec![append(1, 2, &[(1, 1), (1, 3)]), append(3, 2, &[(1, 1)])]).unwrap();
    assert_eq!(again[0].placements(), [Placement::Duplicate(Seq::new(1)), Placement::Accepted(Seq::new(3))]);
    assert_eq!(again[0].before(), first[0].head());
    assert_eq!(again[0].head().epoch, FeedEpoch::from_bytes([1; 16]));
    let rows = feed.read_by_seq(space(1), Seq::ZERO, WIDE).unwrap().rows;
    assert_eq!(rows[..2], *first[0].rows());
    assert_eq!(feed.read_by_seq(space(2), Seq::ZERO, WIDE).unwrap().rows.len(), 1);
    assert_eq!(feed.spaces().unwrap().len(), 3);
}

/// Would let two appends of one transaction see different feeds.
#[test]
fn appends_of_one_transaction_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let feed = open(&directory.path().join("feed"));
    let mut dependent = append(1, 1, &[(1, 2)]);
    dependent.entries[0].deps.push(hash(1));
    let appended =
        feed.append_all(vec![append(1, 1, &[(1, 1)]), append(1, 9, &[(1, 1)]), dependent]).unwrap();
    assert_eq!(appended[1].placements(), [Placement::Duplicate(Seq::new(1))]);
    assert_eq!(appended[2].placements(), [Placement::Accepted(Seq::new(2))]);
    assert_eq!(appended[2].before(), appended[0].head());
    assert_eq!(feed.heads(space(1), None, 9).unwrap()[0].heads, [hash(2)]);
}

/// Would not notice that a feed was tampered with or damaged.
#[test]
fn the_chain_is_verified_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let feed = open(&directory.path().join("feed"));
    let changes: Vec<_> = (0..10).map(|number| (number as u8 % 3, number)).collect();
    feed.append_all(vec![append(1, 1, &changes)]).unwrap();
    assert_eq!(feed.verify_chain(space(1), Seq::ZERO, 4).unwrap(), Some(Seq::new(4)));
    assert_eq!(feed.verify_chain(space(1), Seq::new(4), 100).unwrap(), None);
    assert_eq!(feed.verify_chain(space(1), Seq::new(10), 100).unwrap(), None);
    assert_eq!(feed.verify_chain(space(1), Seq::new(11), 100).unwrap(), None);
}

/// Would cost an fsync per push, or give two pushes the same seq.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_commits_and_keep_seqs_dense() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feed");
    let store =
        FeedStore::redb(open(&path), WriterLimits { queue_appends_max: 16, ..WriterLimits::default() })
            .unwrap();
    let tasks: Vec<_> = (0..200_u32)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(
                async move { store.append(append(number as u8 % 2, 1, &[(number as u8, number)])).await },
            )
        })
        .collect();
    for task in tasks {
        let appended = task.await.unwrap().unwrap();
        assert!(matches!(appended.placements(), [Placement::Accepted(_)]));
    }
    assert!(store.commits() < 200, "{} commits", store.commits());
    drop(store);
    // The writer is gone with the store, so the file is free.
    let feed = open(&path);
    for number in 0..2 {
        let rows = feed.read_by_seq(space(number), Seq::ZERO, WIDE).unwrap().rows;
        assert!(rows.iter().map(|row| row.seq.get()).eq(1..=100));
        assert_eq!(feed.verify_chain(space(number), Seq::ZERO, 1000).unwrap(), None);
    }
}

/// Changes the one snapshot of a file behind the feed's back.
fn damage_snapshot(path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(SNAPSHOTS).unwrap();
        let (key, mut value) = {
            let (key, value) = table.first().unwrap().unwrap();
            (*key.value(), value.value().to_vec())
        };
        damage(&mut value);
        table.insert(&key, value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Would give damaged bytes to every new replica, although the rows are whole.
#[test]
fn a_damaged_snapshot_counts_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feed");
    let entity = EntityId::from_bytes([1; 16]);
    let payload = Bytes::from_static(b"document");
    let (covers, hash) = (Seq::new(3), hash(9));
    let snapshot = FeedSnapshot { covers, changes: 3, changes_bytes: 12, hash, payload };
    open(&path).append_all(vec![append(1, 1, &[(1, 1), (1, 2), (1, 3), (1, 4)])]).unwrap();
    let given = |feed: &RedbFeed| {
        let page = feed.read_by_entity(space(1), Seq::ZERO, None, WIDE).unwrap();
        page.rows.iter().map(|row| row.seq.get()).collect::<Vec<_>>()
    };
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 7] = [
        ("how far it covers", |value| value[7] ^= 1),
        ("what it is known by", |value| value[55] ^= 1),
        ("the last byte of the payload", |value| *value.last_mut().unwrap() ^= 1),
        ("the first byte of the payload", |value| value[88] ^= 1),
        ("the digest", |value| value[56] ^= 1),
        ("the end is missing", |value| value.truncate(90)),
        ("almost everything is missing", |value| value.truncate(50)),
    ];
    for (what, damage) in damages {
        let feed = open(&path);
        assert!(feed.put_snapshot(space(1), entity, snapshot.clone()).unwrap(), "{what}");
        assert_eq!(given(&feed), [3, 4]);
        drop(feed);
        damage_snapshot(&path, damage);
        let feed = open(&path);
        assert_eq!(feed.snapshot(space(1), entity).unwrap(), None, "{what}");
        assert_eq!(given(&feed), [1, 2, 3, 4], "{what}");
        assert_eq!(feed.drop_damaged_snapshots(space(1)).unwrap(), 1, "{what}");
        assert_eq!(feed.drop_damaged_snapshots(space(1)).unwrap(), 0, "{what}");
    }
    // One that covers nothing, or more than there is, would leave out rows or never end.
    for covers in [0, 5, u64::MAX] {
        let feed = open(&path);
        assert!(feed.put_snapshot(space(1), entity, snapshot.clone()).unwrap());
        drop(feed);
        damage_snapshot(&path, |value| value[..8].copy_from_slice(&u64::to_be_bytes(covers)));
        assert_eq!(given(&open(&path)), [1, 2, 3, 4], "covers {covers}");
        damage_snapshot(&path, |value| value.truncate(50));
    }
    // One that covers less than a damaged one is better than none.
    let feed = open(&path);
    assert!(feed.put_snapshot(space(1), entity, snapshot.clone()).unwrap());
    drop(feed);
    damage_snapshot(&path, |value| value[90] ^= 1);
    let feed = open(&path);
    let earlier = FeedSnapshot { covers: Seq::new(2), ..snapshot };
    assert!(feed.put_snapshot(space(1), entity, earlier.clone()).unwrap());
    assert_eq!(feed.snapshot(space(1), entity).unwrap(), Some(earlier));
    assert_eq!(feed.drop_damaged_snapshots(space(1)).unwrap(), 0);
}
