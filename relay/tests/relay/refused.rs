//! A change that the relay does not take.

use headwater::wire::ErrorCode;
use headwater::{ConnectOptions, Map, ReceiptError, Replica, Value};
use headwater_storage::Direction;

use crate::running::{PATIENCE, Relay, SPACE, numbered, space, sync};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_is_set_aside_and_blocks_nothing_else() {
    // Would stop a device's sync for ever at the first change that the relay does not take.
    let directory = tempfile::tempdir().unwrap();
    let relay =
        Relay::start_with(directory.path(), |config| config.session.limits.change.change_bytes_max = 10_000)
            .await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    let before = lists.insert(numbered(1)).unwrap();
    let large = lists.insert(Map::from([("text".into(), Value::Str("x".repeat(20_000)))])).unwrap();
    let after = lists.insert(numbered(2)).unwrap();
    let connection = a.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    for written in [&before, &after] {
        tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
    }
    let refused = tokio::time::timeout(PATIENCE, large.receipt.on_relay()).await.unwrap();
    let Err(ReceiptError::Refused(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason.code, ErrorCode::ChangeTooLarge.number());
    let aside = a.space(SPACE).set_aside().unwrap();
    assert_eq!((aside.len(), aside[0].direction, aside[0].record.entity), (1, Direction::Refused, large.id));
    // It stays on this device, and later edits of others pass it by.
    assert!(lists.get(large.id).unwrap().is_some());
    let later = lists.insert(numbered(3)).unwrap();
    tokio::time::timeout(PATIENCE, later.receipt.on_relay()).await.unwrap().unwrap();
    connection.disconnect().await;
    assert_eq!(sync(&b, &relay).await.pulled, 3);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_an_entity_whose_change_was_refused_does_not_block_a_sync() {
    // Would leave every later sync of the device hanging or failing, because such an edit can never go.
    let directory = tempfile::tempdir().unwrap();
    let relay =
        Relay::start_with(directory.path(), |config| config.session.limits.change.change_bytes_max = 10_000)
            .await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    let large = lists.insert(Map::from([("text".into(), Value::Str("x".repeat(20_000)))])).unwrap();
    assert_eq!(sync(&a, &relay).await.rejected, 1);
    lists.set(large.id, numbered(1)).unwrap();
    let other = lists.insert(numbered(2)).unwrap();
    let report = tokio::time::timeout(PATIENCE, sync(&a, &relay)).await.unwrap();
    assert_eq!(report.pushed, 1);
    assert!(other.receipt.is_on_relay().unwrap());
    let on_b = b.space(SPACE).dynamic("lists").unwrap();
    sync(&b, &relay).await;
    on_b.set(other.id, numbered(3)).unwrap();
    sync(&b, &relay).await;
    assert_eq!(sync(&a, &relay).await.pulled, 1);
    assert_eq!(lists.get(other.id).unwrap(), on_b.get(other.id).unwrap());
    relay.stop().await;
}
