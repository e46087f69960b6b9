//! Messages that do not arrive as they were sent: whichever it is, both sides know it, and connecting again makes it good.

use std::collections::BTreeSet;

use headwater::sync::client::{ClientConfig, CloseReason, Input};
use headwater::sync::relay::RelayConfig;
use headwater::wire::{ErrorCode, Frame, Limits};
use headwater_storage::RedbFeed;

use crate::pair::{Accident, Mishap, Pair, Side};
use crate::records::{append, change, new_feed, sized_change};
use crate::replica::{FakeReplica, client_config};

const MISHAPS: [Mishap; 9] = [
    Mishap::Flipped(0),
    Mishap::Flipped(77),
    Mishap::Flipped(-40),
    Mishap::Flipped(-1),
    Mishap::Cut(1),
    Mishap::Cut(4),
    Mishap::Dropped,
    Mishap::Doubled,
    Mishap::Swapped,
];

/// Small pages and small pushes, so that there are several of each.
fn pair(feed: RedbFeed, replica: FakeReplica) -> Pair {
    let limits = Limits { push_changes_max: 4, ..Limits::default() };
    let relay =
        RelayConfig { limits, by_entity_behind_min: 8, page_entries_max: 5, ..RelayConfig::default() };
    let config = ClientConfig { retry_after_ms: 50, ..client_config(&replica) };
    Pair::with(feed, replica, config, relay)
}

/// Pages by entity with their cursors, pushes, live changes, a slow moment, and a question for where the feed stands.
fn follow(accident: Option<Accident>) -> Pair {
    let feed = new_feed();
    append(&feed, 5, (0..30).map(|of| change(of % 20, of)).collect());
    let mut replica = FakeReplica::default();
    for of in 100..110 {
        replica.write(change(of, 0));
    }
    let mut pair = pair(feed, replica);
    pair.faults.accident = accident;
    pair.run();
    for number in 0..4 {
        pair.others_append(vec![change(number, 200)]);
        pair.write(sized_change(110 + number, 0, 600));
        pair.run();
    }
    pair.others_append_unheard((0..6).map(|of| change(of, 300)).collect());
    pair.run();
    pair.client(Input::SyncNow);
    pair.run();
    pair
}

/// Lists of heads, whole entities in both directions, and pushes, with a relay that was restored from a backup.
fn compare(accident: Option<Accident>) -> Pair {
    let feed = new_feed();
    append(&feed, 5, (0..12).map(|of| change(of, 0)).collect());
    let mut before = pair(feed, FakeReplica::default());
    before.run();
    let mut replica = before.replica;
    replica.write(change(50, 0));
    let restored = new_feed();
    append(&restored, 6, (0..6).map(|of| change(of, 0)).collect());
    append(&restored, 6, (3..6).map(|of| change(of, 1)).collect());
    append(&restored, 6, (20..24).map(|of| change(of, 0)).collect());
    let mut pair = pair(restored, replica);
    pair.faults.accident = accident;
    pair.run();
    pair
}

/// Would go wrong: a page that was lost, a push with another entity's id, or an acknowledgement of something else is taken for
/// good, and the two sides believe themselves even.
#[test]
fn any_accident_to_any_message_is_noticed_and_made_good() {
    for conversation in [follow, compare] {
        let undisturbed = conversation(None);
        undisturbed.assert_even();
        let ways = [(Side::Relay, &undisturbed.from_client), (Side::Client, &undisturbed.from_relay)];
        for (towards, frames) in ways {
            for (number, (frame, _)) in frames.iter().enumerate() {
                for what in MISHAPS {
                    let accident = Accident { towards, number, what };
                    let about = format!("{accident:?}, {}", frame.name());
                    let mut pair = conversation(Some(accident));
                    // What nothing followed is noticed with the next sign of life.
                    pair.advance(120_000);
                    assert_noticed(&pair, towards, &about);
                    pair.faults.accident = None;
                    let replica = std::mem::take(&mut pair.replica);
                    let mut pair = self::pair(pair.feed, replica);
                    pair.run();
                    pair.advance(1_000);
                    assert_eq!(pair.client_closed, None, "{about}");
                    println!("{about}");
                    pair.assert_even();
                }
            }
        }
    }
}

/// Would go wrong: the conversations above leave out a kind of frame, and nobody knows what an accident to it does.
#[test]
fn the_conversations_have_the_frames_that_carry_anything() {
    let pairs = [follow(None), compare(None)];
    let frames = pairs.iter().flat_map(|pair| pair.from_client.iter().chain(&pair.from_relay));
    let names: BTreeSet<&str> = frames.map(|(frame, _)| frame.name()).collect();
    let carrying = "Hello Welcome Open Opened Changes Seen Push Ack ListHeads Heads Fetch Probe Head";
    for name in carrying.split(' ') {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let pages = pairs[0].from_relay.iter().filter(|(frame, _)| match frame {
        Frame::Changes(changes) => changes.cursor.is_some(),
        _ => false,
    });
    assert!(pages.count() >= 3, "pages by entity, each of which moves the cursor");
}

/// Would go wrong: the last words of a side that gives up are taken for damaged, and the other side never learns why.
#[test]
fn the_error_that_ends_a_connection_is_sealed_too() {
    for towards in [Side::Relay, Side::Client] {
        let pair = follow(Some(Accident { towards, number: 2, what: Mishap::Flipped(9) }));
        let (frames, told) = match towards {
            Side::Relay => (&pair.from_relay, format!("{:?}", pair.client_closed)),
            Side::Client => (&pair.from_client, format!("{:?}", pair.relay_closed)),
        };
        let Some((Frame::Error(last), _)) = frames.last() else { panic!("{:?}", frames.last()) };
        assert_eq!(last.code, ErrorCode::FrameDamaged);
        assert!(told.contains("FrameDamaged"), "{told}");
    }
}

/// The side that got the message closed because of it, and nothing else happened to either.
#[track_caller]
fn assert_noticed(pair: &Pair, towards: Side, about: &str) {
    let damaged = ErrorCode::FrameDamaged;
    match (towards, &pair.client_closed) {
        (Side::Client, Some(CloseReason::Protocol { code, .. }))
        | (Side::Relay, Some(CloseReason::Refused { code, .. })) => assert_eq!(*code, damaged, "{about}"),
        (_, other) => panic!("{about}: the client {other:?}"),
    }
    assert_eq!(pair.relay_closed, Some(Some(damaged)), "{about}");
}
