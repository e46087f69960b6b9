//! A relay that comes back with less than it acknowledged.

use headwater::replica::MergeRequest;
use headwater::{Direction, Replica, SyncOptions};
use headwater_storage::{PageLimit, Position, Seq};

use crate::running::{Relay, SPACE, assert_equal, numbered, read_feed, space, sync};

/// Every change that a replica holds is in the feed of a stopped relay.
async fn assert_feed_holds(directory: &std::path::Path, replica: &Replica) {
    let feed: std::collections::HashSet<_> =
        read_feed(directory).await.into_iter().map(|record| (record.entity, record.hash)).collect();
    for position in replica.entity_positions(space(), None, usize::MAX).unwrap() {
        for (hash, _) in replica.entity_changes(space(), position.entity).unwrap() {
            assert!(feed.contains(&(position.entity, hash)), "a change of {} is not back", position.entity);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_restored_from_an_older_copy_gets_back_what_it_lacks() {
    // Would lose everything since the backup, or skip what others wrote under seqs that are used a second time.
    let directory = tempfile::tempdir().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let [on_a, on_b, on_c] = [&a, &b, &c].map(|replica| replica.space(SPACE).dynamic("lists").unwrap());
    let relay = Relay::start(directory.path()).await;
    let ids: Vec<_> = (0..20).map(|number| on_a.insert(numbered(number)).unwrap().id).collect();
    for replica in [&a, &b] {
        sync(replica, &relay).await;
    }
    relay.stop().await;
    drop(crate::running::open_feed(directory.path()).await);
    let (live, backup) = (directory.path().join("feed.redb"), directory.path().join("backup.redb"));
    std::fs::copy(&live, &backup).unwrap();

    let relay = Relay::start(directory.path()).await;
    for (number, id) in ids.iter().enumerate().take(10) {
        let on = if number % 2 == 0 { &on_a } else { &on_b };
        on.set(*id, numbered(100)).unwrap();
    }
    for number in 0..5 {
        on_a.insert(numbered(200 + number)).unwrap();
        on_b.insert(numbered(300 + number)).unwrap();
    }
    for replica in [&a, &b, &a] {
        sync(replica, &relay).await;
    }
    assert_equal(&a, &b);
    relay.stop().await;
    drop(crate::running::open_feed(directory.path()).await);
    std::fs::rename(&backup, &live).unwrap();

    let relay = Relay::start(directory.path()).await;
    // Someone new writes first, so that the seqs that a and b know are used for something else.
    sync(&c, &relay).await;
    for id in &ids {
        on_c.set(*id, numbered(400)).unwrap();
    }
    sync(&c, &relay).await;
    // And a has something that no relay has seen yet.
    on_a.set(ids[0], [("note".to_owned(), "offline".into())].into()).unwrap();
    on_a.insert(numbered(500)).unwrap();
    for replica in [&a, &b, &c, &a, &d] {
        assert_eq!(sync(replica, &relay).await.rejected, 0);
    }
    for replica in [&b, &c, &d] {
        assert_equal(&a, replica);
    }
    assert_eq!(on_a.iter().count(), 31);
    assert_eq!(a.space(SPACE).pending().unwrap(), 0);
    relay.stop().await;
    assert_feed_holds(directory.path(), &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_and_empty_relay_gets_everything_from_a_replica() {
    // Would make losing the relay's disk mean losing the data that is on every device.
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    let relay = Relay::start(&old).await;
    for number in 0..300 {
        let id = lists.insert(numbered(number)).unwrap().id;
        if number % 3 == 0 {
            lists.set(id, numbered(-1 - number)).unwrap();
        }
    }
    sync(&a, &relay).await;
    relay.stop().await;

    let relay = Relay::start(&new).await;
    assert_eq!(sync(&a, &relay).await.pushed, 400);
    assert_eq!(sync(&b, &relay).await.pulled, 400);
    assert_equal(&a, &b);
    relay.stop().await;
    assert_feed_holds(&new, &a).await;
}

async fn push_only(replica: &Replica, relay: &Relay) {
    let mut options = SyncOptions::new([space()]);
    options.direction = Direction::Push;
    assert_eq!(replica.sync(&relay.url(), options).await.unwrap().pushed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_relay_gets_what_a_device_had_only_pushed() {
    // Would lose an acknowledged change for everybody else, and block each later edit of its entity for ever.
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    let relay = Relay::start(&old).await;
    // With a change of someone else before it, the acknowledgement cannot move the position.
    b.space(SPACE).dynamic("lists").unwrap().insert(numbered(0)).unwrap();
    sync(&b, &relay).await;
    let id = lists.insert(numbered(1)).unwrap().id;
    push_only(&a, &relay).await;
    relay.stop().await;

    let relay = Relay::start(&new).await;
    lists.set(id, numbered(2)).unwrap();
    for replica in [&a, &b, &a] {
        sync(replica, &relay).await;
    }
    assert_equal(&a, &b);
    relay.stop().await;
    assert_feed_holds(&new, &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_relay_gets_what_a_device_had_pushed_beyond_its_position() {
    // Would lose an acknowledged change for everybody else, although the device that made it still has it.
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("relay");
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    let relay = Relay::start(&data).await;
    lists.insert(numbered(1)).unwrap();
    sync(&a, &relay).await;
    relay.stop().await;
    drop(crate::running::open_feed(&data).await);
    let (live, backup) = (data.join("feed.redb"), data.join("backup.redb"));
    std::fs::copy(&live, &backup).unwrap();

    let relay = Relay::start(&data).await;
    // With a change of someone else before it, the acknowledgement cannot move the position.
    b.space(SPACE).dynamic("lists").unwrap().insert(numbered(0)).unwrap();
    sync(&b, &relay).await;
    lists.insert(numbered(2)).unwrap();
    push_only(&a, &relay).await;
    relay.stop().await;
    drop(crate::running::open_feed(&data).await);
    std::fs::rename(&backup, &live).unwrap();

    let relay = Relay::start(&data).await;
    for replica in [&a, &b, &a] {
        sync(replica, &relay).await;
    }
    assert_equal(&a, &b);
    relay.stop().await;
    assert_feed_holds(&data, &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_catch_up_that_broke_off_does_not_go_on_in_another_feed() {
    // Would leave a device without some of the entities for ever, while it reports that it is up to date.
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    let [a, b, c] = ["a", "b", "c"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    for (replica, data) in [(&a, &old), (&c, &new)] {
        let lists = replica.space(SPACE).dynamic("lists").unwrap();
        for number in 0..40 {
            lists.insert(numbered(number)).unwrap();
        }
        let relay = Relay::start(data).await;
        sync(replica, &relay).await;
        relay.stop().await;
    }
    // Half of the old feed, as a page of a first catch-up brings it.
    let limit = PageLimit { entries_max: 20, bytes_max: usize::MAX };
    let page = crate::running::open_feed(&old).await.read_by_entity(space(), Seq::ZERO, None, limit).unwrap();
    let position = Some(Position { watermark: None, cursor: page.cursor });
    let records = page.rows.into_iter().map(|row| row.record).collect();
    assert_eq!(b.merge(space(), MergeRequest { records, position }).unwrap().applied, 20);

    let relay = Relay::start(&new).await;
    for replica in [&b, &c, &b] {
        sync(replica, &relay).await;
    }
    // 40 of the new feed, and the 20 that only b has left of the old one.
    assert_eq!(b.entity_positions(space(), None, usize::MAX).unwrap().len(), 60);
    assert_equal(&b, &c);
    relay.stop().await;
}
