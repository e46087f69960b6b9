//! What a client's session and the driver around it say to each other.

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_storage::{
    ChangeRecord, CollectionName, DeviceId, EntityId, OutboxEntry, OutboxSeq, Position, Refusal, SpaceId,
};

#[cfg(doc)]
use super::ClientSession;
use crate::sync::Ticket;
use crate::wire::{ErrorCode, HeadsEntry, Limits, MorePages, Retry};

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
    /// What [`ClientSession::counted`] said at the end of the session before this one, so that nothing is counted in both.
    pub counted: BTreeSet<(SpaceId, OutboxSeq)>,
}

impl ClientConfig {
    /// A live session in both directions with the usual limits.
    #[must_use]
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
            counted: BTreeSet::new(),
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
    /// A message from the relay: a frame with its seal. All of them, in the order in which they came.
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
    /// The network is another one now, so the connection may lead nowhere: find out soon.
    NetworkChanged,
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
    /// Send a message: a frame with its seal. All of them, in this order.
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
    /// A round is over: both sides are even, apart from what is reported as rejected or failed.
    Report {
        /// What was done since the last report.
        tally: Tally,
        /// The first [`Event::Error`] of the round, if there was one: the two sides are not even.
        failed: Option<(ErrorCode, String)>,
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

/// What a session did, in changes.
///
/// ```
/// use headwater::sync::client::Tally;
/// let mut tally = Tally { pushed: 1, ..Tally::default() };
/// tally.add(Tally { pushed: 2, pulled: 3, rejected: 0 });
/// assert_eq!(tally, Tally { pushed: 3, pulled: 3, rejected: 0 });
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Changes that went to the relay and that it has now. Each counts once, also when a reconnect pushes it again.
    pub pushed: u64,
    /// Changes that were new here.
    pub pulled: u64,
    /// Changes that one of the two sides did not take.
    pub rejected: u64,
}

impl Tally {
    /// Counts what `other` counted, too.
    pub fn add(&mut self, other: Tally) {
        self.pushed = self.pushed.saturating_add(other.pushed);
        self.pulled = self.pulled.saturating_add(other.pulled);
        self.rejected = self.rejected.saturating_add(other.rejected);
    }
}

/// What a session is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// The relay has not answered yet.
    Connecting,
    /// Changes are on their way.
    Syncing,
    /// Something failed, as an [`Event::Error`] said, and will be tried again.
    Waiting,
    /// Something failed, as an [`Event::Error`] said, and will not be tried again on this connection.
    Blocked,
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
