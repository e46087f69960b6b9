//! A relay whose disk has damaged a change.

use std::path::Path;

use headwater::{Map, Replica, Value};
use headwater_relay::admin::{self, Reply, Request};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::running::{Relay, SPACE, assert_equal, open_feed, sync};

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

#[tokio::test(flavor = "multi_thread")]
async fn any_damaged_change_of_a_relay_comes_back_from_a_replica() {
    // Would lose it for every device that comes later, in silence, although others still hold it.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let [a, b] = ["a", "b"].map(|name| Replica::open(folder.join(name)).unwrap());
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let relay = Relay::start(folder).await;
    for name in ["Guji", "Kochere"] {
        let bag = bags.insert(Map::from([("name".into(), Value::from(name))])).unwrap();
        bags.set(bag.id, Map::from([("rating".into(), Value::Int(4))])).unwrap();
    }
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    // What the relay has not examined when a row is damaged, it takes for harmful.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    relay.stop().await;
    drop(open_feed(folder).await);
    let whole = folder.join("whole.redb");
    std::fs::copy(folder.join("feed.redb"), &whole).unwrap();
    let keys = rows(&whole);
    assert_eq!(keys.len(), 4);
    for (number, key) in keys.iter().enumerate() {
        drop(open_feed(folder).await);
        std::fs::copy(&whole, folder.join("feed.redb")).unwrap();
        flip_last_byte(&folder.join("feed.redb"), key);
        let socket = folder.join(admin::SOCKET);
        let relay = Relay::start_with(folder, |config| config.admin_socket = Some(socket)).await;
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
