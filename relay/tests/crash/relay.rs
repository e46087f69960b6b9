//! The relay dies during pushes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::{ConnectOptions, EntityId, Map, Receipt, Replica, SpaceId, SyncOptions, Value};
use tokio::sync::mpsc;

use crate::feed::{open_feed, read_feed};
use crate::kills::{kills, varied};
use crate::process::RelayProcess;

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
        let feed = read_feed(&open_feed(&data), space());
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
    let feed = read_feed(&open_feed(&data), space());
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
