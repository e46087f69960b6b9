//! What happens while both sides are connected.

use headwater::sync::client::{Event, Input, SessionState};
use headwater::wire::Frame;

use crate::pair::Pair;
use crate::records::{change, new_feed};
use crate::replica::FakeReplica;

fn live_pair() -> Pair {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.others_append(vec![change(0, 0)]);
    pair.run();
    pair.from_client.clear();
    pair.from_relay.clear();
    pair
}

/// Would go wrong: an edit waits for a timer or for another round trip.
#[test]
fn an_edit_of_others_arrives_after_one_hop() {
    let mut pair = live_pair();
    let before = pair.now;
    pair.others_append(vec![change(1, 0)]);
    pair.run();
    assert_eq!(pair.now - before, pair.latency_ms);
    pair.assert_even();
}

/// Would go wrong: a client's own changes come back to it, or its watermark falls behind what it pushed.
#[test]
fn own_pushes_are_not_echoed_and_still_move_the_watermark() {
    let mut pair = live_pair();
    for number in 0..20 {
        pair.write(change(10 + number, 0));
        pair.run();
    }
    let echoed = pair.from_relay.iter().any(|(frame, _)| matches!(frame, Frame::Changes(_)));
    assert!(!echoed);
    pair.assert_even();
}

/// Would go wrong: two writers at once leave a gap in the watermark, which only a new read of the feed closes.
#[test]
fn interleaved_writers_stay_even_without_reading_the_feed_again() {
    let mut pair = live_pair();
    for number in 0..200 {
        pair.write(change(1_000 + number, 0));
        pair.now += 3;
        pair.step();
        pair.others_append(vec![change(2_000 + number, 0)]);
        pair.now += 2;
        pair.step();
    }
    pair.run();
    pair.assert_even();
}

/// Would go wrong: a driver that dropped live frames leaves its client behind for ever.
#[test]
fn a_lagged_session_reads_the_feed_again() {
    let mut pair = live_pair();
    let space = pair.space;
    crate::records::append(&pair.feed, 5, (0..50).map(|number| change(number, 7)).collect());
    pair.relay(headwater::sync::relay::Input::Lagged { space });
    pair.run();
    pair.assert_even();
}

/// Would go wrong: a connection that lags over a busy space is told that the feed of an empty one cannot be read, and shows an error.
#[test]
fn a_lagged_session_waits_for_the_first_change_of_a_space_without_a_feed() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.run();
    let space = pair.space;
    pair.relay(headwater::sync::relay::Input::Lagged { space });
    pair.run();
    let errors = pair.from_relay.iter().filter(|(frame, _)| matches!(frame, Frame::Error(_)));
    assert_eq!(errors.count(), 0);
    pair.others_append(vec![change(0, 0)]);
    pair.run();
    pair.assert_even();
}

/// Would go wrong: an app that asks for a sync hears that all is well before it is.
#[test]
fn sync_now_reports_when_both_sides_are_even() {
    let mut pair = live_pair();
    pair.events.clear();
    pair.replica.write(change(50, 0));
    pair.client(Input::SyncNow);
    pair.run();
    assert_eq!(pair.report(), Some((1, 0, 0)));
    pair.assert_even();

    pair.events.clear();
    pair.faults.merges_wait = true;
    pair.others_append(vec![change(51, 0)]);
    pair.client(Input::SyncNow);
    pair.run();
    assert_eq!(pair.report(), None, "what others wrote is not stored yet");
    pair.release_merges();
    pair.run();
    assert_eq!(pair.report(), Some((0, 1, 0)));
}

/// Would go wrong: a second call during a round is swallowed, and its caller waits for ever.
#[test]
fn a_call_during_a_round_makes_another_round() {
    let mut pair = live_pair();
    pair.events.clear();
    pair.client(Input::SyncNow);
    pair.client(Input::SyncNow);
    pair.client(Input::SyncNow);
    pair.run();
    let reports = pair.events.iter().filter(|event| matches!(event, Event::Report { .. })).count();
    assert_eq!(reports, 2);
}

/// Would go wrong: an app shows "up to date" while its changes are not at the relay.
#[test]
fn the_state_follows_what_happens() {
    let mut pair = live_pair();
    assert_eq!(pair.client.state(), SessionState::UpToDate);
    pair.write(change(9, 9));
    assert_eq!(pair.client.state(), SessionState::UpToDate, "the outbox was not read yet");
    while pair.client.state() != SessionState::Syncing {
        pair.now += 1;
        pair.step();
    }
    pair.run();
    assert_eq!(pair.client.state(), SessionState::UpToDate);
    let states: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Event::StateChanged(state) => Some(*state),
            _ => None,
        })
        .collect();
    use SessionState::{Connecting, Syncing, UpToDate};
    assert_eq!(states, [Connecting, Syncing, UpToDate, Syncing, UpToDate]);
}

/// Would go wrong: every live frame costs a frame back.
#[test]
fn what_is_durable_is_told_in_batches() {
    let mut pair = live_pair();
    for number in 0..100 {
        pair.others_append(vec![change(number, 3)]);
        pair.run();
    }
    pair.advance(1_000);
    let seen = pair.from_client.iter().filter(|(frame, _)| matches!(frame, Frame::Seen(_))).count();
    assert!(seen <= 5, "{seen} frames");
    assert_eq!(pair.device_seen.last().copied(), pair.replica.position.watermark.map(|mark| mark.seq));
}
