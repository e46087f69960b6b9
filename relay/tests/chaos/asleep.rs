//! A relay that sleeps for longer than a client waits, and then goes on with everything that had arrived meanwhile.

use std::time::{Duration, Instant};

use headwater::{ConnectOptions, EntityId, Map, Replica, SpaceId, SyncError, SyncOptions, Value};

use crate::feed::{open_feed, read_feed};
use crate::held;
use crate::kills::{kills, varied};
use crate::process::RelayProcess;

const SPACE: &str = "home";
const COLLECTION: &str = "lists";
/// How long a round may take while the relay may be asleep.
const TIMEOUT: Duration = Duration::from_millis(200);
/// What a round may take on top of its timeout, on a busy machine.
const SLACK: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_sleeps_for_longer_than_clients_wait_loses_and_doubles_nothing() {
    // Would lose or double what the clients had sent before they gave up, or hold an app up for as long as the relay sleeps.
    let started = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("relay");
    let mut relay = RelayProcess::start(&data);
    let [a, live] = ["a", "live"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    // Its socket stays open through all of it.
    let connection = live.connect(&relay.url, ConnectOptions::new([space()])).unwrap();
    let (mut slept_through, mut written) = (0, 0);
    for round in 0..kills() {
        written += write(&a, round, 40);
        write(&live, round, 3);
        let syncing = tokio::spawn({
            let (a, url) = (a.clone(), relay.url.clone());
            async move { a.sync(&url, within(TIMEOUT)).await }
        });
        // Somewhere in the conversation, or before it, or just after it.
        tokio::time::sleep(Duration::from_micros(varied(round, 25_000))).await;
        relay.pause();
        let asleep = Instant::now();
        match syncing.await.unwrap() {
            Ok(_) => {}
            Err(SyncError::TimedOut) => slept_through += 1,
            Err(error) => panic!("sleep {round}: {error:?}"),
        }
        // The system still takes connections for it.
        written += write(&a, round + 1_000, 5);
        write(&live, round + 1_000, 3);
        let again = a.sync(&relay.url, within(TIMEOUT)).await;
        assert_eq!(again.unwrap_err(), SyncError::TimedOut, "sleep {round}");
        let mut connecting = within(DEADLINE);
        connecting.connect_timeout = TIMEOUT;
        let unreachable = a.sync(&relay.url, connecting).await.unwrap_err();
        assert!(matches!(unreachable, SyncError::Unreachable(_)), "sleep {round}: {unreachable:?}");
        assert!(asleep.elapsed() < 3 * TIMEOUT + SLACK, "sleep {round}: waited for {:?}", asleep.elapsed());

        relay.resume();
        // At the same time as the relay works through what the clients that gave up had sent.
        let (report, at_once) = tokio::join!(
            a.sync(&relay.url, within(DEADLINE)),
            tokio::time::timeout(DEADLINE, connection.sync_now())
        );
        assert_eq!(report.unwrap().rejected, 0, "sleep {round}");
        assert_eq!(at_once.unwrap().unwrap().rejected, 0, "sleep {round}");
        assert_eq!(a.space(SPACE).pending().unwrap(), 0, "sleep {round}");
        assert_eq!(live.space(SPACE).pending().unwrap(), 0, "sleep {round}");
    }
    connection.disconnect().await;
    let fresh = Replica::open(directory.path().join("fresh")).unwrap();
    for replica in [&a, &live, &fresh] {
        replica.sync(&relay.url, within(DEADLINE)).await.unwrap();
    }
    let all = held::changes(&fresh, space());
    for replica in [&a, &live] {
        assert!(held::changes(replica, space()) == all, "a fresh replica has other changes");
        assert!(held::records(replica, space(), COLLECTION) == held::records(&fresh, space(), COLLECTION));
    }
    relay.kill();
    assert!(read_feed(&open_feed(&data), space()) == all, "other changes in the feed");
    println!(
        "{} sleeps, {slept_through} of them in the middle of a conversation; {written} changes; {:?}",
        kills(),
        started.elapsed()
    );
}

/// Writes entities of which each has a few changes. Says how many changes there are.
fn write(replica: &Replica, round: u64, entities: u64) -> u64 {
    let lists = replica.space(SPACE).dynamic(COLLECTION).unwrap();
    let numbered = |number: u64| Map::from([("number".to_owned(), Value::Int(number as i64))]);
    let ids: Vec<EntityId> =
        (0..entities).map(|number| lists.insert(numbered(round * 1_000 + number)).unwrap().id).collect();
    lists.upsert_all(ids.iter().map(|id| (*id, numbered(round)))).unwrap();
    2 * entities
}

fn within(timeout: Duration) -> SyncOptions {
    let mut options = SyncOptions::new([space()]);
    options.timeout = timeout;
    options
}

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}
