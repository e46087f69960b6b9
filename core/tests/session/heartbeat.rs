//! Signs of life.

use headwater::sync::client::CloseReason;
use headwater::wire::{ErrorCode, Frame};

use crate::pair::{FakeReplica, Pair, new_feed};

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
