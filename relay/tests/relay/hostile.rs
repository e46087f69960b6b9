//! Clients that send what they must not. Each is closed with the reason, and nobody else notices.

use bytes::Bytes;
use headwater::wire::{ErrorCode, Frame, Limits, Open, OpenMode, Ping, Push, SEAL_BYTES, Seal, SyncMessage};
use headwater::{ConnectOptions, Connection, EntityId, Patches, Replica};
use headwater_storage::{CollectionName, Position};
use tokio_tungstenite::tungstenite::Message;

use crate::raw::{Ending, Raw, Sent, hello};
use crate::running::{PATIENCE, Relay, SPACE, assert_equal, numbered, read_feed, space};

/// Two devices that are connected to the same space all the time.
struct Others {
    a: Replica,
    b: Replica,
    patches: Patches,
    connections: Vec<Connection>,
    written: i64,
}

impl Others {
    async fn connect(directory: &std::path::Path, relay: &Relay) -> Others {
        let [a, b] = ["a", "b"].map(|name| Replica::open(directory.join(name)).unwrap());
        let connections =
            [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
        for connection in &connections {
            connection.sync_now().await.unwrap();
        }
        Others { patches: b.patches(), a, b, connections: connections.into(), written: 0 }
    }

    /// An edit still goes from one to the other.
    async fn sync(&mut self, after: &str) {
        let lists = self.a.space(SPACE).dynamic("lists").unwrap();
        self.written += 1;
        let written = lists.insert(numbered(self.written)).unwrap();
        let patch = tokio::time::timeout(PATIENCE, self.patches.next()).await;
        let patch = patch.unwrap_or_else(|_| panic!("nothing arrives any more after {after}"));
        assert_eq!(patch.unwrap().unwrap().entity, written.id, "after {after}");
    }

    /// Ends both, and checks that the feed holds what they wrote and nothing else.
    async fn end(self, directory: &std::path::Path, relay: Relay) {
        for connection in &self.connections {
            assert_eq!(connection.status().error, None);
        }
        assert_equal(&self.a, &self.b);
        for connection in self.connections {
            connection.disconnect().await;
        }
        relay.stop().await;
        assert_eq!(read_feed(directory).await.len() as i64, self.written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_close_only_their_connection() {
    // Would let one broken client take the relay, or the others' connections, down.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let mut others = Others::connect(directory.path(), &relay).await;
    let push = Frame::Push(Push { space: space(), push_id: 1, entries: Vec::new() }).encode();
    let truncated = hello().encode();
    let truncated = truncated.slice(..truncated.len() - 5);
    let limits = Limits::default();
    let large = |message_bytes: u64| {
        Sent::Sealed(Bytes::from(vec![0; usize::try_from(message_bytes - SEAL_BYTES).unwrap()]))
    };
    let sealed = |bytes: &'static [u8]| Sent::Sealed(Bytes::from_static(bytes));
    let bare = |bytes: &'static [u8]| Sent::Bare(Message::Binary(Bytes::from_static(bytes)));
    let text = || Sent::Bare(Message::Text("hello".into()));
    let first_frames = [
        ("garbage", bare(b"\xff\x00garbage"), ErrorCode::FrameDamaged),
        ("sealed garbage", sealed(b"\xff\x00garbage"), ErrorCode::MalformedFrame),
        ("an empty message", bare(b""), ErrorCode::FrameDamaged),
        ("an empty frame", sealed(b""), ErrorCode::MalformedFrame),
        ("a hello without a seal", Sent::Bare(Message::Binary(hello().encode())), ErrorCode::FrameDamaged),
        ("a truncated frame", Sent::Sealed(truncated.clone()), ErrorCode::MalformedFrame),
        ("an unknown frame type", sealed(&[0x82, 0x18, 99, 0xa0]), ErrorCode::UnknownFrame),
        ("a text message", text(), ErrorCode::FrameDamaged),
        ("a push before hello", Sent::Sealed(push), ErrorCode::UnexpectedFrame),
        ("a large first frame", large(limits.hello_bytes_max + 1), ErrorCode::FrameTooLarge),
        ("a huge first frame", large(limits.frame_bytes_max + 1), ErrorCode::FrameTooLarge),
    ];
    for (what, sent, code) in first_frames {
        let mut raw = Raw::connect(&relay).await;
        raw.send_any(sent).await;
        assert_ended(what, &raw.ending().await, code);
        others.sync(what).await;
    }
    let ping = Frame::Ping(Ping { nonce: 1 }).encode();
    let again = Seal::default().seal(&hello().encode());
    let later_frames = [
        ("later garbage", bare(b"\xff\x00garbage"), ErrorCode::FrameDamaged),
        ("later sealed garbage", sealed(b"\xff\x00garbage"), ErrorCode::MalformedFrame),
        ("a later ping without a seal", Sent::Bare(Message::Binary(ping)), ErrorCode::FrameDamaged),
        ("hello once more, as it was", Sent::Bare(Message::Binary(again)), ErrorCode::FrameDamaged),
        ("a truncated later frame", Sent::Sealed(truncated), ErrorCode::MalformedFrame),
        ("a later unknown frame type", sealed(&[0x82, 0x18, 99, 0xa0]), ErrorCode::UnknownFrame),
        ("a second hello", Sent::Sealed(hello().encode()), ErrorCode::UnexpectedFrame),
        ("a later text message", text(), ErrorCode::FrameDamaged),
        ("a huge later frame", large(limits.frame_bytes_max + 1), ErrorCode::FrameTooLarge),
    ];
    for (what, sent, code) in later_frames {
        let mut raw = Raw::greeted(&relay).await;
        raw.send_any(sent).await;
        assert_ended(what, &raw.ending().await, code);
        others.sync(what).await;
    }
    others.end(directory.path(), relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_message_that_would_crash_the_engine_is_refused() {
    // Would abort the relay with ten bytes: a Bloom filter with no bits divides by zero, one with 2^32 probes allocates 16 GiB.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let mut others = Others::connect(directory.path(), &relay).await;
    others.sync("nothing").await;
    let entity = others.a.entity_positions(space(), None, 1).unwrap()[0].entity;
    // Type 0x42, no heads, no needs, one have: no last sync, then a filter of 5 or 8 bytes; no changes.
    let zero_bits: &[u8] = &[0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0];
    let many_probes: &[u8] = &[0x42, 0, 0, 1, 0, 9, 1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    for (what, message) in
        [("no bits", zero_bits), ("2^32 probes", many_probes), ("garbage", b"\x42\xff\xff")]
    {
        let mut raw = Raw::greeted(&relay).await;
        raw.send(&Frame::Open(Open { space: space(), position: Position::default(), mode: OpenMode::Once }))
            .await;
        raw.send(&Frame::SyncMessage(SyncMessage {
            space: space(),
            entity,
            collection: CollectionName::new("lists").unwrap(),
            message: Bytes::copy_from_slice(message),
        }))
        .await;
        let answer = loop {
            match raw.frame().await {
                Frame::SyncMessage(message) => break message,
                Frame::Error(error) => panic!("{what}: {error:?}"),
                _ => {}
            }
        };
        // An empty message: the entity has to be exchanged whole. The client may stay.
        assert!(answer.message.is_empty(), "{what}: {answer:?}");
        raw.send(&Frame::Ping(Ping { nonce: 1 })).await;
        others.sync(what).await;
    }
    others.end(directory.path(), relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pushes_garbage_gets_a_reason_for_each_change() {
    // Would let a broken change into the feed, where it breaks every device of the space.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let mut others = Others::connect(directory.path(), &relay).await;
    let mut raw = Raw::greeted(&relay).await;
    raw.send(&Frame::Open(Open { space: space(), position: Position::default(), mode: OpenMode::PushOnly }))
        .await;
    let record = |number: u8| headwater_storage::ChangeRecord {
        entity: EntityId::from_bytes([number; 16]),
        collection: CollectionName::new("lists").unwrap(),
        kind: headwater_storage::PayloadKind::Change,
        hash: headwater::ChangeHash::from_bytes([number; 32]),
        payload: Bytes::from(vec![number; 100]),
    };
    raw.send(&Frame::Push(Push { space: space(), push_id: 1, entries: (0..5).map(record).collect() })).await;
    let ack = loop {
        if let Frame::Ack(ack) = raw.frame().await {
            break ack;
        }
    };
    assert_eq!(ack.results.len(), 5);
    for result in ack.results {
        let headwater::wire::AckResult::Refused { code, .. } = result else { panic!("{result:?}") };
        assert_eq!(code, ErrorCode::ChangeInvalid);
    }
    others.sync("garbage in a push").await;
    others.end(directory.path(), relay).await;
}

#[track_caller]
fn assert_ended(what: &str, ending: &Ending, code: ErrorCode) {
    assert_eq!(ending.close_code, Some(4000 + code.number()), "{what}: {ending:?}");
    // A frame that the socket itself refused never reached the session, so only the close code tells.
    assert!(
        ending.error == Some(code) || (ending.error.is_none() && code == ErrorCode::FrameTooLarge),
        "{what}: {ending:?}"
    );
}
