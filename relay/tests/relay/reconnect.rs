//! What a connection costs when little or nothing has changed.

use headwater::wire::Frame;
use headwater::{EntityId, Replica, SyncOptions};

use crate::running::{Relay, SPACE, assert_equal, numbered, space, sync, until};
use crate::sniffer::{From, Sniffer, round_trips};

const ENTITIES: u128 = 10_000;
const CHANGED: u128 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_costs_what_has_changed_and_not_what_is_there() {
    // Would make every start of an app cost time and traffic in proportion to everything it holds.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let on_a = a.space(SPACE).dynamic("lists").unwrap();
    let id = |number: u128| EntityId::from_bytes(number.to_be_bytes());
    on_a.upsert_all((0..ENTITIES).map(|number| (id(number), numbered(number as i64)))).unwrap();
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    // Opened again, so that no document is in memory that would hide a load.
    drop(b);
    let b = Replica::open(directory.path().join("b")).unwrap();
    let sniffer = Sniffer::start(relay.address).await;

    let report = b.sync(&sniffer.url(), SyncOptions::new([space()])).await.unwrap();
    until_goodbye(&sniffer).await;
    let passed = sniffer.take();
    assert_eq!(round_trips(&passed), 1, "{passed:?}");
    let bytes: usize = passed.iter().map(|passed| passed.bytes).sum();
    assert!(bytes < 1024, "{bytes} bytes");
    assert!(report.bytes_sent + report.bytes_received <= bytes as u64);
    assert_eq!((report.pushed, report.pulled, b.documents_loaded()), (0, 0, 0));
    println!("nothing changed among {ENTITIES}: {bytes} bytes in {} frames", passed.len());

    for number in 0..CHANGED {
        on_a.set(id(number * 97), numbered(-1)).unwrap();
    }
    // A push has to wait for the answer to its opening, so the count is not always one.
    a.sync(&sniffer.url(), SyncOptions::new([space()])).await.unwrap();
    until_goodbye(&sniffer).await;
    assert_eq!(round_trips(&sniffer.take()), 2);
    let report = b.sync(&sniffer.url(), SyncOptions::new([space()])).await.unwrap();
    until_goodbye(&sniffer).await;
    let passed = sniffer.take();
    let entries: usize = passed
        .iter()
        .filter_map(|passed| match (&passed.frame, passed.from) {
            (Frame::Changes(changes), From::Relay) => Some(changes.entries.len()),
            _ => None,
        })
        .sum();
    let bytes: usize = passed.iter().map(|passed| passed.bytes).sum();
    assert_eq!((report.pulled, entries as u128), (CHANGED as u64, CHANGED));
    assert!(bytes < CHANGED as usize * 400, "{bytes} bytes");
    assert_eq!(u128::from(b.documents_loaded()), CHANGED);
    println!("{CHANGED} changed: {bytes} bytes, {} round trips", round_trips(&passed));
    assert_equal(&a, &b);
    relay.stop().await;
}

/// The client may have its report before its last frame has passed.
async fn until_goodbye(sniffer: &Sniffer) {
    until("the client says goodbye", || sniffer.has(|passed| matches!(passed.frame, Frame::Bye(_)))).await;
}
