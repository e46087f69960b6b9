//! Clients that speak the protocol and keep nothing: load for a relay, so that many of them fit beside it on one machine. What they
//! push was made beforehand, and what they receive is counted, acknowledged as `Seen`, and dropped.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use headwater::wire::{
    Ack, AckResult, Changes, Frame, Hello, Limits, Open, OpenMode, OpenedStanding, Part, Push, Seal, Seen,
};
use headwater::{DeviceId, SpaceId};
use headwater_storage::{ChangeRecord, Position};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::OrExit;

/// Of the socket, in bytes: thousands of clients share this process.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// One connection, greeted.
pub struct WireClient {
    socket: WebSocketStream<TcpStream>,
    sending: Seal,
    receiving: Seal,
    limits: Limits,
    /// Of [`WireClient::follow`], to say what was seen.
    changes_frames: u64,
    pushes: u64,
}

impl WireClient {
    /// Connects as the device with this number.
    pub async fn connect(relay: SocketAddr, device: u64) -> WireClient {
        let stream = TcpStream::connect(relay).await.or_exit("connecting");
        stream.set_nodelay(true).or_exit("setting TCP_NODELAY");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let (socket, _) = client_async_with_config(format!("ws://{relay}/sync"), stream, Some(config))
            .await
            .or_exit("shaking hands");
        let (sending, receiving) = (Seal::default(), Seal::default());
        let limits = Limits::default();
        let mut client = WireClient { socket, sending, receiving, limits, changes_frames: 0, pushes: 0 };
        let device = DeviceId::from_bytes(u128::from(device).to_be_bytes());
        client
            .send(&Frame::Hello(Hello {
                version_min: 2,
                version_max: 2,
                device,
                client_name: "load".to_owned(),
                client_version: "1".to_owned(),
                token: None,
                limits,
            }))
            .await;
        match client.next().await {
            Frame::Welcome(welcome) => client.limits = welcome.limits,
            other => None::<()>.or_exit(&format!("being welcomed, but with {}", other.name())),
        }
        client
    }

    /// Opens a space to push only.
    pub async fn open_to_push(&mut self, space: SpaceId) {
        self.open(space, OpenMode::PushOnly).await;
    }

    /// Opens a space and takes in what is there. From then on [`WireClient::follow`] gives what comes.
    pub async fn open_live(&mut self, space: SpaceId) {
        if self.open(space, OpenMode::Live).await == OpenedStanding::Resume {
            while self.follow(space).await.part != Part::LastPage {}
        }
    }

    async fn open(&mut self, space: SpaceId, mode: OpenMode) -> OpenedStanding {
        self.send(&Frame::Open(Open { space, position: Position::default(), mode })).await;
        loop {
            if let Frame::Opened(opened) = self.next().await {
                return opened.standing;
            }
        }
    }

    /// The next changes of the space, said to be seen.
    pub async fn follow(&mut self, space: SpaceId) -> Changes {
        loop {
            match self.next().await {
                Frame::Changes(changes) => {
                    self.changes_frames += 1;
                    let (frames, seq) = (self.changes_frames, changes.head);
                    self.send(&Frame::Seen(Seen { space, frames, seq })).await;
                    return changes;
                }
                Frame::Ping(ping) => {
                    self.send(&Frame::Pong(headwater::wire::Pong { nonce: ping.nonce })).await
                }
                _ => {}
            }
        }
    }

    /// Puts a push on its way. It goes out with the next [`WireClient::flush`].
    pub async fn push(&mut self, space: SpaceId, entries: Vec<ChangeRecord>) {
        self.pushes += 1;
        let push = Frame::Push(Push { space, push_id: self.pushes, entries });
        let message = self.sending.seal(&push.encode());
        self.socket.feed(Message::Binary(message)).await.or_exit("pushing");
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) {
        self.socket.flush().await.or_exit("flushing");
    }

    /// The next acknowledgement: how many changes were taken. Refused ones end the process.
    pub async fn acknowledged(&mut self) -> usize {
        let Ack { results, .. } = loop {
            if let Frame::Ack(ack) = self.next().await {
                break ack;
            }
        };
        for result in &results {
            if let AckResult::Refused { code, message, .. } = result {
                return None.or_exit(&format!("pushing: {code}: {message}"));
            }
        }
        results.len()
    }

    /// Answers what has to be answered, for as long as it is polled: the life of a client to which nothing happens.
    pub async fn idle(&mut self, space: SpaceId) {
        loop {
            self.follow(space).await;
        }
    }

    async fn send(&mut self, frame: &Frame) {
        let message = self.sending.seal(&frame.encode());
        self.socket.send(Message::Binary(message)).await.or_exit("sending");
    }

    async fn next(&mut self) -> Frame {
        loop {
            match self.socket.next().await.or_exit("receiving").or_exit("receiving") {
                Message::Binary(message) => return self.read(&message),
                Message::Close(frame) => return None.or_exit(&format!("staying connected: {frame:?}")),
                _ => {}
            }
        }
    }

    fn read(&mut self, message: &Bytes) -> Frame {
        let frame = self.receiving.open(message).or_exit("unsealing a frame");
        Frame::decode(frame, &self.limits).or_exit("reading a frame")
    }
}
