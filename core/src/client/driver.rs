//! One connection: a socket, a session and a replica, and the bytes and calls between them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use headwater_storage::{ChangeRecord, PayloadKind, Position, SpaceId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::socket::{self, RelayUrl, Socket};
use super::status::Progress;
use super::{Phase, Status, SyncError, SyncReport};
use crate::model::Timestamp;
use crate::replica::{MergeRequest, Replica};
use crate::sync::Time;
use crate::sync::client::{ClientConfig, ClientSession, CloseReason, Event, Input, Output, SessionState};
use crate::wire::{HeadsEntry, MorePages, Retry};

/// How long the rest of a closing connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

pub(super) type SyncAnswer = oneshot::Sender<Result<SyncReport, SyncError>>;

/// What the handle asks of the running connection.
pub(super) enum Command {
    SyncNow(SyncAnswer),
}

/// Callers of `sync_now` that wait for a round to end.
#[derive(Default)]
pub(super) struct Waiting {
    /// (how many reports must have come, who waits)
    callers: Vec<(u64, SyncAnswer)>,
    reports: u64,
    is_round_running: bool,
}

impl Waiting {
    /// Whoever came before the connection began is answered by its first round.
    pub(super) fn begin(&mut self) {
        self.reports = 0;
        self.is_round_running = true;
        for (due, _) in &mut self.callers {
            *due = 1;
        }
    }

    pub(super) fn add(&mut self, answer: SyncAnswer) {
        // A round that is under way may have looked at one side already, so the one after it counts.
        self.callers.push((self.reports + 1 + u64::from(self.is_round_running), answer));
        self.is_round_running = true;
    }

    fn report(&mut self, report: SyncReport) {
        self.reports += 1;
        let reports = self.reports;
        for (_, answer) in self.callers.extract_if(.., |(due, _)| *due <= reports) {
            let _gone = answer.send(Ok(report)).is_err();
        }
        self.is_round_running = !self.callers.is_empty();
    }

    pub(super) fn fail(&mut self, error: &SyncError) {
        for (_, answer) in self.callers.drain(..) {
            let _gone = answer.send(Err(error.clone())).is_err();
        }
    }
}

/// One attempt's parts that outlive it.
pub(super) struct Driver {
    pub(super) replica: Replica,
    pub(super) url: RelayUrl,
    pub(super) status: watch::Sender<Status>,
    pub(super) waiting: Waiting,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// How a connection ended when nothing was wrong with it.
pub(super) enum Ended {
    /// It did what it came for.
    Done,
    /// The relay asked to come back after this many milliseconds.
    ComeBack(u64),
    /// The handle is gone.
    Dropped,
}

enum Happened {
    Received(Option<Result<Message, tokio_tungstenite::tungstenite::Error>>),
    Committed,
    Command(Option<Command>),
    Timeout,
}

impl Driver {
    /// Connects, and runs the session until it ends.
    pub(super) async fn run(
        &mut self,
        config: ClientConfig,
        connect_timeout: Duration,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Ended, SyncError> {
        self.status.send_modify(|status| (status.phase, status.progress) = (Phase::Connecting, None));
        let mut socket = socket::connect(&self.url, &config.limits, connect_timeout).await?;
        let spaces: Vec<SpaceId> = config.spaces.iter().map(|(space, _)| *space).collect();
        let mut commits = self.replica.local_commits();
        let started = Instant::now();
        let now = || Time::from_millis(started.elapsed().as_millis() as u64);
        self.waiting.begin();
        let mut session = ClientSession::new(config, now());
        loop {
            if let Some(reason) = self.act(&mut session, &mut socket, &now).await? {
                let _closed = tokio::time::timeout(CLOSE_TIME, socket.close(None)).await.is_ok();
                return ended(reason);
            }
            let deadline = session.timeout().map(|at| started + Duration::from_millis(at.as_millis()));
            let happened = tokio::select! {
                received = socket.next() => Happened::Received(received),
                Ok(()) = commits.changed() => Happened::Committed,
                command = commands.recv() => Happened::Command(command),
                () = tokio::time::sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => Happened::Timeout,
            };
            match happened {
                Happened::Received(Some(Ok(Message::Binary(frame)))) => {
                    self.bytes_received += frame.len() as u64;
                    session.handle(now(), Input::Frame(&frame));
                }
                Happened::Received(Some(Ok(Message::Close(frame)))) => {
                    let reason =
                        frame.map_or_else(String::new, |frame| format!("{} {}", frame.code, frame.reason));
                    return Err(SyncError::ConnectionLost(format!("the relay closed it {reason}")));
                }
                Happened::Received(Some(Ok(_))) => {}
                Happened::Received(Some(Err(error))) => {
                    return Err(SyncError::ConnectionLost(error.to_string()));
                }
                Happened::Received(None) => {
                    return Err(SyncError::ConnectionLost("the relay closed it".to_owned()));
                }
                Happened::Committed => {
                    for space in &spaces {
                        session.handle(now(), Input::LocalCommit { space: *space });
                    }
                }
                Happened::Command(Some(Command::SyncNow(answer))) => {
                    self.waiting.add(answer);
                    session.handle(now(), Input::SyncNow);
                }
                Happened::Command(None) => {
                    let _closed = tokio::time::timeout(CLOSE_TIME, socket.close(None)).await.is_ok();
                    return Ok(Ended::Dropped);
                }
                Happened::Timeout => session.handle(now(), Input::Timeout),
            }
        }
    }

    /// Does everything that the session wants done by now, in its order.
    async fn act(
        &mut self,
        session: &mut ClientSession,
        socket: &mut Socket,
        now: &impl Fn() -> Time,
    ) -> Result<Option<CloseReason>, SyncError> {
        let lost =
            |error: tokio_tungstenite::tungstenite::Error| SyncError::ConnectionLost(error.to_string());
        let mut unflushed = false;
        while let Some(output) = session.poll() {
            // A call to the store takes about as long as a message to the relay: do both at once.
            let is_call = matches!(
                output,
                Output::Merge { .. } | Output::Acknowledge { .. } | Output::ReadOutbox { .. }
            );
            if unflushed && is_call {
                socket.flush().await.map_err(lost)?;
                unflushed = false;
            }
            match output {
                Output::Transmit(frame) => {
                    self.bytes_sent += frame.len() as u64;
                    socket.feed(Message::Binary(frame)).await.map_err(lost)?;
                    unflushed = true;
                }
                Output::Event(event) => self.tell(event),
                Output::Close { reason } => {
                    socket.flush().await.map_err(lost)?;
                    return Ok(Some(reason));
                }
                call => {
                    let replica = self.replica.clone();
                    let answer = tokio::task::spawn_blocking(move || answer(&replica, call));
                    match answer.await {
                        Ok(Ok(Some(input))) => session.handle(now(), input),
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => return Err(SyncError::Store(error)),
                        Err(error) => return Err(SyncError::Store(error.to_string())),
                    }
                }
            }
        }
        if unflushed {
            socket.flush().await.map_err(lost)?;
        }
        Ok(None)
    }

    fn tell(&mut self, event: Event) {
        let now_ms = self.replica.now_ms();
        match event {
            Event::StateChanged(state) => self.status.send_modify(|status| {
                status.phase = match state {
                    SessionState::Connecting => Phase::Connecting,
                    SessionState::Syncing => Phase::Syncing,
                    SessionState::UpToDate => Phase::UpToDate,
                };
                if state == SessionState::UpToDate {
                    (status.error, status.progress) = (None, None);
                    status.last_synced = Some(Timestamp(now_ms as i64));
                }
            }),
            Event::Progress { done, total, .. } => {
                self.status.send_modify(|status| status.progress = Some(Progress { done, total }));
            }
            Event::Report { pushed, pulled, rejected } => {
                let (bytes_sent, bytes_received) = (self.bytes_sent, self.bytes_received);
                self.status.send_modify(|status| status.last_synced = Some(Timestamp(now_ms as i64)));
                self.waiting.report(SyncReport { pushed, pulled, rejected, bytes_sent, bytes_received });
            }
            Event::Error { space, code, message, .. } => {
                tracing::warn!(?space, %code, message, "the relay reports an error");
                self.status.send_modify(|status| status.error = Some(message));
            }
        }
    }
}

fn ended(reason: CloseReason) -> Result<Ended, SyncError> {
    match reason {
        CloseReason::Done => Ok(Ended::Done),
        CloseReason::Drained { reconnect_after_ms } => Ok(Ended::ComeBack(reconnect_after_ms)),
        CloseReason::Timeout => Err(SyncError::ConnectionLost("the relay is silent".to_owned())),
        CloseReason::Refused { retry_after_ms: Some(after_ms), code, .. } if code.retry() == Retry::Later => {
            Ok(Ended::ComeBack(after_ms))
        }
        CloseReason::Refused { code, message, .. } | CloseReason::Protocol { code, message } => {
            Err(SyncError::Refused { code, message })
        }
    }
}

/// Does one thing that the session asked of the replica. `Err` means that the store failed in a way that ends the session.
fn answer(replica: &Replica, call: Output) -> Result<Option<Input<'static>>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    Ok(Some(match call {
        Output::Merge { space, ticket, entries, position } => {
            match replica.merge(space, MergeRequest { records: entries, position }) {
                Ok(merged) => {
                    Input::Merged { space, ticket, pulled: merged.applied, set_aside: merged.set_aside }
                }
                Err(error) => Input::MergeFailed { space, ticket, reason: text(&error), retry: Retry::Later },
            }
        }
        Output::Acknowledge { space, acknowledged, refused, position } => {
            replica.acknowledge(space, acknowledged, refused, position).map_err(|error| text(&error))?;
            return Ok(None);
        }
        Output::ReadOutbox { space, after, entries_max, bytes_max } => {
            let entries =
                replica.outbox(space, after, entries_max, bytes_max).map_err(|error| text(&error))?;
            // Fewer than asked for can also mean that the bytes ran out; only an empty page is surely the end.
            let exhausted = entries.is_empty();
            Input::OutboxPage { space, entries, exhausted }
        }
        Output::LoadEntity { space, entity } => {
            let Some(collection) = replica.collection_of(space, entity).map_err(|error| text(&error))? else {
                return Ok(None);
            };
            let changes = replica.entity_changes(space, entity).map_err(|error| text(&error))?;
            let record = |(hash, payload): (_, Bytes)| {
                let (kind, collection) = (PayloadKind::Change, collection.clone());
                ChangeRecord { entity, collection, kind, hash, payload }
            };
            let changes = changes.into_iter().map(record).collect();
            Input::EntityLoaded { space, entity, changes, collection }
        }
        Output::ListEntities { space, after, entities_max } => {
            let positions =
                replica.entity_positions(space, after, entities_max).map_err(|error| text(&error))?;
            let more = if positions.len() < entities_max { MorePages::No } else { MorePages::Yes };
            let entry = |position: crate::replica::EntityPosition| HeadsEntry {
                entity: position.entity,
                collection: position.collection,
                heads: position.heads,
            };
            Input::EntityList { space, entities: positions.into_iter().map(entry).collect(), more }
        }
        Output::Transmit(_) | Output::Event(_) | Output::Close { .. } => return Ok(None),
    }))
}

/// Where a replica stands in the spaces of a connection.
pub(super) fn positions(
    replica: &Replica,
    spaces: &[SpaceId],
) -> Result<Vec<(SpaceId, Position)>, SyncError> {
    spaces
        .iter()
        .map(|space| {
            Ok((*space, replica.position(*space).map_err(|error| SyncError::Store(error.to_string()))?))
        })
        .collect()
}
