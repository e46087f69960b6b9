//! One socket and its session: moves frames between them, and does what the session asks for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as WsMessage, WebSocket};
use futures_util::SinkExt;
use headwater::sync::Time;
use headwater::sync::relay::{Input, Output, RelaySession, StoreTask};
use headwater::wire::{ErrorCode, OpenMode};
use headwater_storage::{DeviceId, Pusher, SpaceId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::pace::Pace;
use crate::reads;
use crate::space::{ConnectionId, Delivery, Entries, Inbox, InboxReceiver, Mail, Push, SpaceHandle};
use crate::state::{Relay, until_draining};

/// A WebSocket close code of our own is this plus the error code.
const CLOSE_CODE_BASE: u16 = 4000;
const CLOSE_CODE_NORMAL: u16 = 1000;

/// The time for a client to read why it is closed before its socket goes.
const LINGER: Duration = Duration::from_millis(500);

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Runs one connection to its end.
pub(crate) async fn run(socket: WebSocket, peer: SocketAddr, relay: Arc<Relay>) {
    let (queue, inbox) = Inbox::new(relay.config.live_queue_bytes_max);
    let id = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let alive = relay.alive.clone();
    let session = RelaySession::new(relay.config.session.clone(), now(&relay));
    let connection =
        Connection { id, peer, relay, socket, session, queue, device: None, spaces: HashMap::new() };
    tracing::debug!(connection = id, %peer, "connected");
    connection.run(inbox).await;
    tracing::debug!(connection = id, %peer, "disconnected");
    drop(alive);
}

fn now(relay: &Relay) -> Time {
    Time::from_millis(relay.started.elapsed().as_millis() as u64)
}

struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    relay: Arc<Relay>,
    socket: WebSocket,
    session: RelaySession,
    queue: Inbox,
    device: Option<DeviceId>,
    /// space -> its actor, for the spaces that are open here
    spaces: HashMap<SpaceId, SpaceHandle>,
}

/// What comes next, not before its time. Dropping it loses nothing.
async fn received_at(socket: &mut WebSocket, at: Instant) -> Option<Result<WsMessage, axum::Error>> {
    if at > Instant::now() {
        tokio::time::sleep_until(at).await;
    }
    socket.recv().await
}

/// Why the select woke up.
enum Event {
    Received(Option<Result<WsMessage, axum::Error>>),
    Delivered(Delivery),
    Timeout,
    Drain,
}

impl Connection {
    async fn run(mut self, mut inbox: InboxReceiver) {
        let mut draining = self.relay.draining.clone();
        let mut drained = false;
        let (rate, burst) = (self.relay.config.frames_per_second_max, self.relay.config.frames_burst_max);
        let mut pace = Pace::new(rate, burst, Instant::now());
        loop {
            if self.act().await.is_break() {
                break;
            }
            let deadline =
                self.session.timeout().map(|at| self.relay.started + Duration::from_millis(at.as_millis()));
            let event = tokio::select! {
                // What is durable is acknowledged before more is taken in.
                biased;
                delivery = inbox.recv() => Event::Delivered(delivery),
                () = until_draining(&mut draining), if !drained => Event::Drain,
                received = received_at(&mut self.socket, pace.next_at()) => Event::Received(received),
                () = tokio::time::sleep_until(deadline.unwrap_or(self.relay.started)), if deadline.is_some() => Event::Timeout,
            };
            if matches!(event, Event::Received(_)) {
                pace.took_one(Instant::now());
            }
            let now = now(&self.relay);
            match event {
                Event::Received(Some(Ok(WsMessage::Binary(frame)))) => {
                    self.session.handle(now, Input::Frame(&frame))
                }
                // A text message is no frame, and the session says so.
                Event::Received(Some(Ok(WsMessage::Text(text)))) => {
                    self.session.handle(now, Input::Frame(text.as_bytes()))
                }
                Event::Received(Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_)))) => {}
                Event::Received(Some(Ok(WsMessage::Close(_))) | None) => break,
                Event::Received(Some(Err(error))) => {
                    tracing::debug!(connection = self.id, peer = %self.peer, %error, "the socket failed");
                    // A socket that still takes the reason is one whose frame was too large. The rest of that frame is never read,
                    // and closing a socket with unread bytes resets the connection, which takes the reason away from a client
                    // that has not read it yet.
                    if self.close(Some(ErrorCode::FrameTooLarge), "a frame was too large").await.is_continue()
                    {
                        tokio::time::sleep(LINGER).await;
                    }
                    break;
                }
                Event::Delivered(delivery) => delivery.hand_over(now, &mut self.session),
                Event::Timeout => self.session.handle(now, Input::Timeout),
                Event::Drain => {
                    drained = true;
                    self.session.handle(now, Input::Drain);
                }
            }
        }
        for handle in self.spaces.into_values() {
            // An actor that is gone has no subscribers left.
            let _gone = handle.send(Mail::Unsubscribe { connection: self.id }).await.is_err();
        }
    }

    /// Does everything that the session wants done by now.
    async fn act(&mut self) -> ControlFlow<()> {
        let mut sent = false;
        while let Some(output) = self.session.poll() {
            match output {
                Output::Transmit(frame) => {
                    self.send(WsMessage::Binary(frame)).await?;
                    sent = true;
                }
                Output::Close { code, message } => {
                    match code {
                        Some(code) => {
                            tracing::info!(connection = self.id, peer = %self.peer, %code, %message, "closing")
                        }
                        None => tracing::debug!(connection = self.id, %message, "closing"),
                    }
                    if self.close(code, &message).await.is_continue() {
                        self.hear_out().await;
                    }
                    return ControlFlow::Break(());
                }
                Output::Greeted { device, client_name, client_version, .. } => {
                    self.device = Some(device);
                    tracing::info!(connection = self.id, peer = %self.peer, %device, client_name, client_version, "greeted");
                }
                Output::Append { space, push_id, entries } => self.push(space, push_id, entries).await,
                Output::DeviceSeen { space, device, seq } => tracing::trace!(%space, %device, %seq, "seen"),
                read => self.read(read).await,
            }
        }
        if sent {
            return self.flush().await;
        }
        ControlFlow::Continue(())
    }

    async fn push(&mut self, space: SpaceId, push_id: u64, entries: Vec<headwater_storage::ChangeRecord>) {
        let (Some(device), Some(actor)) = (self.device, self.spaces.get(&space)) else { return };
        let (connection, answer) = (self.id, self.queue.clone());
        let pusher = Pusher { user: None, address: Some(self.peer.ip().to_string()) };
        let push = Push { connection, device, pusher, push_id, entries: Entries::Changes(entries), answer };
        // The actor lives as long as this connection holds a handle to it.
        if actor.send(Mail::Push { push, actor: actor.clone() }).await.is_err() {
            let now = now(&self.relay);
            self.session.handle(now, Input::StoreFailed { space, what: StoreTask::Append { push_id } });
        }
    }

    /// Reads of the store, each answered into the session.
    async fn read(&mut self, output: Output) {
        if let Output::Open { space, mode, .. } = &output {
            self.subscribe(*space, *mode).await;
        }
        let relay = Arc::clone(&self.relay);
        // Boxed, so that a connection to which nothing happens does not hold room for every kind of read.
        if let Some(input) = Box::pin(reads::read(&relay.config.store, output)).await {
            self.session.handle(now(&relay), input);
        }
    }

    /// Comes before the head is read, so that nothing falls between the two.
    async fn subscribe(&mut self, space: SpaceId, mode: OpenMode) {
        let handle = self.spaces.entry(space).or_insert_with(|| self.relay.hub.space(space)).clone();
        let (connection, inbox) = (self.id, self.queue.clone());
        let (done, subscribed) = oneshot::channel();
        let mail = match mode {
            OpenMode::Live => Mail::Subscribe { connection, inbox, done },
            _ => Mail::Unsubscribe { connection },
        };
        // The actor lives as long as this connection holds a handle to it.
        let _gone = handle.send(mail).await.is_err();
        if mode == OpenMode::Live {
            let _gone = subscribed.await.is_err();
        }
    }

    async fn send(&mut self, message: WsMessage) -> ControlFlow<()> {
        within_time(self.id, self.relay.config.write_ms_max, self.socket.feed(message)).await
    }

    async fn flush(&mut self) -> ControlFlow<()> {
        within_time(self.id, self.relay.config.write_ms_max, self.socket.flush()).await
    }

    /// Reads on, and heeds nothing of it, until the client hangs up. Closing a socket with unread bytes resets the connection, which
    /// takes the last frames away from a client that has not read them yet, and one that pushes always has something on its way.
    async fn hear_out(&mut self) {
        let unheeded = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _in_time = tokio::time::timeout(LINGER, unheeded).await.is_ok();
    }

    /// Says why the connection ends. Breaks if the client cannot be told any more.
    async fn close(&mut self, code: Option<ErrorCode>, message: &str) -> ControlFlow<()> {
        let code = code.map_or(CLOSE_CODE_NORMAL, |code| CLOSE_CODE_BASE.saturating_add(code.number()));
        // A close frame's reason has at most 123 bytes.
        let reason: String = message.chars().take(40).collect();
        let frame = WsMessage::Close(Some(CloseFrame { code, reason: reason.into() }));
        self.send(frame).await?;
        self.flush().await
    }
}

/// A client that takes nothing for too long is closed; it has lost nothing, and can come back.
async fn within_time(
    id: ConnectionId,
    time_ms_max: u64,
    write: impl Future<Output = Result<(), axum::Error>>,
) -> ControlFlow<()> {
    match tokio::time::timeout(Duration::from_millis(time_ms_max), write).await {
        Ok(Ok(())) => ControlFlow::Continue(()),
        Ok(Err(error)) => {
            tracing::debug!(connection = id, %error, "the socket failed");
            ControlFlow::Break(())
        }
        Err(_) => {
            tracing::info!(connection = id, "the client takes nothing any more");
            ControlFlow::Break(())
        }
    }
}
