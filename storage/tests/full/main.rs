//! A feed on a disk that is really full: it goes on giving out what it has, and takes more once there is room.
//!
//! Where no small disk can be mounted, this is skipped with a line that says so.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod tmpfs;

use headwater_storage::testing::Dice;
use headwater_storage::{
    Append, AppendError, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry,
    FeedEpoch, FeedStore, NewFeed, PageLimit, PayloadKind, Placement, RedbFeed, Seq, SpaceId, StoreError,
    WriterLimits,
};

use self::tmpfs::Tmpfs;

const DISK_BYTES: usize = 12 << 20;
const BLOCK_BYTES: usize = 4096;
const ROUNDS: u64 = 20;

/// Would lose what was acknowledged before the disk was full, keep readers from it, or take nothing more until a restart.
#[tokio::test]
async fn a_feed_on_a_full_disk_goes_on_by_itself() {
    let Some(disk) = Tmpfs::mount(DISK_BYTES) else { return };
    let path = disk.path().join("feed");
    let feed = RedbFeed::open(&path, NewFeed { created_ms: 1 }).unwrap();
    let (elsewhere, store) = (feed.clone(), FeedStore::redb(feed, WriterLimits::default()).unwrap());
    let mut dice = Dice::new(1);
    let (mut number, mut refused, mut acknowledged) = (0, 0, Vec::new());
    for round in 0..ROUNDS {
        disk.fill_but((1 + dice.below(120) as usize) * BLOCK_BYTES);
        loop {
            number += 1;
            match store.append(append(number, dice.below(100_000) as usize)).await {
                Ok(appended) => acknowledged.push((number, appended.placements()[0].clone())),
                Err(AppendError::Store(StoreError::Io(_))) => break,
                Err(other) => panic!("round {round}: not a full disk: {other:?}"),
            }
        }
        refused += 1;
        // A disk that is still full, and all handles: what is there can be read.
        assert_holds(&elsewhere, &acknowledged);
        assert_eq!(store.head(space()).await.unwrap(), elsewhere.head(space()).unwrap());
        disk.make_room();
        // The refused one again, as a device does: it takes its place, or is known to have it.
        let again = store.append(append(number, 10)).await.unwrap();
        acknowledged.push((number, again.placements()[0].clone()));
        assert_holds(&elsewhere, &acknowledged);
        if acknowledged.len() > 150 {
            break;
        }
    }
    drop((store, elsewhere));
    assert_holds(&RedbFeed::open(&path, NewFeed { created_ms: 1 }).unwrap(), &acknowledged);
    println!("{refused} times full, {} changes acknowledged, 0 lost", acknowledged.len());
}

/// Would leave half a store under the name, or a leftover that takes the little room there is.
#[test]
fn a_creation_on_a_full_disk_works_once_there_is_room() {
    let Some(disk) = Tmpfs::mount(DISK_BYTES) else { return };
    let path = disk.path().join("feed");
    let mut refused = 0;
    for blocks in 0..60 {
        disk.fill_but(blocks * BLOCK_BYTES);
        let opened = RedbFeed::open(&path, NewFeed { created_ms: 1 }).map(drop);
        disk.make_room();
        if opened.is_ok() {
            break;
        }
        refused += 1;
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0, "{blocks} blocks: something is left");
    }
    assert!(refused > 0);
    drop(RedbFeed::open(&path, NewFeed { created_ms: 2 }).unwrap());
    println!("{refused} creations without room, 0 leftovers");
}

fn space() -> SpaceId {
    SpaceId::from_bytes([1; 16])
}

fn hash(number: u64) -> ChangeHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ChangeHash::from_bytes(bytes)
}

fn append(number: u64, len: usize) -> Append {
    let record = ChangeRecord {
        entity: EntityId::from_bytes([number as u8 % 7; 16]),
        collection: CollectionName::new("photos").unwrap(),
        kind: PayloadKind::Change,
        hash: hash(number),
        payload: Bytes::from(vec![number as u8; len]),
    };
    Append {
        space: space(),
        origin: DeviceId::from_bytes([2; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 1,
        epoch_if_new: FeedEpoch::from_bytes([3; 16]),
        entries: vec![FeedEntry::new(record, vec![])],
    }
}

/// Every acknowledged change is at its place, and the chain is whole.
fn assert_holds(feed: &RedbFeed, acknowledged: &[(u64, Placement)]) {
    let limit = PageLimit { entries_max: 10_000, bytes_max: 1 << 30 };
    let Some(head) = feed.head(space()).unwrap() else { return assert!(acknowledged.is_empty()) };
    let rows = feed.read_by_seq(space(), Seq::ZERO, limit).unwrap().rows;
    assert_eq!(rows.len() as u64, head.seq.get());
    for (number, placement) in acknowledged {
        let (Placement::Accepted(seq) | Placement::Duplicate(seq)) = placement else {
            panic!("not placed: {placement:?}")
        };
        assert_eq!(rows[seq.get() as usize - 1].record.hash, hash(*number));
    }
    assert_eq!(feed.verify_chain(space(), Seq::ZERO, 10_000).unwrap(), None);
}
