//! Getting what a replica lacks, in pages.

use headwater::sync::client::{ClientConfig, Direction, Event};
use headwater::sync::relay::RelayConfig;
use headwater::wire::Frame;

use headwater_storage::{Bytes, ChangeHash, FeedSnapshot};

use crate::pair::Pair;
use crate::records::{append, change, entity, new_feed, space};
use crate::replica::{FakeReplica, client_config};

fn small_pages() -> RelayConfig {
    RelayConfig { page_entries_max: 50, ..RelayConfig::default() }
}

fn full_feed(entities: u64, each: u64) -> headwater_storage::RedbFeed {
    let feed = new_feed();
    for number in 0..each {
        append(&feed, 5, (0..entities).map(|of| change(of, number)).collect());
    }
    feed
}

/// Would go wrong: a connection that breaks at any point makes the next one begin from nothing, or skip something.
#[test]
fn a_broken_catch_up_goes_on_where_it_stopped() {
    for pages_before in 1..8 {
        let replica = FakeReplica::default();
        let config = client_config(&replica);
        let mut pair = Pair::with(full_feed(80, 5), replica, config, small_pages());
        while pair.replica.merges < pages_before {
            pair.now += 1;
            pair.step();
        }
        let had = pair.replica.changes.len();
        let feed = pair.feed.clone();
        let replica = std::mem::take(&mut pair.replica);
        let config = client_config(&replica);
        let mut pair = Pair::with(feed, replica, config, small_pages());
        pair.run();
        assert_eq!(pair.report(), Some((0, 400 - had as u64, 0)), "nothing comes twice");
        pair.assert_even();
    }
}

/// Would go wrong: someone who is a little behind pays for a walk over all entities, or someone far behind gets overwritten
/// history in feed order.
#[test]
fn far_behind_is_by_entity_and_a_little_behind_is_by_seq() {
    for (behind, by_seq) in [(255, true), (256, true), (257, false)] {
        let mut pair = Pair::new(full_feed(behind, 1), FakeReplica::default());
        pair.run();
        let first = pair.from_relay.iter().find_map(|(frame, _)| match frame {
            Frame::Changes(changes) => Some(changes.first.is_some()),
            _ => None,
        });
        assert_eq!(first, Some(by_seq), "{behind} behind");
        pair.assert_even();
    }
}

/// Would go wrong: what is appended while pages are read is lost between the last page and the first live frame.
#[test]
fn appends_during_a_catch_up_are_not_lost() {
    let replica = FakeReplica::default();
    let config = client_config(&replica);
    let mut pair = Pair::with(full_feed(60, 10), replica, config, small_pages());
    for number in 0..2_000 {
        pair.now += 1;
        pair.step();
        if number % 7 == 0 && number < 300 {
            pair.others_append(vec![change(number, 99)]);
        }
    }
    pair.run();
    pair.assert_even();
}

/// Would go wrong: progress that runs backwards or never reaches its end.
#[test]
fn progress_grows_to_its_end() {
    let replica = FakeReplica::default();
    let config = client_config(&replica);
    let mut pair = Pair::with(full_feed(300, 2), replica, config, small_pages());
    pair.run();
    let progress: Vec<(u64, u64)> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Progress { done, total, .. } => Some((*done, *total)),
            _ => None,
        })
        .collect();
    assert!(progress.len() > 5);
    assert!(progress.windows(2).all(|pair| pair[0].0 < pair[1].0), "{progress:?}");
    assert_eq!(progress.last(), Some(&(600, 600)));
}

/// Would go wrong: progress that jumps from its beginning to its end, because a snapshot counts as one change.
#[test]
fn a_snapshot_counts_for_the_changes_that_it_stands_for() {
    let feed = full_feed(60, 10);
    for of in 0..60 {
        let (covers, _) = feed.entity(space(), entity(of)).unwrap().unwrap();
        let (hash, payload) = (ChangeHash::from_bytes([of as u8; 32]), Bytes::from_static(b"document"));
        let snapshot = FeedSnapshot { covers, changes: 10, changes_bytes: 1_000, hash, payload };
        assert!(feed.put_snapshot(space(), entity(of), snapshot).unwrap());
    }
    let replica = FakeReplica::default();
    let config = client_config(&replica);
    let mut pair = Pair::with(feed, replica, config, small_pages());
    pair.run();
    let pages: Vec<(usize, u64)> = pair
        .from_relay
        .iter()
        .filter_map(|(frame, _)| match frame {
            Frame::Changes(changes) => Some((changes.entries.len(), changes.remaining)),
            _ => None,
        })
        .collect();
    assert_eq!(pages, [(50, 100), (10, 0)]);
}

/// Would go wrong: a client that only wants to push has to take the whole feed first.
#[test]
fn push_only_pulls_nothing_and_pull_only_pushes_nothing() {
    for direction in [Direction::Push, Direction::Pull] {
        let mut replica = FakeReplica::default();
        replica.write(change(1_000, 0));
        let config = ClientConfig { direction, ..client_config(&replica) };
        let mut pair = Pair::with(full_feed(10, 1), replica, config, RelayConfig::default());
        pair.run();
        let (expected, in_feed) =
            if direction == Direction::Push { ((1, 0, 0), 11) } else { ((0, 10, 0), 10) };
        assert_eq!(pair.report(), Some(expected));
        assert_eq!(pair.feed_rows().len(), in_feed);
    }
}

/// Would go wrong: a cursor from before an update of the relay blocks a replica for good.
#[test]
fn a_cursor_that_is_of_no_use_does_not_stop_the_replica() {
    let mut pair = Pair::new(full_feed(300, 2), FakeReplica::default());
    pair.replica.position.cursor = Some(bytes::Bytes::from_static(b"from elsewhere"));
    pair.reconnect();
    pair.run();
    pair.assert_even();
}
