//! Signs of life.

use headwater::sync::client::{CloseReason, Input};
use headwater::sync::relay::RelayConfig;
use headwater::wire::{ErrorCode, Frame};

use crate::pair::Pair;
use crate::records::new_feed;
use crate::replica::{FakeReplica, client_config};

/// Would go wrong: a quiet connection is taken for a dead one.
#[test]
fn a_quiet_connection_lives() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.advance(10 * 60_000);
    assert_eq!(pair.client_closed, None);
    assert_eq!(pair.relay_closed, None);
    let pings = pair.from_client.iter().chain(&pair.from_relay);
    let pings = pings.filter(|(frame, _)| matches!(frame, Frame::Ping(_))).count();
    assert!((20..=60).contains(&pings), "{pings} pings in ten minutes");
}

/// Would go wrong: a connection whose other end is gone is kept for ever, on either side.
#[test]
fn silence_ends_the_connection() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.run();
    let start = pair.now;
    pair.cut();
    pair.advance(59_000);
    assert_eq!(pair.client_closed, None);
    pair.advance(2_000);
    assert_eq!(pair.client_closed, Some(CloseReason::Timeout));
    assert_eq!(pair.relay_closed, Some(Some(ErrorCode::PeerSilent)));
    assert!(pair.now - start < 62_000);
}

/// Would go wrong: someone who connects and says nothing holds a place for ever.
#[test]
fn no_hello_in_time_ends_the_connection() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.cut();
    pair.advance(9_999);
    assert_eq!(pair.relay_closed, None);
    pair.advance(1);
    assert_eq!(pair.relay_closed, Some(Some(ErrorCode::HelloTimeout)));
    assert_eq!(pair.client_closed, Some(CloseReason::Timeout), "nor does the client wait for ever");
}

/// Would go wrong: an app that wants to know soon waits for a minute, because the relay says so.
#[test]
fn a_client_that_wants_to_know_sooner_gives_up_sooner() {
    let mut config = client_config(&FakeReplica::default());
    config.limits.ping_interval_ms = 2_000;
    config.limits.dead_after_ms = 4_000;
    let mut pair = Pair::with(new_feed(), FakeReplica::default(), config, RelayConfig::default());
    pair.advance(60_000);
    assert_eq!(pair.client_closed, None, "it asks often enough to live");
    pair.cut();
    // What came last came up to a ping earlier.
    pair.advance(1_900);
    assert_eq!(pair.client_closed, None);
    pair.advance(2_200);
    assert_eq!(pair.client_closed, Some(CloseReason::Timeout));
}

/// Would go wrong: a connection over a network that is gone looks well until the silence has lasted its time.
#[test]
fn a_connection_is_checked_when_the_network_changed() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.advance(1_000);
    pair.client(Input::NetworkChanged);
    pair.advance(50_000);
    assert_eq!(pair.client_closed, None, "it answered, and was believed again");
    pair.cut();
    pair.client(Input::NetworkChanged);
    pair.advance(2_000);
    assert_eq!(pair.client_closed, None);
    // To ask again does not make it wait for longer.
    pair.client(Input::NetworkChanged);
    pair.advance(1_100);
    assert_eq!(pair.client_closed, Some(CloseReason::Timeout));
}
