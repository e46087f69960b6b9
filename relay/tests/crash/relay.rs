//! The relay dies during pushes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::{ChangeHash, ConnectOptions, EntityId, Map, Receipt, Replica, SpaceId, SyncOptions, Value};
use headwater_storage::{Bytes, NewFeed, PageLimit, RedbFeed, Seq};
use tokio::sync::mpsc;

use crate::process::RelayProcess;
use crate::{kills, varied};

const SPACE: &str = "home";
/// Writers at the same time, so that pushes are always under way.
const WRITERS: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_loses_and_doubles_nothing_that_it_acknowledged() {
    // Would lose data that an app was told is safe, or hand it out twice.
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("relay");
    let replica = Replica::open(directory.path().join("a")).unwrap();
    let mut acknowledged: BTreeSet<EntityId> = BTreeSet::new();
    for round in 0..kills() {
        let mut relay = RelayProcess::start(&data);
        let connection = replica.connect(&relay.url, ConnectOptions::new([space()])).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (receipts, mut written) = mpsc::channel(64);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (replica, stop, receipts) = (replica.clone(), Arc::clone(&stop), receipts.clone());
                tokio::task::spawn_blocking(move || write(&replica, writer, &stop, &receipts))
            })
            .collect();
        drop(receipts);
        // The kill falls somewhere in the pushes after so many acknowledgements.
        let mut until_kill = 20 + varied(round, 60);
        let mut relay_lives = true;
        while let Some((entity, receipt)) = written.recv().await {
            if relay_lives {
                tokio::time::timeout(DEADLINE, receipt.on_relay()).await.unwrap().unwrap();
            } else if !receipt.is_on_relay().unwrap() {
                continue;
            }
            acknowledged.insert(entity);
            until_kill = until_kill.saturating_sub(1);
            if until_kill == 0 && relay_lives {
                relay.kill();
                relay_lives = false;
                stop.store(true, Ordering::Relaxed);
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
        connection.disconnect().await;
        let feed = read_feed(&data);
        let lost: Vec<_> = acknowledged.iter().filter(|entity| !feed.contains_key(entity)).collect();
        assert!(lost.is_empty(), "kill {round}: acknowledged and gone: {lost:?}");
    }

    // What was under way at a kill comes with the next connection, and a new device gets all of it.
    let relay = RelayProcess::start(&data);
    replica.sync(&relay.url, SyncOptions::new([space()])).await.unwrap();
    assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
    let fresh = Replica::open(directory.path().join("b")).unwrap();
    fresh.sync(&relay.url, SyncOptions::new([space()])).await.unwrap();
    let [ours, theirs] =
        [&replica, &fresh].map(|replica| replica.entity_positions(space(), None, usize::MAX).unwrap());
    assert_eq!(ours, theirs);
    drop(relay);
    let feed = read_feed(&data);
    assert_eq!(feed.len(), ours.len());
    for position in ours {
        let changes = replica.entity_changes(space(), position.entity).unwrap();
        assert_eq!(
            changes.into_iter().collect::<BTreeMap<_, _>>(),
            feed[&position.entity],
            "other bytes in the feed"
        );
    }
    println!("{} kills, {} entities acknowledged before them", kills(), acknowledged.len());
}

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn write(replica: &Replica, writer: u64, stop: &AtomicBool, receipts: &mpsc::Sender<(EntityId, Receipt)>) {
    let lists = replica.space(SPACE).dynamic("lists").unwrap();
    while !stop.load(Ordering::Relaxed) {
        let written = lists.insert(Map::from([("writer".into(), Value::from(writer))])).unwrap();
        if receipts.blocking_send((written.id, written.receipt)).is_err() {
            return;
        }
    }
}

/// What the feed of a relay that is gone holds: entity -> its changes. Fails if a seq is missing, a change is there twice, or the
/// chain of hashes does not hold.
fn read_feed(data: &Path) -> BTreeMap<EntityId, BTreeMap<ChangeHash, Bytes>> {
    let feed = RedbFeed::open(data.join("feed.redb"), NewFeed { created_ms: 0 }).unwrap();
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let page = feed.read_by_seq(space(), Seq::ZERO, limit).unwrap();
    assert_eq!(page.end, page.head);
    assert_eq!(feed.verify_chain(space(), Seq::ZERO, usize::MAX).unwrap(), None, "the chain breaks");
    let mut entities: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut expected = Seq::ZERO;
    for row in page.rows {
        expected = expected.next();
        assert_eq!(row.seq, expected, "the feed is not dense");
        let twice =
            entities.entry(row.record.entity).or_default().insert(row.record.hash, row.record.payload);
        assert_eq!(twice, None, "a change is there twice");
    }
    entities
}
