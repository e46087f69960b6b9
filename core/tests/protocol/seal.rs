//! What happens to a message on its way, and what the seal says to it.

use bytes::Bytes;
use headwater::wire::{DecodeError, ErrorCode, Frame, Limits, SEAL_BYTES, Seal};

use crate::examples::frames;

/// Every example, as the messages of one direction.
fn messages() -> Vec<Bytes> {
    let mut sending = Seal::default();
    frames().iter().map(|frame| sending.seal(&frame.encode())).collect()
}

/// A side that has received the first `count` messages.
fn received(count: usize) -> Seal {
    let mut receiving = Seal::default();
    for message in &messages()[..count] {
        receiving.open(message).unwrap();
    }
    receiving
}

#[track_caller]
fn assert_refused(receiving: &mut Seal, message: &[u8], number: usize) {
    let error = receiving.open(message).unwrap_err();
    assert!(matches!(error, DecodeError::Damaged { number: found } if found == number as u64), "{error}");
    assert_eq!(error.code(), ErrorCode::FrameDamaged);
}

/// Would go wrong: an honest connection is closed, or a frame changes on its way.
#[test]
fn what_is_sealed_in_order_opens_in_order() {
    let mut receiving = Seal::default();
    for (frame, message) in frames().into_iter().zip(messages()) {
        assert_eq!(message.len() as u64, frame.encode().len() as u64 + SEAL_BYTES);
        let opened = receiving.open(&message).unwrap();
        assert_eq!(Frame::decode(opened, &Limits::default()).unwrap(), frame);
    }
}

/// Would go wrong: one flipped bit makes another entity, another position or another change of a frame.
#[test]
fn every_flipped_bit_is_noticed() {
    for (number, message) in messages().iter().enumerate() {
        let mut receiving = received(number);
        for bit in 0..8 * message.len() {
            let mut flipped = message.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&mut receiving, &flipped, number);
        }
        receiving.open(message).unwrap();
    }
}

/// Would go wrong: bytes that were overwritten together pass for a frame.
#[test]
fn every_overwritten_run_of_bytes_is_noticed() {
    for (number, message) in messages().iter().enumerate() {
        let mut receiving = received(number);
        for at in 0..message.len() {
            for fill in [0x00, 0xff] {
                let mut damaged = message.to_vec();
                let end = damaged.len().min(at + 4);
                damaged[at..end].fill(fill);
                if damaged[..] != message[..] {
                    assert_refused(&mut receiving, &damaged, number);
                }
            }
        }
    }
}

/// Would go wrong: a message that was cut short, or that grew, is read as if it were whole.
#[test]
fn every_other_length_is_noticed() {
    for (number, message) in messages().iter().enumerate() {
        let mut receiving = received(number);
        for len in 0..message.len() {
            assert_refused(&mut receiving, &message[..len], number);
        }
        for more in [&[0][..], &[0; 4], message] {
            assert_refused(&mut receiving, &[&message[..], more].concat(), number);
        }
    }
}

/// Would go wrong: a page of changes that never came is passed over, and the position moves past it.
#[test]
fn a_lost_message_is_noticed_by_every_message_behind_it() {
    let messages = messages();
    for lost in 0..messages.len() {
        let mut receiving = received(lost);
        for later in &messages[lost + 1..] {
            assert_refused(&mut receiving, later, lost);
        }
    }
}

/// Would go wrong: a frame that comes again counts again.
#[test]
fn a_message_of_before_is_noticed_whenever_it_comes_again() {
    let messages = messages();
    for count in 1..=messages.len() {
        let mut receiving = received(count);
        for earlier in &messages[..count] {
            assert_refused(&mut receiving, earlier, count);
        }
    }
}

/// Would go wrong: frames that overtook each other are taken in the wrong order. Where they are alike, only the number tells.
#[test]
fn messages_that_changed_places_are_noticed() {
    let messages = messages();
    for number in 0..messages.len() - 1 {
        assert_refused(&mut received(number), &messages[number + 1], number);
    }
    // The same frame in every place, beyond where the last byte of the number rolls over.
    let frame = frames()[0].encode();
    let mut sending = Seal::default();
    let same: Vec<Bytes> = (0..600).map(|_| sending.seal(&frame)).collect();
    let mut receiving = Seal::default();
    for (number, message) in same.iter().enumerate() {
        for (other, elsewhere) in same.iter().enumerate().filter(|(other, _)| *other != number) {
            assert!(receiving.open(elsewhere).is_err(), "message {other} in the place of {number}");
        }
        receiving.open(message).unwrap();
    }
}

/// Would go wrong: a message without a frame, or of no bytes at all, is a panic.
#[test]
fn messages_without_a_frame_are_no_exception() {
    let mut sending = Seal::default();
    let empty = sending.seal(b"");
    assert_eq!(empty.len() as u64, SEAL_BYTES);
    let mut receiving = Seal::default();
    for len in 0..SEAL_BYTES as usize {
        assert_refused(&mut receiving, &empty[..len], 0);
    }
    assert_eq!(receiving.open(&empty).unwrap(), b"");
}
