//! The relay's HTTP side: `/healthz` for supervisors, `/sync` (or `/`) for WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection;
use crate::server::Relay;

/// Who is connected, and their place among the connections, which is free again when the last part of it ends.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    permit: Arc<OwnedSemaphorePermit>,
}

pub(crate) fn router(relay: Arc<Relay>, address: SocketAddr, permit: Arc<OwnedSemaphorePermit>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/sync", get(sync))
        .route("/", get(sync))
        .layer(Extension(Peer { address, permit }))
        .with_state(relay)
}

/// 200 while the store answers and the relay is not about to stop; 503 otherwise.
async fn health(State(relay): State<Arc<Relay>>) -> (StatusCode, &'static str) {
    if *relay.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match relay.config.store.spaces().await {
        Ok(_) => (StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::error!(%error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        }
    }
}

async fn sync(
    State(relay): State<Arc<Relay>>,
    Extension(peer): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let frame_bytes_max = usize::try_from(relay.config.session.limits.frame_bytes_max).unwrap_or(usize::MAX);
    upgrade
        .read_buffer_size(relay.config.read_buffer_bytes)
        .write_buffer_size(0)
        .max_write_buffer_size(frame_bytes_max.saturating_mul(2))
        .max_message_size(frame_bytes_max)
        .max_frame_size(frame_bytes_max)
        .on_upgrade(move |socket| async move {
            connection::run(socket, peer.address, relay).await;
            drop(peer.permit);
        })
}
