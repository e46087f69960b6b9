//! A client that keeps to the protocol only as far as a test wants.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use headwater::DeviceId;
use headwater::wire::{AckResult, ErrorCode, Frame, Hello, Limits, Open, OpenMode, Push, Seal, Severity};
use headwater_storage::{ChangeRecord, Position};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::running::{PATIENCE, Relay, space};

/// A socket without the care of a real client.
pub(crate) struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sending: Seal,
    receiving: Seal,
}

/// What such a client sends.
pub(crate) enum Sent {
    /// Bytes with a seal that fits, whatever they are.
    Sealed(Bytes),
    /// A message as it is.
    Bare(Message),
}

/// How the relay ended a connection.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) error: Option<ErrorCode>,
    pub(crate) close_code: Option<u16>,
}

impl Raw {
    pub(crate) async fn connect(relay: &Relay) -> Raw {
        let (socket, _) = connect_async(format!("{}/sync", relay.url())).await.unwrap();
        Raw { socket, sending: Seal::default(), receiving: Seal::default() }
    }

    pub(crate) async fn greeted(relay: &Relay) -> Raw {
        let mut raw = Raw::connect(relay).await;
        raw.send(&hello()).await;
        assert!(matches!(raw.frame().await, Frame::Welcome(_)));
        raw
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.send_any(Sent::Sealed(frame.encode())).await;
    }

    pub(crate) async fn send_any(&mut self, sent: Sent) {
        let message = match sent {
            Sent::Sealed(frame) => Message::Binary(self.sending.seal(&frame)),
            Sent::Bare(message) => message,
        };
        self.socket.send(message).await.unwrap();
    }

    pub(crate) fn open(&mut self, message: &[u8]) -> Frame {
        Frame::decode(self.receiving.open(message).unwrap(), &Limits::default()).unwrap()
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap() {
                Message::Binary(bytes) => return self.open(&bytes),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads until the relay has closed the connection.
    pub(crate) async fn ending(mut self) -> Ending {
        let mut ending = Ending::default();
        while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap() {
            match message {
                Message::Binary(bytes) => {
                    if let Frame::Error(error) = self.open(&bytes) {
                        assert_eq!(error.severity, Severity::Fatal);
                        ending.error = Some(error.code);
                    }
                }
                Message::Close(frame) => ending.close_code = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        ending
    }
}

pub(crate) fn hello() -> Frame {
    Frame::Hello(Hello {
        version_min: 2,
        version_max: 2,
        device: DeviceId::from_bytes([6; 16]),
        client_name: "hostile".into(),
        client_version: "1".into(),
        token: None,
        limits: Limits::default(),
    })
}

impl Raw {
    /// A socket that has the tests' space open and only pushes.
    pub(crate) async fn pushing(relay: &Relay) -> Raw {
        let mut raw = Raw::greeted(relay).await;
        let open = Open { space: space(), position: Position::default(), mode: OpenMode::PushOnly };
        raw.send(&Frame::Open(open)).await;
        raw
    }

    /// Pushes changes and waits for what becomes of them.
    pub(crate) async fn push(&mut self, push_id: u64, entries: Vec<ChangeRecord>) -> Vec<AckResult> {
        self.send(&Frame::Push(Push { space: space(), push_id, entries })).await;
        loop {
            if let Frame::Ack(ack) = self.frame().await {
                return ack.results;
            }
        }
    }
}
