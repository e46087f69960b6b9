//! What an app is told that a connection did: each change once, whoever sent it and whenever.

use std::path::Path;
use std::time::Duration;

use headwater::{ConnectOptions, Connection, Replica, SyncError, SyncReport};

use crate::proxy::Proxy;
use crate::running::{PATIENCE, Relay, SPACE, numbered, space, sync, until};

fn open(directory: &Path, name: &str) -> Replica {
    Replica::open(directory.join(name)).unwrap()
}

fn insert(replica: &Replica, count: i64) {
    let lists = replica.space(SPACE).dynamic("lists").unwrap();
    (0..count).for_each(|number| drop(lists.insert(numbered(number)).unwrap()));
}

fn went(report: SyncReport) -> (u64, u64) {
    (report.pushed, report.pulled)
}

fn has(replica: &Replica, count: u64) -> bool {
    let space = replica.space(SPACE);
    space.pending().unwrap() == 0 && space.dynamic("lists").unwrap().count().unwrap() == count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_right_after_connecting_tells_what_the_connection_brought() {
    // Would print "0 up, 0 down" after a first sync that moved everything, because the round before the call had done it.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    for attempt in 0..5u64 {
        let replica = open(directory.path(), &attempt.to_string());
        insert(&replica, 3);
        let connection = replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
        if attempt % 2 == 1 {
            // Or a little later, when all of it is over.
            until("it is synced", || has(&replica, 3 + 3 * attempt)).await;
        }
        assert_eq!(went(connection.sync_now().await.unwrap()), (3, 3 * attempt), "attempt {attempt}");
        assert_eq!(went(connection.sync_now().await.unwrap()), (0, 0), "it was told");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_by_itself_between_two_calls_is_in_the_second_report() {
    // Would tell an app nothing of whatever a live connection does, which is nearly everything.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| open(directory.path(), name));
    let connection = a.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    connection.sync_now().await.unwrap();
    insert(&a, 2);
    until("they are pushed", || has(&a, 2)).await;
    insert(&b, 5);
    sync(&b, &relay).await;
    until("the others arrive", || has(&a, 7)).await;
    assert_eq!(went(connection.sync_now().await.unwrap()), (2, 5));
    assert_eq!(went(connection.sync_now().await.unwrap()), (0, 0));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_the_same_time_are_told_of_each_change_once() {
    // Would count twice what two parts of an app wait for, or tell it to neither.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let a = open(directory.path(), "a");
    let connection = a.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    connection.sync_now().await.unwrap();
    for _ in 0..5 {
        insert(&a, 3);
        // Without a round under way the first call begins one, and the second call waits for the one after it.
        let (first, second) = tokio::join!(connection.sync_now(), connection.sync_now());
        assert_eq!((went(first.unwrap()), went(second.unwrap())), ((3, 0), (0, 0)));
        // A call that is given up tells nothing, or has told it.
        insert(&a, 3);
        let given_up = tokio::time::timeout(Duration::ZERO, connection.sync_now()).await;
        let told = given_up.map_or(0, |report| report.unwrap().pushed);
        assert_eq!(told + connection.sync_now().await.unwrap().pushed, 3);
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_add_up_over_reconnects() {
    // Would lose from the count what went just before a connection was cut, or count it again after it.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let proxy = Proxy::start_unarmed(relay.address).await;
    let [a, b] = ["a", "b"].map(|name| open(directory.path(), name));
    let mut options = ConnectOptions::new([space()]);
    options.backoff = headwater::Backoff::new(1, 5);
    let connection = a.connect(&proxy.url, options).unwrap();
    let (mut pushed, mut pulled) = (0, 0);
    for round in 0..20u64 {
        insert(&a, 4);
        insert(&b, 3);
        proxy.hang_up();
        sync(&b, &relay).await;
        if round % 3 == 0 {
            proxy.hang_up();
        }
        let report = synced(&connection).await;
        pushed += report.pushed;
        pulled += report.pulled;
    }
    assert_eq!((pushed, pulled), (80, 60));
    assert!(has(&a, 140));
    relay.stop().await;
}

/// The report of the first call that gets through.
async fn synced(connection: &Connection) -> SyncReport {
    let calls = async {
        loop {
            match connection.sync_now().await {
                Ok(report) => return report,
                Err(SyncError::ConnectionLost(_) | SyncError::Unreachable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, calls).await.unwrap()
}
