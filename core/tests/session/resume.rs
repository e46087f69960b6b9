//! Connecting again when little or nothing has happened.

use headwater::sync::client::{ClientConfig, CloseReason, Mode};
use headwater::sync::relay::RelayConfig;
use headwater::wire::Frame;

use crate::pair::Pair;
use crate::records::{append, change, new_feed};
use crate::replica::{FakeReplica, client_config};

fn even_pair(changes: u64) -> Pair {
    let feed = new_feed();
    append(&feed, 5, (0..changes).map(|number| change(number, 0)).collect());
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    pair.assert_even();
    pair
}

/// Would go wrong: a reconnect that costs per entity, or waits for a second round trip.
#[test]
fn nothing_changed_takes_one_round_trip_and_less_than_a_kibibyte() {
    for changes in [10, 3_000] {
        let mut pair = even_pair(changes);
        pair.reconnect();
        pair.run();
        assert_eq!(pair.report(), Some((0, 0, 0)));
        assert_eq!(pair.now, 2 * pair.latency_ms, "one round trip");
        let bytes: usize = pair.from_client.iter().chain(&pair.from_relay).map(|(_, bytes)| bytes).sum();
        assert!(bytes < 1024, "{bytes} bytes");
        assert_eq!(pair.replica.merges, 1 + usize::from(changes == 3_000), "no merge for nothing");
    }
}

/// Would go wrong: a replica that was away gets everything again, or misses what happened.
#[test]
fn what_happened_meanwhile_is_all_that_comes() {
    let mut pair = even_pair(1_000);
    append(&pair.feed, 5, (0..100).map(|number| change(number, 1)).collect());
    pair.reconnect();
    pair.run();
    assert_eq!(pair.report(), Some((0, 100, 0)));
    let bytes: usize = pair.from_client.iter().chain(&pair.from_relay).map(|(_, bytes)| bytes).sum();
    assert!(bytes < 25 * 1024, "{bytes} bytes for 100 changes of 100 bytes");
    pair.assert_even();
}

/// Would go wrong: a one-off sync that never ends, or ends before both sides are even.
#[test]
fn a_session_for_once_ends_when_both_sides_are_even() {
    let feed = new_feed();
    append(&feed, 5, (0..10).map(|number| change(number, 0)).collect());
    let mut replica = FakeReplica::default();
    replica.write(change(100, 0));
    let config = ClientConfig { mode: Mode::Once, ..client_config(&replica) };
    let mut pair = Pair::with(feed, replica, config, RelayConfig::default());
    pair.run();
    assert_eq!(pair.report(), Some((1, 10, 0)));
    assert_eq!(pair.client_closed, Some(CloseReason::Done));
    assert_eq!(pair.relay_closed, Some(None));
    pair.assert_even();
}

/// Would go wrong: a space that nobody has written to yet keeps a session waiting.
#[test]
fn an_empty_space_is_up_to_date_at_once() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.run();
    assert_eq!(pair.report(), Some((0, 0, 0)));
    assert!(pair.from_relay.iter().all(|(frame, _)| !matches!(frame, Frame::Changes(_))));
}
