//! Subscribers that are slower than what is written.

use futures_util::{SinkExt, StreamExt};
use headwater::wire::{Frame, Hello, Limits, Open, OpenMode, Seal, Seen};
use headwater::{ConnectOptions, DeviceId, Map, Replica, Value};
use headwater_storage::Position;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::running::{PATIENCE, Relay, SPACE, assert_equal, numbered, space, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_without_room_for_live_frames_reads_the_feed() {
    // Would lose changes when the queue of a connection is full.
    let directory = tempfile::tempdir().unwrap();
    // No live frame ever fits, so everything has to come by way of the feed.
    let relay = Relay::start_with(directory.path(), |config| config.live_queue_bytes_max = 0).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let connections =
        [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
    for connection in &connections {
        connection.sync_now().await.unwrap();
    }
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    for number in 0..300 {
        lists.insert(numbered(number)).unwrap();
    }
    until("everything arrives", || b.entity_positions(space(), None, usize::MAX).unwrap().len() == 300).await;
    connections[0].sync_now().await.unwrap();
    assert_equal(&a, &b);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_stops_reading_holds_nobody_up_and_misses_nothing() {
    // Would let one sleeping laptop stop a whole space, or fill the relay's memory; or leave a hole where it slept.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(directory.path(), |config| config.live_queue_bytes_max = 256 << 10).await;
    let (mut sleeper, _) = connect_async(format!("{}/sync", relay.url())).await.unwrap();
    let limits = Limits::default();
    let hello = Hello {
        version_min: 2,
        version_max: 2,
        device: DeviceId::from_bytes([6; 16]),
        client_name: "sleeper".into(),
        client_version: "1".into(),
        token: None,
        limits,
    };
    let open = Open { space: space(), position: Position::default(), mode: OpenMode::Live };
    let (mut sending, mut receiving) = (Seal::default(), Seal::default());
    for frame in [Frame::Hello(hello), Frame::Open(open)] {
        sleeper.send(Message::Binary(sending.seal(&frame.encode()))).await.unwrap();
    }

    // More than the socket's buffers, the window and the live queue hold together, and not compressible.
    const CHANGES: usize = 120;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let _connections =
        [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    for number in 0..CHANGES {
        let written =
            lists.insert(Map::from([("bytes".into(), Value::Bytes(noise(number as u64, 200_000)))])).unwrap();
        // Others get it while the sleeper sleeps.
        tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
    }
    until("the others are even", || b.entity_positions(space(), None, usize::MAX).unwrap().len() == CHANGES)
        .await;
    assert_equal(&a, &b);

    let (mut seen, mut frames) = (0, 0);
    while seen < CHANGES as u64 {
        let message = tokio::time::timeout(PATIENCE, sleeper.next()).await.unwrap().unwrap().unwrap();
        let Message::Binary(bytes) = message else { continue };
        let frame = Frame::decode(receiving.open(&bytes).unwrap(), &limits).unwrap();
        let Frame::Changes(changes) = frame else { continue };
        frames += 1;
        if let Some(first) = changes.first {
            assert_eq!(first.get(), seen + 1, "a hole, or something twice");
        }
        seen += changes.entries.len() as u64;
        let Some(watermark) = changes.watermark else { continue };
        assert_eq!(watermark.seq.get(), seen);
        let seen = Frame::Seen(Seen { space: space(), frames, seq: watermark.seq });
        sleeper.send(Message::Binary(sending.seal(&seen.encode()))).await.unwrap();
    }
    relay.stop().await;
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
