//! Passing on without Headwater: every message of anyone goes to everyone else.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

use super::socket::serve;

/// How many messages one connection may be behind: more than any benchmark sends.
const BEHIND_MAX: usize = 4096;

/// Sends every message to all connections, the sender's included.
pub async fn serve_broadcast() -> SocketAddr {
    let (everyone, _) = broadcast::channel::<Bytes>(BEHIND_MAX);
    serve(move |mut socket| {
        let (everyone, mut messages) = (everyone.clone(), everyone.subscribe());
        async move {
            loop {
                let done = tokio::select! {
                    received = socket.next() => match received {
                        Some(Ok(Message::Binary(bytes))) => everyone.send(bytes).is_err(),
                        Some(Ok(_)) => false,
                        Some(Err(_)) | None => true,
                    },
                    message = messages.recv() => match message {
                        Ok(bytes) => socket.send(Message::Binary(bytes)).await.is_err(),
                        Err(_) => true,
                    },
                };
                if done {
                    return;
                }
            }
        }
    })
    .await
}
