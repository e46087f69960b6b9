//! The client's side of a connection.
//!
//! [`ClientSession::handle`] takes what came in, [`ClientSession::poll`] gives out what is to be done, in order, and
//! [`ClientSession::timeout`] says when to come back at the latest. Nouns without a verb only read.
//!
//! A space's watermark moves only with a merge or an acknowledgement that the relay's frames called for, and in their order: a
//! space has one merge under way at a time, and what comes meanwhile waits and is merged together.

mod compare;
mod pull;
mod push;
mod round;
mod space;

use std::collections::VecDeque;

use bytes::Bytes;
use headwater_storage::{
    ChangeRecord, CollectionName, DeviceId, EntityId, OutboxEntry, OutboxSeq, Position, Refusal, SpaceId,
};

use self::round::Round;
use self::space::Space;
use super::heartbeat::{Beat, Heartbeat};
use super::{Ticket, Time};
use crate::wire::{
    Bye, ByeReason, ErrorCode, ErrorFrame, Frame, HeadsEntry, Hello, Limits, MorePages, Open, OpenMode, Ping,
    Pong, Retry, Severity, VERSIONS, Welcome,
};

/// What a client's session needs to know from the start.
///
/// ```
/// use headwater_storage::{DeviceId, Position, SpaceId};
/// use headwater::sync::client::{ClientConfig, Mode};
/// let spaces = vec![(SpaceId::from_name("home"), Position::default())];
/// let config = ClientConfig::new(DeviceId::from_bytes([1; 16]), spaces);
/// assert_eq!(config.mode, Mode::Live);
/// ```
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// This device.
    pub device: DeviceId,
    /// The name of the program, for the relay's log.
    pub client_name: String,
    /// The version of the program.
    pub client_version: String,
    /// Proof of who the user is.
    pub token: Option<Bytes>,
    /// What this side accepts.
    pub limits: Limits,
    /// The spaces to sync, and how far this replica is in each.
    pub spaces: Vec<(SpaceId, Position)>,
    /// Whether to stay.
    pub mode: Mode,
    /// Which way changes go. A comparison of heads, when one is needed, always goes both ways.
    pub direction: Direction,
    /// The most changes that this connection pushes in each space. `None`: all.
    pub push_changes_max: Option<u64>,
    /// When to try again what failed for a reason that can pass, in milliseconds.
    pub retry_after_ms: u64,
}

impl ClientConfig {
    /// A live session in both directions with the usual limits.
    pub fn new(device: DeviceId, spaces: Vec<(SpaceId, Position)>) -> Self {
        Self {
            device,
            client_name: "headwater".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            token: None,
            limits: Limits::default(),
            spaces,
            mode: Mode::Live,
            direction: Direction::Both,
            push_changes_max: None,
            retry_after_ms: 10_000,
        }
    }
}

/// Whether a session stays when both sides are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It stays, and passes on what happens on either side.
    Live,
    /// It closes.
    Once,
}

/// Which way changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    Both,
    /// Only from the relay.
    Pull,
    /// Only to the relay.
    Push,
}

/// What a client's session takes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame from the relay.
    Frame(&'a [u8]),
    /// The answer to [`Output::Merge`]: all of it is durable, the position included.
    Merged {
        /// The space.
        space: SpaceId,
        /// The number of the merge.
        ticket: Ticket,
        /// Changes that were new here.
        pulled: u64,
        /// Changes that could not be used and were set aside.
        set_aside: u64,
    },
    /// The answer to [`Output::Merge`]: none of it was stored.
    MergeFailed {
        /// The space.
        space: SpaceId,
        /// The number of the merge.
        ticket: Ticket,
        /// Why, for people.
        reason: String,
        /// Whether trying again can help.
        retry: Retry,
    },
    /// The answer to [`Output::ReadOutbox`].
    OutboxPage {
        /// The space.
        space: SpaceId,
        /// The entries, by ascending place.
        entries: Vec<OutboxEntry>,
        /// Whether there is nothing after them.
        exhausted: bool,
    },
    /// Something new is in the outbox.
    LocalCommit {
        /// The space.
        space: SpaceId,
    },
    /// Make sure that both sides are even, and report.
    SyncNow,
    /// The answer to [`Output::LoadEntity`].
    EntityLoaded {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// Its collection.
        collection: CollectionName,
        /// Its changes in a causal order.
        changes: Vec<ChangeRecord>,
    },
    /// The answer to [`Output::ListEntities`].
    EntityList {
        /// The space.
        space: SpaceId,
        /// Entities with their heads, by ascending id.
        entities: Vec<HeadsEntry>,
        /// Whether there are more.
        more: MorePages,
    },
    /// The time that [`ClientSession::timeout`] named has come.
    Timeout,
}

/// What a client's session wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Transmit(Bytes),
    /// Merge these changes and store the position, in one transaction. Answer with `Merged` or `MergeFailed`.
    Merge {
        /// The space.
        space: SpaceId,
        /// The number of this merge.
        ticket: Ticket,
        /// The changes. May be empty, when only the position moves.
        entries: Vec<ChangeRecord>,
        /// The position that holds with them. `None` leaves it as it is.
        position: Option<Position>,
    },
    /// Read a page of the outbox. Answer with `OutboxPage`.
    ReadOutbox {
        /// The space.
        space: SpaceId,
        /// The place that the page comes after.
        after: OutboxSeq,
        /// The most entries.
        entries_max: usize,
        /// The most payload bytes; one entry may be above it.
        bytes_max: usize,
    },
    /// Take these out of the outbox and store the position, in one transaction, behind earlier merges. Needs no answer; if it
    /// fails, drop the session.
    Acknowledge {
        /// The space.
        space: SpaceId,
        /// Changes that are durable at the relay.
        acknowledged: Vec<OutboxSeq>,
        /// Changes that the relay will never take.
        refused: Vec<(OutboxSeq, Refusal)>,
        /// The position that holds with them. `None` leaves it as it is.
        position: Option<Position>,
    },
    /// Read all changes of an entity. Answer with `EntityLoaded`.
    LoadEntity {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
    },
    /// List entities with their heads. Answer with `EntityList`.
    ListEntities {
        /// The space.
        space: SpaceId,
        /// The entity that the page comes after.
        after: Option<EntityId>,
        /// The most entities.
        entities_max: usize,
    },
    /// Tell the app.
    Event(Event),
    /// Send what is left, then close the connection.
    Close {
        /// Why.
        reason: CloseReason,
    },
}

/// What the app may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What the session is about changed.
    StateChanged(SessionState),
    /// A catch-up went on.
    Progress {
        /// The space.
        space: SpaceId,
        /// Changes that came.
        done: u64,
        /// Changes that came and that are still expected.
        total: u64,
    },
    /// A round is over: both sides are even, apart from what is reported as rejected or was an [`Event::Error`].
    Report {
        /// Changes that the relay has now.
        pushed: u64,
        /// Changes that were new here.
        pulled: u64,
        /// Changes that one of the two sides did not take.
        rejected: u64,
    },
    /// Something failed; the session goes on.
    Error {
        /// The space. `None`: the connection.
        space: Option<SpaceId>,
        /// What failed.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// Whether it will be tried again.
        retry: Retry,
    },
}

/// What a session is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// The relay has not answered yet.
    Connecting,
    /// Changes are on their way.
    Syncing,
    /// Both sides have the same.
    UpToDate,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// It did what it came for.
    Done,
    /// Nothing came for too long. Connect again, with backoff.
    Timeout,
    /// The relay drains. Connect again.
    Drained {
        /// When, in milliseconds from now.
        reconnect_after_ms: u64,
    },
    /// The relay closed the session.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// When to connect again, in milliseconds from now, if the relay said so.
        retry_after_ms: Option<u64>,
    },
    /// The relay sent what it must not. Connect again, with backoff.
    Protocol {
        /// What was wrong.
        code: ErrorCode,
        /// What was wrong, for people.
        message: String,
    },
}

/// The client's side of one connection, without sockets, clocks or stores.
///
/// ```
/// use headwater_storage::{DeviceId, Position, SpaceId};
/// use headwater::sync::Time;
/// use headwater::sync::client::{ClientConfig, ClientSession, Event, Output, SessionState};
///
/// let spaces = vec![(SpaceId::from_name("home"), Position::default())];
/// let config = ClientConfig::new(DeviceId::from_bytes([1; 16]), spaces);
/// let mut session = ClientSession::new(config, Time::from_millis(0));
/// assert_eq!(session.poll(), Some(Output::Event(Event::StateChanged(SessionState::Connecting))));
/// assert!(matches!(session.poll(), Some(Output::Transmit(_))), "hello");
/// assert!(matches!(session.poll(), Some(Output::Transmit(_))), "open, in the same flight");
/// assert_eq!(session.poll(), None);
/// ```
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    phase: Phase,
    /// The limits that hold, the client's own until the relay said welcome.
    limits: Limits,
    heartbeat: Heartbeat,
    spaces: Vec<Space>,
    outputs: VecDeque<Output>,
    state: SessionState,
    round: Round,
    /// Frame bytes of pushes that were not acknowledged yet.
    pushed_bytes: u64,
    pushes: u64,
    next_ticket: u64,
    next_push_id: u64,
    next_nonce: u64,
    /// The relay said goodbye: when to come back.
    drained: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { until: Time },
    Ready,
    Closed,
}

/// The connection has to be closed, because of what the relay sent.
struct Fatal {
    code: ErrorCode,
    message: String,
}

impl Fatal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl ClientSession {
    /// A session for a connection that was just made. Its first outputs are the frames to begin with.
    pub fn new(config: ClientConfig, now: Time) -> Self {
        let limits = config.limits;
        let mut session = Self {
            phase: Phase::Greeting { until: now.after_ms(limits.authentication_ms_max) },
            heartbeat: Heartbeat::new(now, limits.ping_interval_ms, limits.dead_after_ms),
            limits,
            spaces: Vec::new(),
            outputs: VecDeque::new(),
            state: SessionState::Connecting,
            round: Round::default(),
            pushed_bytes: 0,
            pushes: 0,
            next_ticket: 0,
            next_push_id: 0,
            next_nonce: 0,
            drained: None,
            config,
        };
        session.begin();
        session
    }

    /// Takes something in. After [`Output::Close`] nothing has any effect.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        let handled = match input {
            Input::Frame(bytes) => self.handle_frame(now, bytes),
            Input::Timeout => {
                self.handle_timeout(now);
                Ok(())
            }
            Input::Merged { space, ticket, pulled, set_aside } => {
                self.merged(now, space, ticket, pulled, set_aside);
                Ok(())
            }
            Input::MergeFailed { space, ticket, reason, retry } => {
                self.merge_failed(now, space, ticket, reason, retry);
                Ok(())
            }
            Input::OutboxPage { space, entries, exhausted } => {
                self.outbox_read(space, entries, exhausted);
                Ok(())
            }
            Input::LocalCommit { space } => {
                self.local_commit(space);
                Ok(())
            }
            Input::SyncNow => {
                self.sync_now();
                Ok(())
            }
            Input::EntityLoaded { space, entity, collection, changes } => {
                self.entity_loaded(space, entity, collection, changes);
                Ok(())
            }
            Input::EntityList { space, entities, more } => {
                self.entities_listed(space, entities, more);
                Ok(())
            }
        };
        if let Err(fatal) = handled {
            self.fail(fatal);
        }
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    pub fn timeout(&self) -> Option<Time> {
        let spaces = self.spaces.iter().filter_map(Space::timeout).min();
        match self.phase {
            Phase::Greeting { until } => Some(until),
            Phase::Ready => {
                Some(spaces.map_or(self.heartbeat.timeout(), |at| at.min(self.heartbeat.timeout())))
            }
            Phase::Closed => None,
        }
    }

    /// What the session is about.
    pub fn state(&self) -> SessionState {
        self.state
    }

    fn begin(&mut self) {
        self.event(Event::StateChanged(SessionState::Connecting));
        self.transmit(&Frame::Hello(Hello {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            device: self.config.device,
            client_name: self.config.client_name.clone(),
            client_version: self.config.client_version.clone(),
            token: self.config.token.clone(),
            limits: self.config.limits,
        }));
        let mut spaces = std::mem::take(&mut self.config.spaces);
        let spaces_max = usize::try_from(self.limits.spaces_max).unwrap_or(usize::MAX);
        for (space, _) in spaces.drain(spaces_max.min(spaces.len())..) {
            let message = format!("at most {spaces_max} spaces on one connection");
            self.error(Some(space), ErrorCode::TooManySpaces, message, Retry::Never);
        }
        for (id, position) in spaces {
            if self.spaces.iter().all(|space| space.id != id) {
                self.spaces.push(Space::new(id, position, self.config.push_changes_max));
                self.open(self.spaces.len() - 1);
            }
        }
    }

    fn open(&mut self, index: usize) {
        let mode = match (self.config.direction, self.config.mode) {
            (Direction::Push, _) => OpenMode::PushOnly,
            (_, Mode::Live) => OpenMode::Live,
            (_, Mode::Once) => OpenMode::Once,
        };
        let Some(space) = self.spaces.get_mut(index) else { return };
        space.reopen();
        let open = Open { space: space.id, position: space.position.clone(), mode };
        self.transmit(&Frame::Open(open));
    }

    fn handle_frame(&mut self, now: Time, bytes: &[u8]) -> Result<(), Fatal> {
        self.heartbeat.received(now);
        let frame = Frame::decode(bytes, &self.limits)
            .map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        match (frame, self.phase) {
            (Frame::Welcome(welcome), Phase::Greeting { .. }) => self.welcomed(now, &welcome),
            (Frame::Ping(ping), _) => {
                self.transmit(&Frame::Pong(Pong { nonce: ping.nonce }));
                Ok(())
            }
            (Frame::Pong(_), _) => Ok(()),
            (Frame::Error(error), _) => {
                self.refused(now, error);
                Ok(())
            }
            (Frame::Bye(bye), _) => {
                self.drained = Some(bye.reconnect_after_ms);
                Ok(())
            }
            (Frame::Opened(opened), Phase::Ready) => self.opened(&opened),
            (Frame::Changes(changes), Phase::Ready) => self.changes(now, changes),
            (Frame::Ack(ack), Phase::Ready) => self.acknowledged(now, ack),
            (Frame::Heads(heads), Phase::Ready) => self.heads(heads),
            (Frame::SyncMessage(message), Phase::Ready) => self.sync_message(message),
            (Frame::Head(head), Phase::Ready) => {
                self.head_is(&head);
                Ok(())
            }
            (other, _) => {
                Err(Fatal::new(ErrorCode::UnexpectedFrame, format!("{} from a relay", other.name())))
            }
        }
    }

    fn welcomed(&mut self, now: Time, welcome: &Welcome) -> Result<(), Fatal> {
        if !VERSIONS.contains(&welcome.version) {
            let message = format!("the relay chose version {}", welcome.version);
            return Err(Fatal::new(ErrorCode::UnsupportedVersion, message));
        }
        let limits = self.limits.agreed_with(&welcome.limits);
        self.limits = limits.map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        self.heartbeat = Heartbeat::new(now, welcome.limits.ping_interval_ms, welcome.limits.dead_after_ms);
        self.phase = Phase::Ready;
        Ok(())
    }

    /// An `Error` frame of the relay.
    fn refused(&mut self, now: Time, error: ErrorFrame) {
        if error.severity == Severity::Fatal {
            let ErrorFrame { code, message, retry_after_ms, .. } = error;
            self.close(CloseReason::Refused { code, message, retry_after_ms });
            return;
        }
        let retry = error.code.retry();
        if let Some(index) = error.space.and_then(|space| self.space_index(space)) {
            self.pull_refused(now, index, retry, error.retry_after_ms);
        }
        self.error(error.space, error.code, error.message, retry);
    }

    fn handle_timeout(&mut self, now: Time) {
        if let Phase::Greeting { until } = self.phase {
            if now >= until {
                self.close(CloseReason::Timeout);
            }
            return;
        }
        match self.heartbeat.poll(now) {
            Beat::Nothing => {}
            Beat::Ping { nonce } => self.transmit(&Frame::Ping(Ping { nonce })),
            Beat::Dead => {
                self.close(CloseReason::Timeout);
                return;
            }
        }
        for index in 0..self.spaces.len() {
            self.space_timeout(now, index);
        }
    }

    /// What follows from the state as it is now, whatever came in: pushes, the end of the round, the end of the session.
    fn settle(&mut self, now: Time) {
        if self.phase == Phase::Closed {
            return;
        }
        loop {
            for index in 0..self.spaces.len() {
                self.compare_on(now, index);
                self.push_on(index);
            }
            if !self.finish_round() {
                break;
            }
        }
        self.tell_state();
        if let Some(reconnect_after_ms) = self.drained
            && self.pushes == 0
        {
            self.close(CloseReason::Drained { reconnect_after_ms });
        }
    }

    fn transmit(&mut self, frame: &Frame) {
        self.outputs.push_back(Output::Transmit(frame.encode()));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn error(&mut self, space: Option<SpaceId>, code: ErrorCode, message: String, retry: Retry) {
        self.event(Event::Error { space, code, message, retry });
    }

    fn fail(&mut self, fatal: Fatal) {
        self.transmit(&Frame::Error(ErrorFrame {
            code: fatal.code,
            message: fatal.message.clone(),
            space: None,
            severity: Severity::Fatal,
            retry_after_ms: None,
        }));
        self.close(CloseReason::Protocol { code: fatal.code, message: fatal.message });
    }

    fn done(&mut self) {
        self.transmit(&Frame::Bye(Bye { reason: ByeReason::Done, reconnect_after_ms: 0 }));
        self.close(CloseReason::Done);
    }

    fn close(&mut self, reason: CloseReason) {
        self.outputs.push_back(Output::Close { reason });
        self.phase = Phase::Closed;
    }

    fn space_index(&self, id: SpaceId) -> Option<usize> {
        self.spaces.iter().position(|space| space.id == id)
    }

    fn known_space(&self, id: SpaceId) -> Result<usize, Fatal> {
        self.space_index(id).ok_or_else(|| Fatal::new(ErrorCode::SpaceNotOpen, "a space that was not opened"))
    }
}
