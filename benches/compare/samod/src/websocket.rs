//! WebSocket connections for samod.
//!
//! samod has this built in, but only together with TLS over OpenSSL. What is here does what its `TungsteniteDialer` and
//! `accept_tungstenite` do, with one difference: Nagle's algorithm is off. With it on, a small message can wait for the peer's
//! delayed acknowledgement of the one before, and the figures would be those of TCP.

use std::convert::Infallible;
use std::future::ready;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use samod::{DialError, Dialer, Transport, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, connect_async_with_config};

const NO_NAGLE: bool = true;

/// Connects to a server over plain TCP.
pub(crate) struct WebSocketDialer {
    pub(crate) url: Url,
}

impl Dialer for WebSocketDialer {
    type Error = Infallible;

    fn url(&self) -> Url {
        self.url.clone()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Transport, DialError<Infallible>>> {
        let url = self.url.clone();
        async move {
            let connecting = connect_async_with_config(url.as_str(), None, NO_NAGLE);
            let (socket, _response) = connecting.await.map_err(DialError::transient)?;
            Ok(transport(socket))
        }
        .boxed()
    }
}

/// Does the server's side of the handshake.
pub(crate) async fn accept(socket: TcpStream) -> Result<Transport, Error> {
    socket.set_nodelay(NO_NAGLE)?;
    Ok(transport(accept_async(socket).await?))
}

/// Each message of samod is one binary message.
fn transport<S>(socket: WebSocketStream<S>) -> Transport
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, stream) = socket.split();
    let received = stream.filter_map(|message| ready(payload(message).transpose()));
    let sent = sink.with(|payload: Vec<u8>| ready(Ok::<_, Error>(Message::binary(payload))));
    Transport::new(received, sent)
}

fn payload(message: Result<Message, Error>) -> Result<Option<Vec<u8>>, Error> {
    Ok(match message? {
        Message::Binary(payload) => Some(payload.into()),
        // The rest is the business of tungstenite: it answers pings, and ends the stream after a close.
        _ => None,
    })
}
