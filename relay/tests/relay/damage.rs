//! A relay whose disk has damaged a change.

use std::path::Path;
use std::time::{Duration, Instant};

use headwater::{Map, Replica, SyncOptions, Value};
use headwater_relay::admin::{self, Reply, Request};
use headwater_storage::Seq;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::running::{PATIENCE, Relay, SPACE, assert_equal, open_feed, space, sync};

/// As in `storage/src/feed/redb/tables.rs`: the payload comes last.
const FEED: TableDefinition<&[u8; 12], &[u8]> = TableDefinition::new("feed_v1");

fn rows(path: &Path) -> Vec<[u8; 12]> {
    let database = Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(FEED).unwrap();
    table.iter().unwrap().map(|row| *row.unwrap().0.value()).collect()
}

fn flip_last_byte(path: &Path, key: &[u8; 12]) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(FEED).unwrap();
        let mut value = table.get(key).unwrap().unwrap().value().to_vec();
        *value.last_mut().unwrap() ^= 1;
        table.insert(key, value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

async fn verify(folder: &Path) -> (u64, usize, usize) {
    let reply = admin::ask(folder, &Request::Verify, async || Err("the relay runs".into())).await.unwrap();
    let Reply::Verified { rows, damaged, broken, .. } = reply else { panic!("{reply:?}") };
    (rows, damaged.len(), broken.len())
}

/// The four changes of two bags, which two replicas and a relay that has stopped hold. Returns the replicas, and the keys of the rows.
async fn four_rows(folder: &Path) -> ([Replica; 2], Vec<[u8; 12]>) {
    let [a, b] = ["a", "b"].map(|name| Replica::open(folder.join(name)).unwrap());
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let relay = Relay::start(folder).await;
    for name in ["Guji", "Kochere"] {
        let bag = bags.insert(Map::from([("name".into(), Value::from(name))])).unwrap();
        bags.set(bag.id, Map::from([("rating".into(), Value::Int(4))])).unwrap();
    }
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    relay.stop().await;
    drop(open_feed(folder).await);
    std::fs::copy(folder.join("feed.redb"), folder.join("whole.redb")).unwrap();
    let keys = rows(&folder.join("whole.redb"));
    assert_eq!(keys.len(), 4);
    ([a, b], keys)
}

/// A relay on the feed as it was, but for one row.
async fn start_damaged(folder: &Path, key: &[u8; 12], examined: Examined) -> Relay {
    drop(open_feed(folder).await);
    std::fs::copy(folder.join("whole.redb"), folder.join("feed.redb")).unwrap();
    flip_last_byte(&folder.join("feed.redb"), key);
    let feed = open_feed(folder).await;
    let done = match examined {
        Examined::Before => Seq::new(4),
        Examined::After => Seq::ZERO,
    };
    feed.set_progress(space(), "examiner", done).unwrap();
    drop(feed);
    let socket = folder.join(admin::SOCKET);
    Relay::start_with(folder, |config| config.admin_socket = Some(socket)).await
}

/// Whether the relay has built the entities before the row was damaged, or does so after it.
#[derive(Clone, Copy)]
enum Examined {
    Before,
    After,
}

#[tokio::test(flavor = "multi_thread")]
async fn any_damaged_change_of_a_relay_comes_back_from_a_replica() {
    // Would lose it for every device that comes later, in silence, although others still hold it.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let ([a, b], keys) = four_rows(folder).await;
    for (number, key) in keys.iter().enumerate() {
        let relay = start_damaged(folder, key, Examined::Before).await;
        assert_eq!(verify(folder).await, (4, 1, 0), "row {number}");
        // Found once is enough, and who comes now gets all that is whole.
        assert_eq!(verify(folder).await, (5, 1, 0), "row {number}");
        let early = Replica::open(folder.join(format!("early{number}"))).unwrap();
        sync(&early, &relay).await;
        // Whoever holds it gives it back.
        sync(&b, &relay).await;
        let (rows, damaged, broken) = verify(folder).await;
        assert_eq!((damaged, broken), (0, 0), "row {number}, {rows} rows");
        let late = Replica::open(folder.join(format!("late{number}"))).unwrap();
        for replica in [&early, &late, &a, &b] {
            sync(replica, &relay).await;
            assert_equal(replica, &a);
        }
        // An edit on top still reaches everybody.
        sync(&early, &relay).await;
        assert_equal(&early, &late);
        relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_damaged_before_it_was_examined_is_lost_and_not_harmful() {
    // Would put it into quarantine, where no replica is asked for it, and tell its author that it was at fault.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let ([a, b], keys) = four_rows(folder).await;
    for (number, key) in keys.iter().enumerate() {
        let relay = start_damaged(folder, key, Examined::After).await;
        // Nobody walks the feed: the examiner finds it by itself.
        let deadline = Instant::now() + PATIENCE;
        for tries in 0.. {
            sync(&b, &relay).await;
            let late = Replica::open(folder.join(format!("late{number}-{tries}"))).unwrap();
            // One that comes too early may be given the damaged row, and refuses it.
            let came = late.sync(&relay.url(), SyncOptions::new([space()])).await.is_ok();
            if came
                && late.entity_positions(space(), None, 9).unwrap()
                    == a.entity_positions(space(), None, 9).unwrap()
            {
                assert_equal(&late, &a);
                break;
            }
            assert!(Instant::now() < deadline, "row {number} does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let listed = admin::ask(folder, &Request::List, async || Err("the relay runs".into())).await.unwrap();
        let Reply::Listed(listed) = listed else { panic!("{listed:?}") };
        assert!(listed.is_empty(), "row {number}: {listed:?}");
        assert_eq!(verify(folder).await, (6, 0, 0), "row {number}: one verdict, and the change again");
        relay.stop().await;
    }
}
