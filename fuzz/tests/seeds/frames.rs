//! One frame of each kind, and what clients say with them.

use bytes::Bytes;
use headwater::wire::{
    Ack, AckResult, Bye, ByeReason, Changes, ErrorCode, ErrorFrame, Fetch, Frame, Head, Heads, HeadsEntry,
    Hello, Limits, ListHeads, MorePages, Open, OpenMode, Opened, OpenedStanding, Part, Ping, Pong, Probe,
    Push, Retry, Seen, Severity, SyncMessage, Welcome,
};
use headwater_storage::{
    ChainHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEpoch, PayloadKind, Position, Seq,
    SpaceId, Watermark,
};

use super::{Seeds, change};

// As in the targets' fixture, so that the relay has the entity.
const SPACE: &str = "home";
const COLLECTION: &str = "things";
const ENTITY: EntityId = EntityId::from_bytes([1; 16]);

/// Behind these lengths comes no message.
const TIME_PASSES: [u8; 2] = [0xff, 0xff];
const RELAY_DRAINS: [u8; 2] = [0xff, 0xfe];
const OTHERS_PUSH: [u8; 2] = [0xff, 0xfd];
const DAMAGED: [u8; 2] = [0xff, 0xfc];

/// What the first byte of a stream asks for.
const GREETED: u8 = 1;
const LONG_FEED: u8 = 2;
const FAILING_STORE: u8 = 4;
const OPENED: u8 = 8;

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn collection() -> CollectionName {
    CollectionName::new(COLLECTION).unwrap()
}

fn watermark() -> Watermark {
    let (epoch, chain) = (FeedEpoch::from_bytes([4; 16]), ChainHash::from_bytes([5; 32]));
    Watermark { epoch, seq: Seq::new(7), chain }
}

fn record(number: usize) -> ChangeRecord {
    let (hash, payload) = change(number);
    ChangeRecord { entity: ENTITY, collection: collection(), kind: PayloadKind::Change, hash, payload }
}

fn hello() -> Frame {
    Frame::Hello(Hello {
        version_min: 2,
        version_max: 2,
        device: DeviceId::from_bytes([6; 16]),
        client_name: "seed".to_owned(),
        client_version: "1".to_owned(),
        token: Some(Bytes::from_static(b"token")),
        limits: Limits::default(),
    })
}

fn open(position: Position, mode: OpenMode) -> Frame {
    Frame::Open(Open { space: space(), position, mode })
}

fn push(push_id: u64, changes: usize) -> Frame {
    Frame::Push(Push { space: space(), push_id, entries: (0..changes).map(record).collect() })
}

fn message(message: &'static [u8]) -> Frame {
    let message = Bytes::from_static(message);
    Frame::SyncMessage(SyncMessage { space: space(), entity: ENTITY, collection: collection(), message })
}

fn changes() -> Frame {
    Frame::Changes(Changes {
        space: space(),
        part: Part::LastPage,
        watermark: Some(watermark()),
        cursor: Some(Bytes::from_static(&[1, 2])),
        first: Some(Seq::new(6)),
        head: Seq::new(7),
        remaining: 0,
        entries: (0..2).map(record).collect(),
    })
}

fn ack() -> Frame {
    let refused =
        AckResult::Refused { code: ErrorCode::MissingDeps, retry: Retry::Later, message: "one".to_owned() };
    let results = vec![AckResult::Accepted(Seq::new(7)), AckResult::Duplicate(Seq::new(3)), refused];
    Frame::Ack(Ack { space: space(), push_id: 1, results, watermark: Some(watermark()), cursor: None })
}

/// One frame of each kind, and some that are written in another way when there is more in them.
pub(super) fn frames() -> Seeds {
    let space = space();
    let (relay_name, relay_version) = ("relay".to_owned(), "1".to_owned());
    let heads = vec![change(0).0];
    let entry = HeadsEntry { entity: ENTITY, collection: collection(), heads };
    let error = ErrorFrame {
        code: ErrorCode::StoreUnavailable,
        message: "later".to_owned(),
        space: Some(space),
        severity: Severity::Recoverable,
        retry_after_ms: Some(1_000),
    };
    let anywhere = Position { watermark: Some(watermark()), cursor: Some(Bytes::from_static(&[1, 2, 3])) };
    let frames = [
        ("hello", hello()),
        (
            "welcome",
            Frame::Welcome(Welcome { version: 2, relay_name, relay_version, limits: Limits::default() }),
        ),
        ("open", open(anywhere, OpenMode::Live)),
        (
            "opened",
            Frame::Opened(Opened { space, standing: OpenedStanding::Resume, head: Some(watermark()) }),
        ),
        ("changes", changes()),
        ("seen", Frame::Seen(Seen { space, frames: 3, seq: Seq::new(7) })),
        ("push", push(1, 1)),
        ("push-compressed", push(2, 8)),
        ("push-nothing", push(3, 0)),
        ("ack", ack()),
        ("heads", Frame::Heads(Heads { space, entities: vec![entry], more: MorePages::Yes })),
        ("fetch", Frame::Fetch(Fetch { space, entities: vec![ENTITY; 2] })),
        ("sync-message", message(&[0x42, 0, 0, 0, 0])),
        ("list-heads", Frame::ListHeads(ListHeads { space, after: Some(ENTITY) })),
        ("probe", Frame::Probe(Probe { space, nonce: 5 })),
        ("head", Frame::Head(Head { space, nonce: 5, watermark: Some(watermark()) })),
        ("ping", Frame::Ping(Ping { nonce: 1 })),
        ("pong", Frame::Pong(Pong { nonce: u64::MAX })),
        ("error", Frame::Error(error)),
        ("bye", Frame::Bye(Bye { reason: ByeReason::Draining, reconnect_after_ms: 1_000 })),
    ];
    frames.into_iter().map(|(name, frame)| (name.to_owned(), frame.encode().to_vec())).collect()
}

/// A frame behind its length.
fn said(frame: &Frame) -> Vec<u8> {
    let frame = frame.encode();
    let length = u16::try_from(frame.len()).unwrap();
    [&length.to_be_bytes()[..], &frame].concat()
}

/// What clients say, honest ones and others.
pub(super) fn streams() -> Seeds {
    let space = space();
    let opened = GREETED | OPENED;
    let fetch = said(&Frame::Fetch(Fetch { space, entities: vec![ENTITY; 3] }));
    let list = said(&Frame::ListHeads(ListHeads { space, after: None }));
    let seen = said(&Frame::Seen(Seen { space, frames: 1, seq: Seq::new(3) }));
    let probe = said(&Frame::Probe(Probe { space, nonce: 1 }));
    let begin = said(&message(&[0x42, 0, 0, 0, 0]));
    let zero_bits = said(&message(&[0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0]));
    let elsewhere = said(&open(Position::nowhere(), OpenMode::Live));
    let once = said(&open(Position { watermark: Some(watermark()), cursor: None }, OpenMode::Once));
    let bye = said(&Frame::Bye(Bye { reason: ByeReason::Draining, reconnect_after_ms: 0 }));
    let stream = |how: u8, parts: &[&[u8]]| [&[how][..], &parts.concat()].concat();
    let seeds = [
        ("from-hello", stream(0, &[&said(&hello()), &elsewhere, &list, &fetch, &begin, &once])),
        ("no-hello", stream(0, &[&probe])),
        ("pushes", stream(opened, &[&said(&push(1, 3)), &said(&push(2, 1)), &seen, &said(&push(2, 0))])),
        ("pushes-fail", stream(opened | FAILING_STORE, &[&said(&push(1, 3)), &list, &fetch, &begin, &probe])),
        ("others-push", stream(opened | LONG_FEED, &[&OTHERS_PUSH, &seen, &OTHERS_PUSH, &probe])),
        ("compares", stream(opened, &[&elsewhere, &list, &begin, &zero_bits, &fetch, &seen])),
        ("waits", stream(opened, &[&TIME_PASSES, &said(&Frame::Pong(Pong { nonce: 1 })), &TIME_PASSES])),
        ("waits-too-long", stream(GREETED, &[&TIME_PASSES, &TIME_PASSES, &TIME_PASSES, &probe])),
        ("drains", stream(opened, &[&said(&push(1, 1)), &RELAY_DRAINS, &probe])),
        ("damaged", stream(opened, &[&DAMAGED, &[0, 0, 0, 0], &probe])),
        ("leaves", stream(opened, &[&bye, &probe])),
        ("cut-off", stream(opened, &[&fetch[..fetch.len() - 3]])),
    ];
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}
