//! The relay's HTTP side: `/healthz` for supervisors, `/sync` (or `/`) for WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::admission::Admitted;
use crate::config::Exposure;
use crate::connection;
use crate::state::Relay;

/// Who is connected, and their place among the connections, which is free again when the last part of it ends.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    admitted: Arc<Admitted>,
}

pub(crate) fn router(relay: Arc<Relay>, address: SocketAddr, admitted: Arc<Admitted>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/sync", get(sync))
        .route("/", get(sync))
        .layer(Extension(Peer { address, admitted }))
        .with_state(relay)
}

/// 200 while the store takes what is pushed and the relay is not about to stop; 503 otherwise. The log says why.
async fn health(State(relay): State<Arc<Relay>>) -> (StatusCode, &'static str) {
    if *relay.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    // Whoever asks often makes nobody wait: only the watchdog tries what has failed.
    match relay.config.store.takes_appends().await {
        Ok(_) => (StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::debug!(%error, "the store takes nothing");
            (StatusCode::SERVICE_UNAVAILABLE, "the store takes nothing\n")
        }
    }
}

async fn sync(
    State(relay): State<Arc<Relay>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if relay.config.exposure == Exposure::LoopbackOnly && !is_from_this_machine(&headers) {
        tracing::warn!(peer = %peer.address, "a web page from elsewhere was refused");
        return (StatusCode::FORBIDDEN, "this relay serves its own machine only\n").into_response();
    }
    let frame_bytes_max = usize::try_from(relay.config.session.limits.frame_bytes_max).unwrap_or(usize::MAX);
    upgrade
        .read_buffer_size(relay.config.read_buffer_bytes)
        .write_buffer_size(0)
        .max_write_buffer_size(frame_bytes_max.saturating_mul(2))
        .max_message_size(frame_bytes_max)
        .max_frame_size(frame_bytes_max)
        .on_upgrade(move |socket| {
            // Boxed: the futures around it would each hold room for it, several KiB for every connection.
            Box::pin(async move {
                connection::run(socket, peer.address, relay).await;
                drop(peer.admitted);
            })
        })
}

/// Whether no web page asks, or one that this machine serves. A browser lets any page open a WebSocket to a local port, so
/// without this every website could read what a local relay holds.
fn is_from_this_machine(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    match uri.as_ref().and_then(Uri::host) {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_local_pages_may_use_a_local_relay() {
        // Would let any website that the user visits read and write everything on a local relay.
        let allowed = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            is_from_this_machine(&headers)
        };
        assert!(is_from_this_machine(&HeaderMap::new()));
        for local in ["http://localhost:5173", "http://127.0.0.1", "https://[::1]:8443"] {
            assert!(allowed(local), "{local}");
        }
        for foreign in
            ["https://example.org", "http://localhost.example.org", "http://10.0.0.1", "null", "", "file://"]
        {
            assert!(!allowed(foreign), "{foreign}");
        }
    }
}
