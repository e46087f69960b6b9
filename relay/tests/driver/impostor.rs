//! What answers in a relay's place, or calls in a client's.

use std::future::pending;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use headwater::wire::{Frame, Limits, Seal, VERSIONS, Welcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};
use turmoil::net::{TcpListener, TcpStream};

use crate::net::PORT;
use crate::world::{DEAD_MS, PING_MS, RELAY, url};

/// Something that is no relay, on a relay's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impostor {
    /// Nobody listens.
    Nobody,
    /// Takes the connection and says nothing.
    Silent,
    /// An HTTP server that is not ready.
    Unavailable,
    /// A WebSocket on which something else is spoken.
    Garbage,
    /// A WebSocket on which nothing is said.
    SilentSocket,
    /// A relay that says welcome, and nothing after it.
    SilentWelcome,
}

impl Impostor {
    /// Answers every caller until it is dropped.
    pub(crate) async fn answer(self) -> turmoil::Result {
        if self == Impostor::Nobody {
            pending::<()>().await;
        }
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A caller that is gone is no failure of the test.
                let _gone = self.answer_one(stream).await.is_err();
            });
        }
    }

    async fn answer_one(self, mut stream: TcpStream) -> turmoil::Result {
        match self {
            Impostor::Nobody | Impostor::Silent => {}
            Impostor::Unavailable => {
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await?;
                let answer =
                    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await?;
                return Ok(());
            }
            Impostor::Garbage => {
                let mut socket = accept_async(stream).await?;
                socket.send(Message::Binary(vec![0xff; 64].into())).await?;
                while let Some(Ok(_)) = socket.next().await {}
                return Ok(());
            }
            Impostor::SilentSocket => {
                let mut socket = accept_async(stream).await?;
                while let Some(Ok(_)) = socket.next().await {}
                return Ok(());
            }
            Impostor::SilentWelcome => {
                let mut socket = accept_async(stream).await?;
                let limits =
                    Limits { ping_interval_ms: PING_MS, dead_after_ms: DEAD_MS, ..Limits::default() };
                let (relay_name, relay_version) = ("impostor".to_owned(), String::new());
                let welcome =
                    Frame::Welcome(Welcome { version: *VERSIONS.end(), relay_name, relay_version, limits });
                socket.send(Message::Binary(Seal::default().seal(&welcome.encode()))).await?;
                while let Some(Ok(_)) = socket.next().await {}
                return Ok(());
            }
        }
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await? > 0 {}
        Ok(())
    }
}

/// Someone who calls a relay and does not go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    Mute,
    HalfHead,
    SocketOnly,
}

impl Caller {
    /// Calls, and stays until the relay hangs up.
    pub(crate) async fn call(self, hung_up: Arc<tokio::sync::Notify>) -> turmoil::Result {
        let mut stream = TcpStream::connect((RELAY, PORT)).await?;
        match self {
            Caller::Mute => {}
            Caller::HalfHead => stream.write_all(b"GET /sync HTTP/1.1\r\nhost: relay\r\nupgr").await?,
            Caller::SocketOnly => {
                let (mut socket, _) = client_async(format!("{}/sync", url()), stream).await?;
                while let Some(Ok(_)) = socket.next().await {}
                hung_up.notify_one();
                return Ok(());
            }
        }
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        hung_up.notify_one();
        Ok(())
    }
}
