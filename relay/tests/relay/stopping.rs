//! A relay that stops while it is used.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater::{ConnectOptions, Replica};

use crate::running::{PATIENCE, Relay, SPACE, assert_equal, numbered, read_feed, space, sync};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_keeps_what_it_acknowledged_and_clients_come_back() {
    // Would lose pushes at every update of the relay, or leave clients offline after it.
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("relay");
    let soon = |config: &mut headwater_relay::Config| config.session.reconnect_after_ms = 20;
    let relay = Relay::start_with(&data, soon).await;
    let address = relay.address;
    let replica = Replica::open(directory.path().join("a")).unwrap();
    let connection = replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (receipts, mut written) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::task::spawn_blocking({
        let (replica, stop) = (replica.clone(), Arc::clone(&stop));
        move || {
            let lists = replica.space(SPACE).dynamic("lists").unwrap();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                receipts.send(lists.insert(numbered(number)).unwrap()).unwrap();
            }
        }
    });
    let mut waiting = Vec::new();
    let mut acknowledged = HashSet::new();
    for _ in 0..100 {
        let written = written.recv().await.unwrap();
        tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
        acknowledged.insert(written.id);
    }
    // Writing goes on while the relay stops.
    relay.stop().await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    while let Some(written) = written.recv().await {
        if written.receipt.is_on_relay().unwrap() {
            acknowledged.insert(written.id);
        } else {
            waiting.push(written);
        }
    }
    let stored: HashSet<_> = read_feed(&data).await.into_iter().map(|record| record.entity).collect();
    assert!(acknowledged.is_subset(&stored), "acknowledged and gone");

    let relay = Relay::start_at(address, &data, soon).await;
    for written in &waiting {
        tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
    }
    connection.sync_now().await.unwrap();
    connection.disconnect().await;
    let fresh = Replica::open(directory.path().join("b")).unwrap();
    sync(&fresh, &relay).await;
    assert_equal(&replica, &fresh);
    relay.stop().await;
    assert_eq!(read_feed(&data).await.len(), acknowledged.len() + waiting.len());
}
