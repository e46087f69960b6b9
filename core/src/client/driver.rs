//! One connection: a socket, a session and a replica, and the bytes and calls between them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use headwater_storage::{Position, SpaceId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::socket::{self, RelayUrl, Socket};
use super::status::Progress;
use super::{Phase, Status, SyncError, SyncReport, Transport};
use crate::model::Timestamp;
use crate::replica::{MergeError, Replica};
use crate::sync::Time;
use crate::sync::client::{ClientConfig, ClientSession, CloseReason, Event, Input, Output, SessionState};
use crate::wire::Retry;

/// How long the rest of a closing connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Up to so many waiting changes are read where the connection runs: that takes microseconds, as changing to another thread does.
const READ_AT_ONCE_MAX: u64 = 32;

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

    fn report(&mut self, report: Result<SyncReport, SyncError>) {
        self.reports += 1;
        let reports = self.reports;
        for (_, answer) in self.callers.extract_if(.., |(due, _)| *due <= reports) {
            let _gone = answer.send(report.clone()).is_err();
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
    pub(super) transport: Arc<dyn Transport>,
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
        let mut socket =
            socket::connect(&self.url, &*self.transport, &config.limits, connect_timeout).await?;
        let patience = Duration::from_millis(config.limits.dead_after_ms);
        let spaces: Vec<SpaceId> = config.spaces.iter().map(|(space, _)| *space).collect();
        let mut commits = self.replica.local_commits();
        let started = Instant::now();
        let now = || Time::from_millis(started.elapsed().as_millis() as u64);
        self.waiting.begin();
        let mut session = ClientSession::new(config, now());
        loop {
            if let Some(reason) = self.act(&mut session, &mut socket, patience, &now).await? {
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
        patience: Duration,
        now: &impl Fn() -> Time,
    ) -> Result<Option<CloseReason>, SyncError> {
        let mut unflushed = false;
        while let Some(output) = session.poll() {
            // A call to the store takes about as long as a message to the relay: do both at once.
            let is_call = matches!(
                output,
                Output::Merge { .. } | Output::Acknowledge { .. } | Output::ReadOutbox { .. }
            );
            if unflushed && is_call {
                taken(patience, socket.flush()).await?;
                unflushed = false;
            }
            match output {
                Output::Transmit(frame) => {
                    self.bytes_sent += frame.len() as u64;
                    taken(patience, socket.feed(Message::Binary(frame))).await?;
                    unflushed = true;
                }
                Output::Event(event) => self.tell(event),
                Output::Close { reason } => {
                    taken(patience, socket.flush()).await?;
                    return Ok(Some(reason));
                }
                call => match self.answer(call).await {
                    Ok(Ok(Some(input))) => session.handle(now(), input),
                    Ok(Ok(None)) => {}
                    Ok(Err(error @ MergeError::Damaged)) => {
                        return Err(SyncError::Damaged(error.to_string()));
                    }
                    Ok(Err(error)) => return Err(SyncError::Store(error.to_string())),
                    Err(error) => return Err(SyncError::Store(error.to_string())),
                },
            }
        }
        if unflushed {
            taken(patience, socket.flush()).await?;
        }
        Ok(None)
    }

    /// What the replica says to a call. One that may wait for the disk, or takes long, has a thread of its own meanwhile.
    async fn answer(&self, call: Output) -> Result<Result<Option<Input<'static>>, MergeError>, JoinError> {
        let is_quick = match &call {
            Output::ReadOutbox { space, .. } => self.replica.store().outbox_len(*space) <= READ_AT_ONCE_MAX,
            _ => false,
        };
        if is_quick {
            return Ok(self.replica.answer(call));
        }
        let replica = self.replica.clone();
        tokio::task::spawn_blocking(move || replica.answer(call)).await
    }

    fn tell(&mut self, event: Event) {
        let now_ms = self.replica.now_ms();
        match event {
            Event::StateChanged(state) => self.status.send_modify(|status| {
                status.phase = match state {
                    SessionState::Connecting => Phase::Connecting,
                    SessionState::Syncing | SessionState::Waiting => Phase::Syncing,
                    SessionState::Blocked => Phase::Error,
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
            Event::Report { pushed, pulled, rejected, failed } => {
                let (bytes_sent, bytes_received) = (self.bytes_sent, self.bytes_received);
                let report = SyncReport { pushed, pulled, rejected, bytes_sent, bytes_received };
                self.waiting.report(match failed {
                    Some((code, message)) => Err(SyncError::Incomplete { code, message, report }),
                    None => {
                        self.status.send_modify(|status| status.last_synced = Some(Timestamp(now_ms as i64)));
                        Ok(report)
                    }
                });
            }
            Event::Error { space, code, message, .. } => {
                tracing::warn!(?space, %code, message, "the relay reports an error");
                self.status.send_modify(|status| status.error = Some(message));
            }
        }
    }
}

/// A socket that takes nothing for as long as a relay may be silent leads nowhere any more. The session cannot notice that: its own
/// deadlines are not looked at while the driver waits here.
async fn taken(
    patience: Duration,
    write: impl Future<Output = Result<(), tokio_tungstenite::tungstenite::Error>>,
) -> Result<(), SyncError> {
    match tokio::time::timeout(patience, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(SyncError::ConnectionLost(error.to_string())),
        Err(_) => Err(SyncError::ConnectionLost("the relay takes nothing any more".to_owned())),
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

/// Where a replica stands in the spaces of a connection.
pub(super) fn positions(
    replica: &Replica,
    spaces: &[SpaceId],
) -> Result<Vec<(SpaceId, Position)>, SyncError> {
    spaces
        .iter()
        .map(|space| {
            Ok((*space, replica.begin_session(*space).map_err(|error| SyncError::Store(error.to_string()))?))
        })
        .collect()
}
