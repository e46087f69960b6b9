//! Bytes that an honest peer does not send.

use headwater::sync::{SyncMessageError, check_sync_message};
use headwater::wire::{DecodeError, ErrorCode, Frame, Limits, Ping};
use proptest::prelude::*;

use crate::examples::{frames, record};

fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    Frame::decode(bytes, &Limits::default())
}

/// Would go wrong: a field that a later version adds ends the connection with this one.
#[test]
fn unknown_fields_are_passed_over() {
    // Ping with two more fields: 9 is [1, {2: "x"}], 10 is a tagged null.
    let bytes = [0x82, 0x0f, 0xa3, 0x00, 0x07, 0x09, 0x82, 0x01, 0xa1, 0x02, 0x61, 0x78, 0x0a, 0xc1, 0xf6];
    assert_eq!(decode(&bytes).unwrap(), Frame::Ping(Ping { nonce: 7 }));
}

/// Would go wrong: an entry of a batch that a later version made longer is refused.
#[test]
fn unknown_fields_of_an_entry_are_passed_over() {
    let frame = &frames()[6];
    let mut bytes = frame.encode().to_vec();
    // The batch's byte string, its entry's array header, and one more item at the end.
    let batch_at = bytes.windows(2).position(|pair| pair == [0x81, 0x85]).unwrap();
    bytes[batch_at - 1] += 1;
    bytes[batch_at + 1] = 0x86;
    bytes.push(0xf6);
    assert_eq!(decode(&bytes).unwrap(), *frame);
}

/// Would go wrong: a frame of a later version is taken for nothing, and both sides wait.
#[test]
fn unknown_frames_are_a_typed_error() {
    let error = decode(&[0x82, 0x18, 200, 0xa0]).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownFrame(200)));
    assert_eq!(error.code(), ErrorCode::UnknownFrame);
}

/// Would go wrong: one message has two readings.
#[test]
fn doubled_and_disordered_fields_are_refused() {
    for bytes in [[0x82, 0x0f, 0xa2, 0x00, 0x01, 0x00, 0x02], [0x82, 0x0f, 0xa2, 0x05, 0x01, 0x00, 0x02]] {
        assert!(matches!(decode(&bytes), Err(DecodeError::KeyOrder { .. })));
    }
}

/// Would go wrong: lengths that nobody announced, or nesting without end, are followed.
#[test]
fn indefinite_lengths_and_deep_nesting_are_refused() {
    assert!(decode(&[0x9f, 0x0f, 0xa0, 0xff]).is_err());
    assert!(decode(&[0x82, 0x0f, 0xbf, 0x00, 0x01, 0xff]).is_err());
    let mut deep = vec![0x82, 0x0f, 0xa2, 0x00, 0x01, 0x09];
    deep.extend(std::iter::repeat_n(0x81, 1_000_000));
    assert!(decode(&deep).is_err());
    deep.push(0x00);
    assert!(decode(&deep).is_ok(), "what is passed over is not recursed into");
}

/// Would go wrong: a short frame announces a long array, and memory is taken for it.
#[test]
fn announced_lengths_are_checked_against_what_is_there() {
    // Fetch with 2^32 entities, Ack with 2^60 results.
    let space = [&[0x50][..], &[0x11; 16]].concat();
    let fetch = [&[0x82, 0x0a, 0xa2, 0x00][..], &space, &[0x01, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0]].concat();
    let ack = [&[0x82, 0x08, 0xa3, 0x00][..], &space, &[0x01, 0x01, 0x02, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]]
        .concat();
    for bytes in [fetch, ack] {
        assert!(matches!(decode(&bytes), Err(DecodeError::TooMany { .. })));
    }
}

/// Would go wrong: a message that ends early is read as if the rest were there.
#[test]
fn every_truncation_of_every_frame_is_refused() {
    for frame in frames() {
        let bytes = frame.encode();
        assert_eq!(decode(&bytes).unwrap(), frame);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{} cut to {len} bytes", frame.name());
        }
    }
}

/// Would go wrong: Automerge divides by the length of a filter that has none (`sync-bloom-zero-bits.bin`), or allocates for
/// as many probes as the message says.
#[test]
fn hostile_sync_messages_are_refused() {
    let zero_bits = [0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0];
    if let Some(data) = std::env::var_os("HEADWATER_DATA") {
        let sample = std::path::Path::new(&data).join("hostile/sync-bloom-zero-bits.bin");
        if let Ok(sample) = std::fs::read(sample) {
            assert_eq!(sample, zero_bits);
        }
    }
    let bloom = |bloom: &[u8]| [&[0x42, 0, 0, 1, 0, bloom.len() as u8][..], bloom, &[0]].concat();
    let many_probes = bloom(&[1, 8, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xaa]);
    for message in [
        zero_bits.to_vec(),
        many_probes,
        bloom(&[1, 8, 0, 0xaa]),
        bloom(&[0, 10, 7]),
        bloom(&[1, 8, 7]),
        bloom(&[1, 8, 7, 0xaa, 0xaa]),
        bloom(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 2, 7, 0xaa]),
    ] {
        assert!(
            matches!(check_sync_message(&message), Err(SyncMessageError::Bloom { .. })),
            "{message:02x?}"
        );
    }
    for (bits, probes, taken) in [(1_u8, 1, true), (64, 64, true), (65, 64, false), (64, 65, false)] {
        let filter = [&[1, bits, probes][..], &vec![0xaa; usize::from(bits.div_ceil(8))]].concat();
        assert_eq!(check_sync_message(&bloom(&filter)).is_ok(), taken, "{bits} bits, {probes} probes");
    }
    assert_eq!(check_sync_message(&[]), Err(SyncMessageError::Truncated));
    assert_eq!(check_sync_message(&[0x43, 0, 0, 0, 0]), Err(SyncMessageError::Type(0x43)));
    assert_eq!(check_sync_message(&[0x42, 0, 0, 0, 1, 1, 0]), Err(SyncMessageError::Changes));
    let flags = [0x42, 0, 0, 0, 0, 2, 2, 0x84];
    assert_eq!(check_sync_message(&flags), Err(SyncMessageError::TrailingBytes { bytes: 3 }));
    let heads = [0x42, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(check_sync_message(&heads), Err(SyncMessageError::TooMany { .. })));
}

/// Would go wrong: an honest message does not pass the check, and every comparison goes the long way.
#[test]
fn what_automerge_writes_passes_the_check() {
    use automerge::sync::{State, SyncDoc};
    use automerge::transaction::Transactable;
    let mut doc = automerge::AutoCommit::new();
    for number in 0..500 {
        doc.put(automerge::ROOT, "field", number).unwrap();
        doc.commit();
    }
    let mut message = doc.sync().generate_sync_message(&mut State::new()).unwrap();
    message.flags = None;
    assert_eq!(check_sync_message(&message.encode()), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Would go wrong: some bytes panic.
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = check_sync_message(&bytes);
    }

    /// Would go wrong: a damaged frame panics, or is read as a frame that cannot be written again.
    #[test]
    fn damaged_frames_decode_or_fail(
        which in 0_usize..18,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frames()[which].encode().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Ok(frame) = decode(&bytes) {
            prop_assert_eq!(decode(&frame.encode()).unwrap(), frame);
        }
    }

    /// Would go wrong: a damaged compressed batch panics, or inflates past its bound.
    #[test]
    fn damaged_compressed_batches_decode_or_fail(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let entries = (0..50).map(|number| record(&[number; 40])).collect();
        let push = headwater::wire::Push { space: crate::examples::space(), push_id: 1, entries };
        let mut bytes = Frame::Push(push).encode().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}
