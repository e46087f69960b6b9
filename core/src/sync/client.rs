//! The client's side of a connection.
//!
//! [`ClientSession::handle`] takes what came in, [`ClientSession::poll`] gives out what is to be done, in order, and
//! [`ClientSession::timeout`] says when to come back at the latest. Nouns without a verb only read.
//!
//! A space's watermark moves only with a merge or an acknowledgement that the relay's frames called for, and in their order: a
//! space has one merge under way at a time, and what comes meanwhile waits and is merged together.

mod compare;
mod driver;
mod pull;
mod push;
mod round;
mod space;

use std::collections::{BTreeSet, VecDeque};

use headwater_storage::{OutboxSeq, SpaceId};

use self::round::Round;
use self::space::{Pull, Space};
use super::Time;
use super::heartbeat::{Beat, CHECK_MS_MAX, Heartbeat};
use crate::wire::{
    Bye, ByeReason, ErrorCode, ErrorFrame, Frame, Hello, Limits, Open, OpenMode, Ping, Pong, Retry, Seal,
    Severity, VERSIONS, Welcome,
};

pub use self::driver::{
    ClientConfig, CloseReason, Direction, Event, Input, Mode, Output, SessionState, Tally,
};

/// The shortest time between pings, in milliseconds, that a relay can ask for: one that names zero would have this side do nothing else.
const RELAY_PING_INTERVAL_MS_MIN: u64 = 1_000;

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
    /// The seals of what is sent, and of what comes in.
    sending: Seal,
    receiving: Seal,
    state: SessionState,
    round: Round,
    /// Entries that are still in the outbox, and whose push was counted.
    counted: BTreeSet<(SpaceId, OutboxSeq)>,
    /// Bytes of pushes that were not acknowledged yet, with their seals.
    pushed_bytes: u64,
    pushes: u64,
    next_ticket: u64,
    next_push_id: u64,
    next_nonce: u64,
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
    pub fn new(mut config: ClientConfig, now: Time) -> Self {
        let limits = config.limits;
        let mut session = Self {
            phase: Phase::Greeting { until: now.after_ms(limits.authentication_ms_max) },
            heartbeat: Heartbeat::new(now, limits.ping_interval_ms, limits.dead_after_ms),
            limits,
            spaces: Vec::new(),
            outputs: VecDeque::new(),
            sending: Seal::default(),
            receiving: Seal::default(),
            state: SessionState::Connecting,
            round: Round::default(),
            counted: std::mem::take(&mut config.counted),
            pushed_bytes: 0,
            pushes: 0,
            next_ticket: 0,
            next_push_id: 0,
            next_nonce: 0,
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
            Input::NetworkChanged => {
                self.check_connection(now);
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

    /// The entries of the outbox whose push was counted, here or before, and that are still there: for the config of the session
    /// after this one.
    pub fn counted(&self) -> &BTreeSet<(SpaceId, OutboxSeq)> {
        &self.counted
    }

    /// What was done since the last [`Event::Report`].
    pub fn unreported(&self) -> Tally {
        self.round.tally
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

    fn handle_frame(&mut self, now: Time, message: &[u8]) -> Result<(), Fatal> {
        self.heartbeat.received(now);
        let frame = Frame::open(message, &mut self.receiving, &self.limits)
            .map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        match (frame, self.phase) {
            (Frame::Welcome(welcome), Phase::Greeting { .. }) => self.welcomed(now, &welcome),
            (Frame::Ping(ping), _) => {
                self.transmit(&Frame::Pong(Pong { nonce: ping.nonce }));
                Ok(())
            }
            (Frame::Pong(pong), _) => {
                self.heartbeat.answered(pong.nonce);
                Ok(())
            }
            (Frame::Error(error), _) => {
                self.refused(now, error);
                Ok(())
            }
            (Frame::Bye(bye), _) => {
                self.close(CloseReason::Drained { reconnect_after_ms: bye.reconnect_after_ms });
                Ok(())
            }
            (Frame::Opened(opened), Phase::Ready) => self.opened(now, &opened),
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
            let message = format!(
                "the relay chose version {}, this client speaks {} to {}",
                welcome.version,
                VERSIONS.start(),
                VERSIONS.end()
            );
            return Err(Fatal::new(ErrorCode::UnsupportedVersion, message));
        }
        let limits = self.limits.agreed_with(&welcome.limits);
        self.limits = limits.map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        let Limits { ping_interval_ms, dead_after_ms, .. } = self.config.limits;
        self.heartbeat = Heartbeat::new(
            now,
            ping_interval_ms.min(welcome.limits.ping_interval_ms.max(RELAY_PING_INTERVAL_MS_MIN)),
            dead_after_ms.min(welcome.limits.dead_after_ms.max(2 * RELAY_PING_INTERVAL_MS_MIN)),
        );
        self.phase = Phase::Ready;
        let Welcome { version, relay_name, relay_version, .. } = welcome;
        tracing::debug!(version, relay_name, relay_version, "welcomed by the relay");
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
        if let Some(index) = error.space.and_then(|space| self.space_index(space))
            && let Some(space) = self.spaces.get_mut(index)
        {
            if matches!(space.pull, Pull::Opening) {
                // It may be about the opening before. If it is about this one, an Opened says so.
                space.refusal = Some((retry, error.retry_after_ms));
            } else {
                self.pull_refused(now, index, retry, error.retry_after_ms);
            }
        }
        self.error(error.space, error.code, error.message, retry);
    }

    /// There is a reason to doubt the connection: it must show soon that it lives.
    fn check_connection(&mut self, now: Time) {
        if let Phase::Greeting { until } = &mut self.phase {
            *until = (*until).min(now.after_ms(CHECK_MS_MAX));
        } else {
            let nonce = self.heartbeat.check(now);
            self.transmit(&Frame::Ping(Ping { nonce }));
        }
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
    }

    fn transmit(&mut self, frame: &Frame) {
        let _bytes = self.transmit_encoded(&frame.encode());
    }

    /// Seals an encoded frame and sends it. Returns the size of the whole message, in bytes.
    fn transmit_encoded(&mut self, frame: &[u8]) -> u64 {
        let message = self.sending.seal(frame);
        let bytes = message.len() as u64;
        self.outputs.push_back(Output::Transmit(message));
        bytes
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn error(&mut self, space: Option<SpaceId>, code: ErrorCode, message: String, retry: Retry) {
        if self.round.running {
            self.round.failed.get_or_insert_with(|| (code, message.clone()));
        }
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
