//! One example of every frame. `docs/protocol.md` shows their bytes.

use bytes::Bytes;
use headwater::wire::{
    Ack, AckResult, Bye, ByeReason, Changes, ErrorCode, ErrorFrame, Fetch, Frame, Head, Heads, HeadsEntry,
    Hello, Limits, ListHeads, MorePages, Open, OpenMode, Opened, OpenedStanding, Part, Ping, Pong, Probe,
    Push, Retry, Seen, Severity, SyncMessage, Welcome,
};
use headwater_storage::{
    ChainHash, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEpoch, PayloadKind,
    Position, Seq, SpaceId, Watermark,
};

pub(crate) fn space() -> SpaceId {
    SpaceId::from_bytes([0x11; 16])
}

pub(crate) fn entity() -> EntityId {
    EntityId::from_bytes([0x22; 16])
}

pub(crate) fn notes() -> CollectionName {
    CollectionName::new("notes").unwrap()
}

pub(crate) fn hash() -> ChangeHash {
    ChangeHash::from_bytes([0x33; 32])
}

pub(crate) fn watermark() -> Watermark {
    Watermark {
        epoch: FeedEpoch::from_bytes([0x44; 16]),
        seq: Seq::new(7),
        chain: ChainHash::from_bytes([0x55; 32]),
    }
}

pub(crate) fn record(payload: &[u8]) -> ChangeRecord {
    ChangeRecord {
        entity: entity(),
        collection: notes(),
        kind: PayloadKind::Change,
        hash: hash(),
        payload: Bytes::copy_from_slice(payload),
    }
}

pub(crate) fn frames() -> Vec<Frame> {
    let space = space();
    vec![
        Frame::Hello(Hello {
            version_min: 2,
            version_max: 2,
            device: DeviceId::from_bytes([0x66; 16]),
            client_name: "journal".to_owned(),
            client_version: "1.2.0".to_owned(),
            token: Some(Bytes::from_static(b"secret")),
            limits: Limits::default(),
        }),
        Frame::Welcome(Welcome {
            version: 2,
            relay_name: "headwater-relay".to_owned(),
            relay_version: "0.1.0".to_owned(),
            limits: Limits::default(),
        }),
        Frame::Open(Open {
            space,
            position: Position {
                watermark: Some(watermark()),
                cursor: Some(Bytes::from_static(b"\x01\x02\x03")),
            },
            mode: OpenMode::Live,
        }),
        Frame::Opened(Opened { space, standing: OpenedStanding::Resume, head: Some(watermark()) }),
        Frame::Changes(Changes {
            space,
            part: Part::LastPage,
            watermark: Some(watermark()),
            cursor: None,
            first: Some(Seq::new(7)),
            head: Seq::new(7),
            remaining: 0,
            entries: vec![record(b"change")],
        }),
        Frame::Seen(Seen { space, frames: 3, seq: Seq::new(7) }),
        Frame::Push(Push { space, push_id: 1, entries: vec![record(b"change")] }),
        Frame::Ack(Ack {
            space,
            push_id: 1,
            results: vec![
                AckResult::Accepted(Seq::new(7)),
                AckResult::Duplicate(Seq::new(3)),
                AckResult::Refused {
                    code: ErrorCode::MissingDeps,
                    retry: Retry::Later,
                    message: "1 dependency".to_owned(),
                },
            ],
            watermark: Some(watermark()),
            cursor: None,
        }),
        Frame::Heads(Heads {
            space,
            entities: vec![HeadsEntry { entity: entity(), collection: notes(), heads: vec![hash()] }],
            more: MorePages::No,
        }),
        Frame::Fetch(Fetch { space, entities: vec![entity()] }),
        Frame::SyncMessage(SyncMessage {
            space,
            entity: entity(),
            collection: notes(),
            message: Bytes::from_static(&[0x42, 0, 0, 0, 0]),
        }),
        Frame::ListHeads(ListHeads { space, after: Some(entity()) }),
        Frame::Probe(Probe { space, nonce: 5 }),
        Frame::Head(Head { space, nonce: 5, watermark: Some(watermark()) }),
        Frame::Ping(Ping { nonce: 1 }),
        Frame::Pong(Pong { nonce: 1 }),
        Frame::Error(ErrorFrame {
            code: ErrorCode::StoreUnavailable,
            message: "try later".to_owned(),
            space: Some(space),
            severity: Severity::Recoverable,
            retry_after_ms: Some(1_000),
        }),
        Frame::Bye(Bye { reason: ByeReason::Draining, reconnect_after_ms: 1_000 }),
    ]
}
