//! What is under way has a bound in both directions.

use headwater::ingest::ChangeLimits;
use headwater::sync::client::ClientConfig;
use headwater::sync::relay::RelayConfig;
use headwater::wire::{ErrorCode, Frame, Limits, Push};

use crate::pair::Pair;
use crate::records::{append, new_feed, sized_change, space};
use crate::replica::{FakeReplica, client_config};

fn narrow() -> RelayConfig {
    let limits = Limits {
        frame_bytes_max: 16 << 10,
        change: ChangeLimits { change_bytes_max: 4 << 10, ..ChangeLimits::default() },
        in_flight_bytes_max: 32 << 10,
        ..Limits::default()
    };
    RelayConfig { limits, ..RelayConfig::default() }
}

fn unseen(pair: &Pair) -> usize {
    let sent: Vec<usize> = pair
        .from_relay
        .iter()
        .filter(|(frame, _)| matches!(frame, Frame::Changes(_)))
        .map(|(_, bytes)| *bytes)
        .collect();
    let seen = pair.from_client.iter().rev().find_map(|(frame, _)| match frame {
        Frame::Seen(seen) => Some(seen.frames as usize),
        _ => None,
    });
    sent.iter().skip(seen.unwrap_or(0)).sum()
}

/// Would go wrong: a client that does not keep up makes the relay's memory grow, or loses what it was too slow for.
#[test]
fn a_slow_reader_falls_back_to_the_feed_and_loses_nothing() {
    let replica = FakeReplica::default();
    let config = client_config(&replica);
    let mut pair = Pair::with(new_feed(), replica, config, narrow());
    pair.run();
    pair.faults.merges_wait = true;
    for number in 0..200 {
        pair.others_append(vec![sized_change(number, 0, 2_000)]);
        pair.run();
    }
    assert!(unseen(&pair) <= 32 << 10, "{} bytes were sent to a client that stores nothing", unseen(&pair));
    pair.release_merges();
    pair.run();
    pair.advance(1_000);
    pair.assert_even();
    pair.others_append(vec![sized_change(999, 0, 10)]);
    pair.run();
    pair.assert_even();
}

/// Would go wrong: pages of a catch-up do not fit into the frames of a client that takes only small ones.
#[test]
fn pages_fit_into_the_frames_that_were_agreed_on() {
    let feed = new_feed();
    append(&feed, 5, (0..300).map(|number| sized_change(number, 0, 3_000)).collect());
    let replica = FakeReplica::default();
    let limits = Limits { frame_bytes_max: 8 << 10, ..narrow().limits };
    let config = ClientConfig { limits, ..client_config(&replica) };
    let mut pair = Pair::with(feed, replica, config, narrow());
    pair.run();
    assert!(pair.from_relay.iter().all(|(_, bytes)| *bytes <= 8 << 10));
    pair.assert_even();
}

/// Would go wrong: a client that ignores the window fills the relay's memory.
#[test]
fn a_push_beyond_the_window_closes_the_connection() {
    let replica = FakeReplica::default();
    let config = client_config(&replica);
    let mut pair = Pair::with(new_feed(), replica, config, narrow());
    pair.run();
    for push_id in 0..20 {
        let entries = vec![sized_change(push_id, 0, 3_000)];
        let frame = Frame::Push(Push { space: space(), push_id, entries }).encode();
        pair.relay_gets(&frame);
    }
    pair.run();
    assert_eq!(pair.relay_closed, Some(Some(ErrorCode::FlowControl)));
}

/// Would go wrong: more spaces than agreed are opened, or the others suffer for it.
#[test]
fn one_space_too_many_is_refused_alone() {
    for (count, refused) in [(3, 0), (4, 0), (5, 1)] {
        let limits = Limits { spaces_max: 4, ..Limits::default() };
        let spaces = (0..count)
            .map(|number| (headwater_storage::SpaceId::from_bytes([number; 16]), Default::default()))
            .collect();
        let config = ClientConfig { spaces, ..client_config(&FakeReplica::default()) };
        let relay = RelayConfig { limits, ..RelayConfig::default() };
        let mut pair = Pair::with(new_feed(), FakeReplica::default(), config, relay);
        pair.run();
        let errors = pair.events.iter().filter(|event| {
            matches!(event, headwater::sync::client::Event::Error { code: ErrorCode::TooManySpaces, .. })
        });
        assert_eq!(errors.count(), refused);
        assert!(pair.report().is_some());
        assert_eq!(pair.client_closed, None);
    }
}
