//! One id that two devices gave in two collections.

use headwater::wire::ErrorCode;
use headwater::{AsideCause, EntityId, ReceiptError, Replica};

use crate::running::{Relay, SPACE, assert_equal, numbered, sync};

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_takes_the_first_collection_and_everybody_agrees() {
    // Would show one id in one collection here and in another there, or lose a record without a word.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b, c] = ["a", "b", "c"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let id = EntityId::from_bytes([7; 16]);
    let named = |replica: &Replica, name: &str| replica.space(SPACE).dynamic(name).unwrap();
    named(&a, "bags").upsert(id, numbered(1)).unwrap();
    let cup = named(&b, "cups").upsert(id, numbered(2)).unwrap();
    named(&b, "cups").set(id, numbered(3)).unwrap();
    let other = named(&b, "cups").insert(numbered(4)).unwrap();
    assert_eq!(sync(&a, &relay).await.pushed, 1);
    sync(&b, &relay).await;
    assert!(other.receipt.is_on_relay().unwrap(), "the others pass it by");
    let Err(ReceiptError::Refused(reason)) = cup.is_on_relay() else { panic!("it is taken for delivered") };
    assert_eq!(reason.code, ErrorCode::WrongCollection.number());
    let aside = b.space(SPACE).set_aside().unwrap();
    assert_eq!(aside.len(), 2);
    assert!(aside.iter().all(|aside| aside.direction == AsideCause::OtherCollection), "{aside:?}");
    let again = b.space(SPACE).reapply(id, aside[0].record.hash).unwrap();
    let new = again.entities().next().unwrap();
    for replica in [&b, &a, &c, &b] {
        sync(replica, &relay).await;
    }
    for replica in [&a, &b, &c] {
        assert_eq!(named(replica, "bags").get(id).unwrap().unwrap().fields, numbered(1));
        assert!(!named(replica, "cups").exists(id).unwrap());
        assert_eq!(named(replica, "cups").get(new).unwrap().unwrap().fields, numbered(3));
    }
    assert_equal(&a, &b);
    assert_equal(&a, &c);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_two_relays_agree_with_the_relay_that_they_meet() {
    // Would leave two devices apart for ever, or comparing for ever, once their relay is another one.
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, second) = (Relay::start(one.path()).await, Relay::start(two.path()).await);
    let [a, b] = ["a", "b"].map(|name| Replica::open(one.path().join(name)).unwrap());
    let id = EntityId::from_bytes([7; 16]);
    let named = |replica: &Replica, name: &str| replica.space(SPACE).dynamic(name).unwrap();
    named(&a, "bags").upsert(id, numbered(1)).unwrap();
    named(&b, "cups").upsert(id, numbered(2)).unwrap();
    sync(&a, &first).await;
    sync(&b, &second).await;
    // The first one is given up: its device compares with the other.
    sync(&a, &second).await;
    for replica in [&a, &b] {
        assert_eq!(named(replica, "cups").get(id).unwrap().unwrap().fields, numbered(2));
        assert!(!named(replica, "bags").exists(id).unwrap());
    }
    assert_equal(&a, &b);
    // Who goes back, goes back whole.
    sync(&a, &first).await;
    assert_eq!(named(&a, "bags").get(id).unwrap().unwrap().fields, numbered(1));
    let edited = named(&a, "bags").set(id, numbered(5)).unwrap();
    sync(&a, &first).await;
    assert!(edited.is_on_relay().unwrap());
    first.stop().await;
    second.stop().await;
}
