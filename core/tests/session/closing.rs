//! How a connection ends: on purpose, or because of what came.

use headwater::sync::Time;
use headwater::sync::client::{self, CloseReason};
use headwater::sync::relay::{self, RelayConfig, RelaySession};
use headwater::wire::{ErrorCode, Frame, Hello, Limits, Ping, SEAL_BYTES, Welcome};

use crate::pair::{Pair, sealed};
use crate::records::{change, device, new_feed};
use crate::replica::{FakeReplica, client_config};

fn live_pair() -> Pair {
    let mut pair = Pair::new(new_feed(), FakeReplica::default());
    pair.run();
    pair
}

fn hello(version_min: u16, version_max: u16) -> Hello {
    Hello {
        version_min,
        version_max,
        device: device(),
        client_name: "test".to_owned(),
        client_version: "1".to_owned(),
        token: None,
        limits: Limits::default(),
    }
}

/// A frame as the first message of a connection.
fn first(frame: &Frame) -> bytes::Bytes {
    sealed(0, &frame.encode())
}

/// Would go wrong: a relay that restarts cuts off pushes that it has taken, or its clients come back too late.
#[test]
fn a_draining_relay_answers_what_it_took_and_says_when_to_come_back() {
    let mut pair = live_pair();
    pair.faults.appends_wait = true;
    pair.write(change(1, 0));
    pair.run();
    pair.relay(relay::Input::Drain);
    pair.run();
    assert_eq!(pair.relay_closed, None, "a push is with the store");
    pair.write(change(2, 0));
    pair.run();
    pair.release_appends();
    pair.run();
    assert_eq!(pair.client_closed, Some(CloseReason::Drained { reconnect_after_ms: 1_000 }));
    assert_eq!(pair.relay_closed, Some(None));
    assert_eq!(pair.replica.outbox.len(), 1, "one was acknowledged, one was not taken any more");
    pair.reconnect();
    pair.run();
    pair.assert_even();
}

/// Would go wrong: bytes that are no frame panic, hang or are passed over in silence.
#[test]
fn garbage_closes_the_connection_with_a_code() {
    let valid = Frame::Ping(Ping { nonce: 1 }).encode();
    let largest = (1 << 20) - SEAL_BYTES as usize;
    let cases: [(Vec<u8>, ErrorCode); 8] = [
        (Vec::new(), ErrorCode::MalformedFrame),
        (vec![0xff; 40], ErrorCode::MalformedFrame),
        (valid[..valid.len() - 1].to_vec(), ErrorCode::MalformedFrame),
        ([&valid[..], &[0]].concat(), ErrorCode::MalformedFrame),
        (vec![0x82, 0x18, 99, 0xa0], ErrorCode::UnknownFrame),
        (vec![0; largest], ErrorCode::MalformedFrame),
        (vec![0; largest + 1], ErrorCode::FrameTooLarge),
        (vec![0x9f, 0x0f, 0xbf, 0xff, 0xff], ErrorCode::MalformedFrame),
    ];
    for (frame, code) in cases {
        let mut pair = live_pair();
        pair.relay_gets(&frame);
        pair.client_gets(&frame);
        assert_both_closed(pair, code);
    }
}

/// Would go wrong: whoever does not seal its messages is taken at its word, or a text that was sent as a message is read.
#[test]
fn messages_without_a_seal_close_the_connection_with_a_code() {
    let valid = Frame::Ping(Ping { nonce: 1 }).encode();
    let cases: [(&[u8], ErrorCode); 6] = [
        (b"", ErrorCode::FrameDamaged),
        (b"\xff", ErrorCode::FrameDamaged),
        (b"hello, this is a text", ErrorCode::FrameDamaged),
        (&valid, ErrorCode::FrameDamaged),
        (&[0; 1 << 20], ErrorCode::FrameDamaged),
        (&[0; (1 << 20) + 1], ErrorCode::FrameTooLarge),
    ];
    for (message, code) in cases {
        let mut pair = live_pair();
        pair.relay(relay::Input::Frame(message));
        pair.client(client::Input::Frame(message));
        assert_both_closed(pair, code);
    }
}

/// Both sides found the same wrong with what they got.
#[track_caller]
fn assert_both_closed(mut pair: Pair, code: ErrorCode) {
    while let Some(output) = pair.client.poll() {
        if let client::Output::Close { reason: CloseReason::Protocol { code: found, .. } } = output {
            assert_eq!(found, code);
            pair.client_closed = Some(CloseReason::Done);
        }
    }
    assert!(pair.client_closed.is_some(), "the client goes on, where {code} is expected");
    pair.run();
    assert_eq!(pair.relay_closed, Some(Some(code)));
}

/// Would go wrong: whoever has not said who they are can make the relay read large frames.
#[test]
fn the_first_frame_is_small() {
    let base = sealed(0, &Frame::Hello(hello(1, 1)).encode()).len();
    for (above, code) in [(0, None), (1, Some(ErrorCode::FrameTooLarge))] {
        let limits = Limits { hello_bytes_max: base as u64, ..Limits::default() };
        let mut session =
            RelaySession::new(RelayConfig { limits, ..RelayConfig::default() }, Time::from_millis(0));
        let mut long = hello(2, 2);
        long.client_name.push_str(&"x".repeat(above));
        session.handle(Time::from_millis(1), relay::Input::Frame(&first(&Frame::Hello(long))));
        let closed = std::iter::from_fn(|| session.poll()).find_map(|output| match output {
            relay::Output::Close { code, .. } => Some(code),
            _ => None,
        });
        assert_eq!(closed, code.map(Some));
    }
}

/// Would go wrong: two sides that do not understand each other try all the same.
#[test]
fn versions_without_overlap_end_in_a_clear_refusal() {
    for (min, max, code) in [
        (2, 2, None),
        (1, 9, None),
        // The version before: its changes are of another document format.
        (1, 1, Some(ErrorCode::UnsupportedVersion)),
        (3, 4, Some(ErrorCode::UnsupportedVersion)),
        (4, 2, Some(ErrorCode::UnsupportedVersion)),
    ] {
        let mut session = RelaySession::new(RelayConfig::default(), Time::from_millis(0));
        let hello = first(&Frame::Hello(hello(min, max)));
        session.handle(Time::from_millis(1), relay::Input::Frame(&hello));
        let closed = std::iter::from_fn(|| session.poll()).find_map(|output| match output {
            relay::Output::Close { code, .. } => Some(code),
            _ => None,
        });
        assert_eq!(closed, code.map(Some), "versions {min} to {max}");
    }
}

/// Would go wrong: a client believes a relay that chose a version nobody offered.
#[test]
fn a_welcome_with_another_version_is_refused() {
    for version in [1, 3] {
        let config = client_config(&FakeReplica::default());
        let mut session = client::ClientSession::new(config, Time::from_millis(0));
        let (relay_name, relay_version) = ("r".to_owned(), "1".to_owned());
        let welcome = Welcome { version, relay_name, relay_version, limits: Limits::default() };
        session.handle(Time::from_millis(1), client::Input::Frame(&first(&Frame::Welcome(welcome))));
        let closed = std::iter::from_fn(|| session.poll()).find_map(|output| match output {
            client::Output::Close { reason } => Some(reason),
            _ => None,
        });
        assert!(matches!(closed, Some(CloseReason::Protocol { code: ErrorCode::UnsupportedVersion, .. })));
    }
}

/// Would go wrong: frames of the other side, or before the greeting, are taken for good.
#[test]
fn frames_that_do_not_belong_here_close_the_connection() {
    let mut pair = live_pair();
    let welcome = Welcome {
        version: 2,
        relay_name: "r".to_owned(),
        relay_version: "1".to_owned(),
        limits: Limits::default(),
    };
    pair.relay_gets(&Frame::Welcome(welcome).encode());
    pair.run();
    assert_eq!(pair.relay_closed, Some(Some(ErrorCode::UnexpectedFrame)));
    assert!(matches!(
        pair.client_closed,
        Some(CloseReason::Refused { code: ErrorCode::UnexpectedFrame, .. })
    ));

    let mut session = RelaySession::new(RelayConfig::default(), Time::from_millis(0));
    let ping = first(&Frame::Ping(Ping { nonce: 1 }));
    session.handle(Time::from_millis(1), relay::Input::Frame(&ping));
    let closed = std::iter::from_fn(|| session.poll())
        .any(|output| matches!(output, relay::Output::Close { code: Some(ErrorCode::UnexpectedFrame), .. }));
    assert!(closed);
}
