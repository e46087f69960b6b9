//! Every limit at one below, at itself, and at one above.

use bytes::Bytes;
use headwater::wire::{
    Ack, AckResult, Changes, DecodeError, ErrorCode, Fetch, Frame, Heads, HeadsEntry, Limits, MorePages,
    Part, Push, SEAL_BYTES,
};
use headwater_storage::{ChangeRecord, EntityId, Seq};

use crate::examples::{hash, notes, record, space};

fn push(entries: Vec<ChangeRecord>) -> Frame {
    Frame::Push(Push { space: space(), push_id: 1, entries })
}

fn entities(count: u64) -> impl Iterator<Item = EntityId> {
    (0..count).map(|number| EntityId::from_bytes(u128::from(number).to_be_bytes()))
}

/// `frame_of(n)` is taken for n up to `limit`, and refused above it.
#[track_caller]
fn check(limit: u64, limits: &Limits, frame_of: impl Fn(u64) -> Frame) {
    for (count, taken) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let decoded = Frame::decode(&frame_of(count).encode(), limits);
        assert_eq!(decoded.is_ok(), taken, "{count} with a limit of {limit}: {:?}", decoded.err());
    }
}

/// Would go wrong: a limit is off by one, or not looked at.
#[test]
fn counts_are_limited() {
    let limits =
        Limits { push_changes_max: 10, fetch_entities_max: 10, heads_page_max: 10, ..Limits::default() };
    check(10, &limits, |count| push((0..count).map(|_| record(b"change")).collect()));
    check(10, &limits, |count| Frame::Fetch(Fetch { space: space(), entities: entities(count).collect() }));
    check(10, &limits, |count| {
        let results = vec![AckResult::Accepted(Seq::new(1)); count as usize];
        Frame::Ack(Ack { space: space(), push_id: 1, results, watermark: None, cursor: None })
    });
    check(10, &limits, |count| {
        let entities = entities(count)
            .map(|entity| HeadsEntry { entity, collection: notes(), heads: vec![hash()] })
            .collect();
        Frame::Heads(Heads { space: space(), entities, more: MorePages::No })
    });
}

/// Would go wrong: a frame of any size is read.
#[test]
fn the_size_of_a_frame_is_limited() {
    let bytes = push(vec![record(b"change")]).encode();
    // What goes over the socket is the frame with its seal.
    let message_bytes = bytes.len() as u64 + SEAL_BYTES;
    for (frame_bytes_max, taken) in
        [(message_bytes - 1, false), (message_bytes, true), (message_bytes + 1, true)]
    {
        let limits = Limits { frame_bytes_max, ..Limits::default() };
        match Frame::decode(&bytes, &limits) {
            Ok(_) => assert!(taken),
            Err(error) => {
                assert!(!taken);
                assert!(matches!(error, DecodeError::FrameTooLarge { .. }));
                assert_eq!(error.code(), ErrorCode::FrameTooLarge);
            }
        }
    }
}

/// Would go wrong: a few kilobytes inflate to gigabytes.
#[test]
fn the_inflated_size_of_a_batch_is_limited() {
    // The batch itself is this many bytes longer than its payload: array header 1, entry header 1, ids, name, hash, lengths.
    let around = 1 + 1 + 17 + 6 + 1 + 34 + 5;
    for (bytes, taken) in [(99_999, true), (100_000, true), (100_001, false)] {
        let frame = push(vec![record(&vec![0; bytes - around])]).encode();
        assert!(frame.len() < 1_000, "it is compressed");
        let limits = Limits { batch_inflated_bytes_max: 100_000, ..Limits::default() };
        assert_eq!(Frame::decode(&frame, &limits).is_ok(), taken, "{bytes} bytes");
    }
}

/// Would go wrong: a batch claims a small size and inflates to a large one.
#[test]
fn a_batch_that_lies_about_its_size_is_refused() {
    let honest = push(vec![record(&vec![0; 100_000])]).encode();
    let at = honest.len() - 4;
    assert_eq!(honest[at - 1], 0x1a, "the inflated size is the last field, of four bytes");
    for lie in [0_u32, 1, 513, 99_999, 100_064, 4 << 20, u32::MAX] {
        let mut bytes = honest.to_vec();
        bytes[at..].copy_from_slice(&lie.to_be_bytes());
        assert!(Frame::decode(&bytes, &Limits::default()).is_err(), "{lie}");
    }
}

/// Would go wrong: small edits pay for compression, or large batches travel as they are.
#[test]
fn a_batch_is_compressed_above_512_bytes() {
    let around = 1 + 1 + 17 + 6 + 1 + 34 + 3;
    for (bytes, compressed) in [(511, false), (512, false), (513, true)] {
        let frame = push(vec![record(&vec![0; bytes - around])]);
        let encoded = frame.encode();
        assert_eq!(encoded.len() < 300, compressed, "{bytes} bytes");
        assert_eq!(Frame::decode(&encoded, &Limits::default()).unwrap(), frame);
    }
}

/// Would go wrong: payloads that do not compress grow.
#[test]
fn what_does_not_compress_travels_as_it_is() {
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..10_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let frame = Frame::Changes(Changes {
        space: space(),
        part: Part::Page,
        watermark: None,
        cursor: Some(Bytes::from_static(b"c")),
        first: None,
        head: Seq::new(1),
        remaining: 1,
        entries: vec![record(&noise)],
    });
    let encoded = frame.encode();
    assert!(encoded.len() < 10_000 + 200);
    assert_eq!(Frame::decode(&encoded, &Limits::default()).unwrap(), frame);
}

/// Would go wrong: two sides agree on limits under which nothing can be sent.
#[test]
fn the_smaller_limit_holds_and_must_be_usable() {
    let ours = Limits::default();
    let theirs = Limits { push_changes_max: 3, frame_bytes_max: 4 << 20, ..ours };
    let agreed = ours.agreed_with(&theirs).unwrap();
    assert_eq!((agreed.push_changes_max, agreed.frame_bytes_max), (3, 1 << 20));
    assert_eq!(theirs.agreed_with(&ours).unwrap().push_changes_max, 3);
    for (push_changes_max, usable) in [(0, false), (1, true), (2, true)] {
        assert_eq!(ours.agreed_with(&Limits { push_changes_max, ..ours }).is_ok(), usable);
    }
    for (frame_bytes_max, usable) in [(8_191, false), (8_192, true), (8_193, true)] {
        let error = ours.agreed_with(&Limits { frame_bytes_max, ..ours }).err();
        assert_eq!(error.is_none(), usable);
        assert!(error.is_none_or(|error| error.limit == "frame_bytes_max"));
    }
}
