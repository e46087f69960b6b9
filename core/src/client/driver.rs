//! One attempt: a socket, a session and a replica, and the bytes and calls between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use headwater_storage::{OutboxSeq, Position, SpaceId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::socket::{self, RelayUrl, Socket};
use super::status::Progress;
use super::{Phase, Status, SyncError, SyncReport, Transport};
use crate::model::Timestamp;
use crate::replica::{MergeError, Replica};
use crate::sync::Time;
use crate::sync::client::{
    ClientConfig, ClientSession, CloseReason, Event, Input, Output, SessionState, Tally,
};
use crate::wire::{ErrorCode, Retry};

/// How long the rest of a closing connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Up to so many waiting changes are read where the connection runs: that takes microseconds, as changing to another thread does.
const READ_AT_ONCE_MAX: u64 = 32;

pub(super) type SyncAnswer = oneshot::Sender<Result<SyncReport, SyncError>>;

/// What the handle asks of the running connection.
pub(super) enum Command {
    SyncNow(SyncAnswer),
}

/// Callers of `sync_now` that wait for a round to end, and what they will be told. It outlives attempts.
#[derive(Default)]
pub(super) struct Waiting {
    /// (how many reports must have come, who waits)
    callers: Vec<(u64, SyncAnswer)>,
    reports: u64,
    is_round_running: bool,
    /// What was done since the connection began, and told to nobody yet.
    untold: Tally,
    /// What was counted, and could be done again after a reconnect.
    pub(super) counted: BTreeSet<(SpaceId, OutboxSeq)>,
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

    /// A round is over: whoever waited for it is told what was done since somebody was told last.
    fn report(&mut self, failed: Option<(ErrorCode, String)>, bytes_sent: u64, bytes_received: u64) {
        self.reports += 1;
        let reports = self.reports;
        let Tally { pushed, pulled, rejected } = self.untold;
        let report = SyncReport { pushed, pulled, rejected, bytes_sent, bytes_received };
        let answer_all = match failed {
            Some((code, message)) => Err(SyncError::Incomplete { code, message, report }),
            None => Ok(report),
        };
        for (_, answer) in self.callers.extract_if(.., |(due, _)| *due <= reports) {
            // A caller that has given up was not told.
            if answer.send(answer_all.clone()).is_ok() {
                self.untold = Tally::default();
            }
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
    /// Told when the app says that the network is another one.
    pub(super) network: Arc<Notify>,
    /// When it was told so last while there was a connection.
    pub(super) network_changed: Option<Instant>,
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
    /// The network changed before there was a connection: the attempt would have gone on in the old one.
    NetworkChanged,
    /// The handle is gone.
    Dropped,
}

/// What holds for one session.
struct Talk {
    /// How long the socket may take for a write.
    patience: Duration,
    spaces: Vec<SpaceId>,
    started: Instant,
}

impl Talk {
    fn now(&self) -> Time {
        Time::from_millis(self.started.elapsed().as_millis() as u64)
    }
}

enum Happened {
    Received(Option<Result<Message, tokio_tungstenite::tungstenite::Error>>),
    Committed,
    Command(Option<Command>),
    NetworkChanged,
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
        let (url, transport, limits) = (self.url.clone(), Arc::clone(&self.transport), config.limits);
        tracing::debug!(relay = %url, "connecting");
        let connecting = socket::connect(&url, &*transport, &limits, connect_timeout);
        tokio::pin!(connecting);
        // The driver lives on while it connects: a caller is noted, and a handle that is gone ends it at once.
        let mut socket = loop {
            tokio::select! {
                socket = &mut connecting => break socket?,
                command = commands.recv() => match command {
                    Some(Command::SyncNow(answer)) => self.waiting.add(answer),
                    None => return Ok(Ended::Dropped),
                },
                () = self.network.notified() => return Ok(Ended::NetworkChanged),
            }
        };
        tracing::debug!(relay = %url, "connected");
        let talk = Talk {
            patience: Duration::from_millis(config.limits.dead_after_ms),
            spaces: config.spaces.iter().map(|(space, _)| *space).collect(),
            started: Instant::now(),
        };
        self.waiting.begin();
        let mut session = ClientSession::new(config, talk.now());
        let ended = self.talk(&talk, &mut session, &mut socket, commands).await;
        self.keep_acknowledged(&mut session).await;
        self.waiting.untold.add(session.unreported());
        self.waiting.counted.clone_from(session.counted());
        ended
    }

    /// Runs the session until it ends.
    async fn talk(
        &mut self,
        talk: &Talk,
        session: &mut ClientSession,
        socket: &mut Socket,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Ended, SyncError> {
        let started = talk.started;
        let mut commits = self.replica.local_commits();
        loop {
            if let Some(reason) = self.act(talk, session, socket).await? {
                tracing::debug!(?reason, "closing");
                let _closed = tokio::time::timeout(CLOSE_TIME, socket.close(None)).await.is_ok();
                return ended(reason);
            }
            let deadline =
                session.timeout().and_then(|at| started.checked_add(Duration::from_millis(at.as_millis())));
            let happened = tokio::select! {
                received = socket.next() => Happened::Received(received),
                Ok(()) = commits.changed() => Happened::Committed,
                command = commands.recv() => Happened::Command(command),
                () = self.network.notified() => Happened::NetworkChanged,
                () = tokio::time::sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => Happened::Timeout,
            };
            match happened {
                Happened::Received(Some(Ok(Message::Binary(frame)))) => {
                    self.bytes_received += frame.len() as u64;
                    session.handle(talk.now(), Input::Frame(&frame));
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
                    for space in &talk.spaces {
                        session.handle(talk.now(), Input::LocalCommit { space: *space });
                    }
                }
                Happened::Command(Some(Command::SyncNow(answer))) => {
                    self.waiting.add(answer);
                    session.handle(talk.now(), Input::SyncNow);
                }
                Happened::NetworkChanged => {
                    tracing::debug!("the network changed: checking the connection");
                    self.network_changed = Some(Instant::now());
                    session.handle(talk.now(), Input::NetworkChanged);
                }
                Happened::Command(None) => {
                    tracing::debug!("closing: the handle is gone");
                    let _closed = tokio::time::timeout(CLOSE_TIME, socket.close(None)).await.is_ok();
                    return Ok(Ended::Dropped);
                }
                Happened::Timeout => session.handle(talk.now(), Input::Timeout),
            }
        }
    }

    /// Does everything that the session wants done by now, in its order.
    async fn act(
        &mut self,
        talk: &Talk,
        session: &mut ClientSession,
        socket: &mut Socket,
    ) -> Result<Option<CloseReason>, SyncError> {
        let patience = talk.patience;
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
                    Ok(Ok(Some(input))) => session.handle(talk.now(), input),
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

    /// Does what still follows from acknowledgements that came: they hold, whether or not the socket takes anything.
    async fn keep_acknowledged(&self, session: &mut ClientSession) {
        while let Some(output) = session.poll() {
            // Nothing that a merge has to come before is among these: the session keeps that back until the merge is done.
            if matches!(output, Output::Acknowledge { .. }) && !matches!(self.answer(output).await, Ok(Ok(_)))
            {
                // They are pushed again, and acknowledged again.
                return;
            }
        }
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
        let (replica, span) = (self.replica.clone(), tracing::Span::current());
        tokio::task::spawn_blocking(move || span.in_scope(|| replica.answer(call))).await
    }

    fn tell(&mut self, event: Event) {
        let now_ms = self.replica.now_ms();
        match event {
            Event::StateChanged(state) => {
                tracing::debug!(?state, "the session's state");
                let phase = match state {
                    // The status says so already, or that this is not the first attempt.
                    SessionState::Connecting => return,
                    SessionState::Syncing | SessionState::Waiting => Phase::Syncing,
                    SessionState::Blocked => Phase::Error,
                    SessionState::UpToDate => Phase::UpToDate,
                };
                self.set_status(|status| {
                    (status.phase, status.next_attempt) = (phase, None);
                    if phase == Phase::UpToDate {
                        (status.error, status.progress) = (None, None);
                        status.last_synced = Some(Timestamp(now_ms as i64));
                    }
                });
            }
            Event::Progress { space, done, total } => {
                tracing::debug!(%space, done, total, "catching up");
                self.set_status(|status| status.progress = Some(Progress { done, total }));
            }
            Event::Report { tally, failed } => {
                if failed.is_none() {
                    self.set_status(|status| status.last_synced = Some(Timestamp(now_ms as i64)));
                }
                self.waiting.untold.add(tally);
                self.waiting.report(failed, self.bytes_sent, self.bytes_received);
            }
            Event::Error { space, code, message, .. } => {
                tracing::warn!(?space, %code, message, "the relay reports an error");
                self.set_status(|status| status.error = Some(message));
            }
        }
    }

    /// Changes the status, and wakes those who wait for that only if it is another one then.
    pub(super) fn set_status(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
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
