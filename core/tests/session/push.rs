//! The outbox on its way to the relay.

use headwater::ingest::ChangeLimits;
use headwater::sync::client::{ClientConfig, Event, Input};
use headwater::sync::relay::RelayConfig;
use headwater::wire::{AckResult, ErrorCode, Frame, Limits};

use crate::pair::Pair;
use crate::records::{append, change, entity, new_feed, sized_change};
use crate::replica::{FakeReplica, client_config};

fn replica_with(changes: u64) -> FakeReplica {
    let mut replica = FakeReplica::default();
    for number in 0..changes {
        replica.write(change(number, 0));
    }
    replica
}

/// Would go wrong: a large outbox goes out in one frame, or one round trip per change.
#[test]
fn a_large_outbox_goes_out_in_pipelined_pushes_within_the_window() {
    let mut pair = Pair::new(new_feed(), replica_with(5_000));
    let mut most = 0;
    loop {
        pair.now += 1;
        pair.step();
        let pushes = pair.from_client.iter().filter(|(frame, _)| matches!(frame, Frame::Push(_))).count();
        let acks = pair.from_relay.iter().filter(|(frame, _)| matches!(frame, Frame::Ack(_))).count();
        most = most.max(pushes - acks);
        if pair.report().is_some() {
            break;
        }
    }
    assert!((2..=16).contains(&most), "{most} pushes at the same time");
    for (frame, bytes) in &pair.from_client {
        assert!(*bytes as u64 <= Limits::default().frame_bytes_max);
        if let Frame::Push(push) = frame {
            assert!(push.entries.len() <= 256);
        }
    }
    pair.run();
    assert_eq!(pair.report(), Some((5_000, 0, 0)));
    pair.assert_even();
}

/// Would go wrong: an acknowledgement that was lost makes a change be stored twice, or never leave the outbox.
#[test]
fn lost_acks_are_asked_for_again_and_nothing_is_there_twice() {
    let mut pair = Pair::new(new_feed(), replica_with(700));
    pair.faults.acks_lost = true;
    pair.run();
    assert_eq!(pair.replica.outbox.len(), 700, "nothing leaves without an Ack");
    assert!(!pair.feed_rows().is_empty());
    pair.faults.acks_lost = false;
    pair.reconnect();
    pair.run();
    pair.assert_even();
    assert_eq!(pair.feed_rows().len(), 700);
}

/// Would go wrong: one bad change blocks all that come after it, or stays in the outbox for ever.
#[test]
fn a_refused_change_does_not_block_the_others() {
    let mut pair = Pair::new(new_feed(), replica_with(20));
    pair.faults.refuse.insert(entity(3), ErrorCode::ChangeInvalid);
    pair.run();
    assert_eq!(pair.report(), Some((19, 0, 1)));
    assert!(pair.replica.outbox.is_empty());
    assert_eq!(pair.replica.refused.len(), 1);
    assert_eq!(pair.replica.refused[0].1.code, ErrorCode::ChangeInvalid.number());
}

/// Would go wrong: a change that the relay cannot take just now is thrown away, or is never tried again.
#[test]
fn a_change_refused_for_now_stays_and_is_tried_again() {
    let mut pair = Pair::new(new_feed(), replica_with(5));
    pair.faults.refuse.insert(entity(3), ErrorCode::Overloaded);
    pair.run();
    assert_eq!(pair.report(), Some((4, 0, 0)));
    assert_eq!(pair.replica.outbox.len(), 1);
    pair.faults.refuse.clear();
    pair.advance(10_000);
    pair.advance(1_000);
    pair.assert_even();
}

/// Would go wrong: a failed commit at the relay is acknowledged, or loses the push.
#[test]
fn a_failed_append_acknowledges_nothing() {
    let mut pair = Pair::new(new_feed(), replica_with(5));
    pair.faults.appends_fail = true;
    pair.run();
    assert_eq!(pair.replica.outbox.len(), 5);
    let accepted = pair.from_relay.iter().any(|(frame, _)| match frame {
        Frame::Ack(ack) => ack.results.iter().any(|result| !matches!(result, AckResult::Refused { .. })),
        _ => false,
    });
    assert!(!accepted);
    pair.faults.appends_fail = false;
    pair.client(Input::SyncNow);
    pair.run();
    pair.assert_even();
}

/// Would go wrong: someone whose disk cannot take what comes cannot save their own work at the relay either.
#[test]
fn the_outbox_goes_out_when_the_pull_fails() {
    for at_the_relay in [true, false] {
        let feed = new_feed();
        append(&feed, 5, (0..10).map(|number| change(number, 0)).collect());
        let mut replica = FakeReplica::default();
        replica.write(change(100, 0));
        let mut pair = Pair::new(feed, replica);
        pair.faults.pages_fail = at_the_relay;
        pair.faults.merges_fail = !at_the_relay;
        pair.run();
        assert_eq!(pair.feed_rows().len(), 11, "pushed");
        assert_eq!(pair.report(), Some((1, 0, 0)));
        assert!(pair.events.iter().any(|event| matches!(event, Event::Error { .. })));
        assert_eq!(pair.replica.position.watermark, None, "a failed merge moves nothing");
        pair.faults.pages_fail = false;
        pair.faults.merges_fail = false;
        pair.advance(20_000);
        pair.assert_even();
    }
}

/// Would go wrong: the limit on a change is off by one on either side, or a change above it blocks the rest.
#[test]
fn a_change_above_the_limit_is_refused_here_and_the_rest_goes_on() {
    for (bytes, fits) in [(2_047, true), (2_048, true), (2_049, false)] {
        let mut replica = FakeReplica::default();
        replica.write(change(1, 0));
        replica.write(sized_change(2, 0, bytes));
        replica.write(change(3, 0));
        let limits = Limits {
            change: ChangeLimits { change_bytes_max: 2_048, ..ChangeLimits::default() },
            ..Limits::default()
        };
        let config = client_config(&replica);
        let relay = RelayConfig { limits, ..RelayConfig::default() };
        let mut pair = Pair::with(new_feed(), replica, config, relay);
        pair.run();
        assert_eq!(pair.feed_rows().len(), 2 + usize::from(fits));
        assert_eq!(pair.replica.refused.len(), usize::from(!fits));
        assert!(pair.replica.outbox.is_empty());
        if !fits {
            assert_eq!(pair.replica.refused[0].1.code, ErrorCode::ChangeTooLarge.number());
        }
    }
}

/// Would go wrong: a session that may push only so much pushes it all.
#[test]
fn a_round_pushes_at_most_what_it_may() {
    let replica = replica_with(1_000);
    let config = ClientConfig { push_changes_max: Some(300), ..client_config(&replica) };
    let mut pair = Pair::with(new_feed(), replica, config, RelayConfig::default());
    pair.run();
    assert_eq!(pair.report(), Some((300, 0, 0)));
    pair.client(Input::SyncNow);
    pair.run();
    assert_eq!(pair.report(), Some((300, 0, 0)));
    assert_eq!(pair.replica.outbox.len(), 400);
}

/// Would go wrong: a commit that arrives while the outbox is being read is forgotten until the next one.
#[test]
fn commits_at_any_moment_go_out() {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    for number in 0..300 {
        pair.now += 1;
        pair.write(change(number, 0));
        pair.step();
        if number % 3 == 0 {
            pair.step();
        }
    }
    pair.run();
    pair.assert_even();
}
