use std::fmt;
use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{Request, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{ByteStream, ConnectError, SyncError, Transport};
use crate::wire::Limits;

pub(super) type Socket = WebSocketStream<Box<dyn ByteStream>>;

/// Read buffer of the socket, in bytes. The library's own default is 128 KiB for each connection.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 80;

/// Where a relay is, checked.
#[derive(Clone, Debug)]
pub(super) struct RelayUrl(Uri);

impl fmt::Display for RelayUrl {
    /// Without what may stand in front of the host: logs are no place for a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}:{}{}", self.0.host().unwrap_or_default(), self.port(), self.0.path())
    }
}

impl RelayUrl {
    pub(super) fn parse(url: &str) -> Result<RelayUrl, ConnectError> {
        let bad = |reason: &str| ConnectError::BadUrl {
            url: url.chars().take(200).collect(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad("it cannot be read"))?;
        let Some(authority) = uri.authority() else { return Err(bad("it names no host")) };
        match uri.scheme_str() {
            Some("ws" | "http") => {}
            Some("wss" | "https") => return Err(bad("TLS is not supported yet; put a tunnel in between")),
            _ => return Err(bad("it begins with neither ws:// nor http://")),
        }
        let path = match uri.path() {
            "" | "/" => "/sync",
            path => path,
        };
        let parts = Uri::builder().scheme("ws").authority(authority.as_str()).path_and_query(path);
        parts.build().map(RelayUrl).map_err(|error| bad(&error.to_string()))
    }

    /// The host as a socket wants it: an IPv6 address without its brackets.
    fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(DEFAULT_PORT)
    }

    fn request(&self) -> Result<Request<()>, String> {
        self.0.clone().into_client_request().map_err(|error| error.to_string())
    }
}

/// Opens a stream and makes it a WebSocket, both within `timeout`.
pub(super) async fn connect(
    url: &RelayUrl,
    transport: &dyn Transport,
    limits: &Limits,
    timeout: Duration,
) -> Result<Socket, SyncError> {
    let frame_bytes_max = usize::try_from(limits.frame_bytes_max).unwrap_or(usize::MAX);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(frame_bytes_max.saturating_mul(2))
        .max_message_size(Some(frame_bytes_max))
        .max_frame_size(Some(frame_bytes_max));
    let request = url.request().map_err(SyncError::Unreachable)?;
    let connecting = async {
        let stream = transport.open(url.host(), url.port()).await.map_err(|error| error.to_string())?;
        client_async_with_config(request, stream, Some(config)).await.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(SyncError::Unreachable(error)),
        Err(_) => Err(SyncError::Unreachable("it took too long".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_tried() {
        // Would retry a typing error for ever, or connect to the wrong path.
        let parse = |url| RelayUrl::parse(url).map(|url| url.0.to_string());
        assert_eq!(parse("ws://127.0.0.1:8787").unwrap(), "ws://127.0.0.1:8787/sync");
        assert_eq!(parse("http://relay.example/").unwrap(), "ws://relay.example/sync");
        assert_eq!(parse("ws://relay.example/a/b").unwrap(), "ws://relay.example/a/b");
        let place = |url| RelayUrl::parse(url).map(|url| (url.host().to_owned(), url.port())).unwrap();
        assert_eq!(place("ws://relay.example"), ("relay.example".to_owned(), 80));
        assert_eq!(place("ws://[::1]:8787"), ("::1".to_owned(), 8787));
        for bad in ["", "relay.example:80", "ftp://a", "wss://a", "ws://", "not a url"] {
            assert!(matches!(parse(bad), Err(ConnectError::BadUrl { .. })), "{bad}");
        }
    }
}
