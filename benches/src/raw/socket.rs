//! WebSocket without Headwater.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::Log;
use crate::OrExit;

/// One connection.
pub type Socket = WebSocketStream<TcpStream>;

/// Sends every message back once it is committed to `log`, if there is one.
pub async fn serve_echo(log: Option<Log>) -> SocketAddr {
    let log = log.map(Arc::new);
    serve(move |mut socket| {
        let log = log.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                if let (Some(log), Message::Binary(bytes)) = (&log, &message) {
                    // Blocks this task's thread, as long as a flush takes; nothing else runs on it.
                    log.append(bytes);
                }
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}

/// Sends `frames` to everyone who connects, then closes.
pub async fn serve_frames(frames: Vec<Bytes>) -> SocketAddr {
    serve(move |mut socket| {
        let frames = frames.clone();
        async move {
            for frame in frames {
                if socket.send(Message::Binary(frame)).await.is_err() {
                    return;
                }
            }
            // The other side may have closed already; it has everything then.
            let _closed = socket.close(None).await.is_ok();
        }
    })
    .await
}

/// Connects to one of the above.
pub async fn connect(address: SocketAddr) -> Socket {
    let stream = TcpStream::connect(address).await.or_exit("connecting");
    stream.set_nodelay(true).or_exit("setting TCP_NODELAY");
    client_async(format!("ws://{address}"), stream).await.or_exit("shaking hands").0
}

/// Accepts on a free port, and has `answer` talk to each connection.
pub(super) async fn serve<F>(answer: impl Fn(Socket) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.or_exit("binding a port");
    let address = listener.local_addr().or_exit("reading the port");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).or_exit("setting TCP_NODELAY");
            let socket = accept_async(stream).await.or_exit("shaking hands");
            tokio::spawn(answer(socket));
        }
    });
    address
}
