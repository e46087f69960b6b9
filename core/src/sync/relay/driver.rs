//! What a relay's session and the driver around it say to each other.

use bytes::Bytes;
use headwater_storage::{
    Appended, ChangeRecord, DeviceId, EntityId, EntityPage, Page, Position, Seq, SpaceId, Standing, Watermark,
};

#[cfg(doc)]
use super::{RelaySession, encode_live};
use crate::sync::Ticket;
use crate::wire::{ErrorCode, HeadsEntry, Limits, MorePages, OpenMode};

/// What a relay's session needs to know from the start.
///
/// ```
/// use headwater::sync::relay::RelayConfig;
/// assert_eq!(RelayConfig::default().limits.push_changes_max, 256);
/// ```
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The name of the program, for the client's log.
    pub relay_name: String,
    /// The version of the program.
    pub relay_version: String,
    /// What the relay accepts. A client can only make it smaller.
    pub limits: Limits,
    /// A client that is this many changes behind gets them by entity, which leaves out what was overwritten in between.
    pub by_entity_behind_min: u64,
    /// The most changes in one page of a catch-up.
    pub page_entries_max: usize,
    /// When a client should come back after the relay drained, in milliseconds.
    pub reconnect_after_ms: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            relay_name: "headwater-relay".to_owned(),
            relay_version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Limits::default(),
            by_entity_behind_min: 257,
            page_entries_max: 2_000,
            reconnect_after_ms: 1_000,
        }
    }
}

/// What a relay's session takes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message from the client: a frame with its seal. All of them, in the order in which they came.
    Frame(&'a [u8]),
    /// The answer to [`Output::Open`]: the space may be used.
    Opened {
        /// The space.
        space: SpaceId,
        /// What the feed says to the client's watermark. `Known` for a client without one.
        standing: Standing,
        /// Where the feed stands. `None` if there is no feed yet.
        head: Option<Watermark>,
    },
    /// The answer to [`Output::Open`]: the space may not be used.
    OpenRefused {
        /// The space.
        space: SpaceId,
        /// Why.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// The answer to [`Output::ReadPage`].
    Page {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        ticket: Ticket,
        /// What was read.
        page: PageRead,
    },
    /// The answer to [`Output::ReadPage`]: the space has no feed, because nothing was ever appended to it.
    NoFeed {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        ticket: Ticket,
    },
    /// The answer to [`Output::Append`]: what was accepted is durable.
    Appended {
        /// The space.
        space: SpaceId,
        /// The number of the push.
        push_id: u64,
        /// The store's receipt for the changes that were not refused before. `None` if all of them were.
        appended: Option<&'a Appended>,
        /// Index in [`Output::Append`]'s entries, code and message of those that the checks refused.
        refused: Vec<(usize, ErrorCode, String)>,
    },
    /// Something was appended to a space that this session has open as live. Encode it once with [`encode_live`].
    Live {
        /// The space.
        space: SpaceId,
        /// The seq of its first change.
        first: Seq,
        /// The feed's end before it.
        before: Watermark,
        /// The feed's end after it.
        watermark: Watermark,
        /// The frame for everyone who follows the feed up to here, without a seal: each session puts on its own.
        frame: Bytes,
        /// Who pushed it.
        author: Author,
    },
    /// The driver dropped `Live` inputs of this space.
    Lagged {
        /// The space.
        space: SpaceId,
    },
    /// A feed that this session has open is not the one any more that it was.
    Rewound,
    /// The answer to [`Output::ListHeads`].
    EntityHeads {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        ticket: Ticket,
        /// Entities, by ascending id.
        entities: Vec<HeadsEntry>,
        /// Whether there are more.
        more: MorePages,
    },
    /// The answer to [`Output::LoadEntity`].
    EntityLoaded {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// The number of the request.
        ticket: Ticket,
        /// Its changes in feed order. Empty if there is no such entity.
        changes: Vec<ChangeRecord>,
    },
    /// The answer to [`Output::ReadHead`].
    HeadIs {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        nonce: u64,
        /// Where the feed stands.
        watermark: Option<Watermark>,
    },
    /// The relay is about to stop.
    Drain,
    /// The time that [`RelaySession::timeout`] named has come.
    Timeout,
    /// The store failed at something that this session asked for.
    StoreFailed {
        /// The space.
        space: SpaceId,
        /// What failed.
        what: StoreTask,
    },
}

/// Who pushed what is now sent to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// This very connection.
    Own,
    /// Another one.
    Other,
}

/// What a page of the feed held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRead {
    /// The changes. Consecutive if `first` is there.
    pub entries: Vec<ChangeRecord>,
    /// How many rows of the feed `entries` stand for. A snapshot stands for many.
    pub stands_for: u64,
    /// The seq of the first change of a page by seq.
    pub first: Option<Seq>,
    /// Where the page ends.
    pub end: PageEnd,
    /// Where the feed stands.
    pub head: Watermark,
}

impl From<Page> for PageRead {
    fn from(page: Page) -> Self {
        Self {
            // Where a damaged row is left out, the seqs do not follow each other.
            first: page.rows.first().map(|row| row.seq).filter(|_| page.is_dense),
            stands_for: page.rows.len() as u64,
            entries: page.rows.into_iter().map(|row| row.record).collect(),
            end: PageEnd::At(page.end),
            head: page.head,
        }
    }
}

impl From<EntityPage> for PageRead {
    fn from(page: EntityPage) -> Self {
        let end = match page.cursor {
            Some(cursor) => PageEnd::Cursor(cursor),
            None => PageEnd::At(page.end.unwrap_or(page.head)),
        };
        let entries = page.rows.into_iter().map(|row| row.record).collect();
        Self { entries, stands_for: page.stands_for, first: None, end, head: page.head }
    }
}

/// Where a page of the feed ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEnd {
    /// Everything up to here has been read.
    At(Watermark),
    /// A read by entity goes on from here.
    Cursor(Bytes),
}

/// What the store was asked to do when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTask {
    /// [`Output::Open`].
    Open,
    /// [`Output::ReadPage`].
    Page(Ticket),
    /// [`Output::ReadPage`], because the cursor is of no use. The session begins the catch-up again.
    Cursor(Ticket),
    /// [`Output::Append`]. Nothing of it is durable.
    Append {
        /// The number of the push.
        push_id: u64,
    },
    /// [`Output::ListHeads`].
    Heads(Ticket),
    /// [`Output::LoadEntity`].
    Entity(Ticket),
    /// [`Output::ReadHead`].
    Head {
        /// The number of the request.
        nonce: u64,
    },
}

/// What a relay's session wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message: a frame with its seal. All of them, in this order.
    Transmit(Bytes),
    /// The client said who it is. Check the token; refuse the spaces later.
    Greeted {
        /// The client's device.
        device: DeviceId,
        /// The client's program.
        client_name: String,
        /// Its version.
        client_version: String,
        /// Proof of who the user is.
        token: Option<Bytes>,
    },
    /// Check the grant; from now on hand in `Live` if the mode is live; then check the position and read the head.
    Open {
        /// The space.
        space: SpaceId,
        /// The client's position.
        position: Position,
        /// What the client wants.
        mode: OpenMode,
    },
    /// Read a page of the feed.
    ReadPage {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        ticket: Ticket,
        /// What to read.
        plan: ReadPlan,
        /// The most changes.
        entries_max: usize,
        /// The most payload bytes; one change may be above it.
        bytes_max: u64,
    },
    /// Check these changes, and append those that pass.
    Append {
        /// The space.
        space: SpaceId,
        /// The number of the push.
        push_id: u64,
        /// The changes.
        entries: Vec<ChangeRecord>,
    },
    /// List entities with their heads.
    ListHeads {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        ticket: Ticket,
        /// The entity that the page comes after.
        after: Option<EntityId>,
        /// The most entities.
        entities_max: usize,
    },
    /// Read all changes of an entity.
    LoadEntity {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// The number of this request.
        ticket: Ticket,
    },
    /// Read where the feed stands.
    ReadHead {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        nonce: u64,
    },
    /// The client's device has made everything up to here durable.
    DeviceSeen {
        /// The space.
        space: SpaceId,
        /// The device.
        device: DeviceId,
        /// Its durable position.
        seq: Seq,
    },
    /// Send what is left, then close the connection.
    Close {
        /// Why. `None`: everything is in order.
        code: Option<ErrorCode>,
        /// Why, for the log.
        message: String,
    },
}

/// How to read a page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadPlan {
    /// In feed order, after this seq.
    BySeq {
        /// The seq that the page comes after.
        after: Seq,
    },
    /// Per entity that changed after a seq.
    ByEntity {
        /// The seq that the client knows everything up to.
        base: Seq,
        /// Where the page before ended.
        cursor: Option<Bytes>,
    },
}
