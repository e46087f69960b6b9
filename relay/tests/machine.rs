//! What a space passes on when others append to its feed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater::ingest::ChangeLimits;
use headwater_relay::space::{Delivery, Inbox, InboxReceiver, Message, SpaceMachine};
use headwater_storage::{
    Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEpoch, FeedRow, Page,
    PayloadKind, Seq, SpaceId, Watermark,
};

fn space() -> SpaceId {
    SpaceId::from_name("home")
}

fn start() -> Watermark {
    Watermark::start(space(), FeedEpoch::from_bytes([1; 16]))
}

/// A page of changes with these numbers, after `from`.
fn page(from: Watermark, numbers: &[u8]) -> Page {
    let (mut end, mut rows) = (from, Vec::new());
    for number in numbers {
        let record = ChangeRecord {
            entity: EntityId::from_bytes([1; 16]),
            collection: CollectionName::new("bags").unwrap(),
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes([*number; 32]),
            payload: Bytes::from_static(b"change"),
        };
        end = end.extended(record.entity, record.hash);
        rows.push(FeedRow { seq: end.seq, origin: DeviceId::from_bytes([2; 16]), record });
    }
    Page { rows, end, head: end, is_dense: true }
}

fn shared() -> (SpaceMachine, InboxReceiver) {
    let mut machine = SpaceMachine::new(space(), ChangeLimits::default());
    let (inbox, receiver) = Inbox::new(1 << 20);
    machine.subscribe(1, inbox);
    machine.share(start());
    (machine, receiver)
}

/// Would leave the clients of one relay without what another relay took in.
#[test]
fn what_others_append_goes_to_all_subscribers_once() {
    let (mut machine, mut receiver) = shared();
    let first = page(start(), &[1, 2]);
    machine.pass_on(&first);
    assert_eq!(machine.delivered(), Some(first.end));
    let Some(Delivery::Message(Message::Live(live, _))) = receiver.try_recv() else { panic!("nothing came") };
    assert_eq!((live.first, live.watermark), (Seq::new(1), first.end));
    machine.pass_on(&page(first.end, &[]));
    assert!(receiver.try_recv().is_none());
}

/// Would let clients go on in a feed that has lost what they have, and never send it back.
#[test]
fn a_feed_that_was_rewound_sends_everyone_away() {
    let (mut machine, mut receiver) = shared();
    let first = page(start(), &[1, 2]);
    machine.pass_on(&first);
    assert!(matches!(receiver.try_recv(), Some(Delivery::Message(Message::Live(..)))));
    // An older copy, which has gone on in another way, as far and further.
    let mut other = page(page(start(), &[1, 7]).end, &[8]);
    machine.pass_on(&other);
    assert!(matches!(receiver.try_recv(), Some(Delivery::Message(Message::Rewound))));
    assert_eq!(machine.delivered(), Some(other.head));
    // An older copy that is shorter.
    other = page(start(), &[]);
    machine.pass_on(&other);
    assert!(matches!(receiver.try_recv(), Some(Delivery::Message(Message::Rewound))));
    assert_eq!(machine.delivered(), Some(start()));
}

/// Would send seqs that do not follow each other as if they did.
#[test]
fn a_page_with_a_damaged_row_is_read_by_each_connection() {
    let (mut machine, mut receiver) = shared();
    let mut holed = page(start(), &[1, 2, 3]);
    holed.rows.remove(1);
    holed.is_dense = false;
    machine.pass_on(&holed);
    assert!(matches!(receiver.try_recv(), Some(Delivery::Lagged)));
    assert_eq!(machine.delivered(), Some(holed.end));
}
