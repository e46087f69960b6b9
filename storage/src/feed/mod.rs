//! The feed store: the relay's ordered log of accepted changes, per space.
//!
//! [`RedbFeed`] is the log in one file, `PostgresFeed` (feature `postgres`) in a database that several relays share. What becomes of an
//! append is decided in `append` for both. [`FeedStore`] is what a relay holds: an enum over the backends, whose writer puts everything
//! that waits into one transaction. `conformance` has the checks that every backend passes.

mod append;
mod behind;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cursor;
mod filling;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod projection;
mod redb;
mod store;
mod writer;

use bytes::Bytes;
use thiserror::Error;

pub use self::behind::{DamagedRow, FeedSnapshot, Quarantined, Walked};
pub use self::cursor::cursor_beyond;
#[cfg(feature = "postgres")]
pub use self::postgres::{DatabaseError, PostgresFeed, PostgresOptions, Wake, Wakes};
pub use self::projection::ProjectedEntity;
pub use self::redb::{NewFeed, RedbFeed};
pub use self::store::{FeedStore, RedbStore};
pub use self::writer::WriterLimits;

use crate::change::{ChangeRecord, Refusal};
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId, FeedEpoch, SpaceId};
use crate::position::{Seq, Watermark};

/// Changes that one device offers to one space. Without entries it only makes sure that the space has a feed.
///
/// ```
/// use headwater_storage::{Append, DeviceId, FeedEpoch, Pusher, SpaceId};
/// let append = Append {
///     space: SpaceId::from_name("home"),
///     origin: DeviceId::from_bytes([1; 16]),
///     pusher: Pusher::default(),
///     received_ms: 1_700_000_000_000,
///     epoch_if_new: FeedEpoch::from_bytes([2; 16]),
///     entries: Vec::new(),
/// };
/// # let _ = append;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The space.
    pub space: SpaceId,
    /// The device that pushed.
    pub origin: DeviceId,
    /// Who pushed, and from where.
    pub pusher: Pusher,
    /// When the push came, in milliseconds since 1970.
    pub received_ms: u64,
    /// The epoch that the feed gets if the space does not have one yet.
    pub epoch_if_new: FeedEpoch,
    /// The changes, dependencies before dependents.
    pub entries: Vec<FeedEntry>,
}

/// Who stands behind a push, for the audit trail of a database. A redb file keeps none.
///
/// ```
/// use headwater_storage::Pusher;
/// let pusher = Pusher { user: Some("ada".to_owned()), address: Some("192.0.2.7".to_owned()) };
/// assert_ne!(pusher, Pusher::default());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pusher {
    /// The user, or the role of a SQL client. `None` where nobody knows.
    pub user: Option<String>,
    /// The network address.
    pub address: Option<String>,
}

/// A change, or a verdict on changes, and what the feed's index has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// The change.
    pub record: ChangeRecord,
    /// The changes of the same entity that it builds on.
    pub deps: Vec<ChangeHash>,
    /// Its place among its author's changes. `None` if the relay cannot read its payload; then it is not checked.
    pub numbers: Option<Numbers>,
    /// What it says about other changes, if it is a verdict.
    pub judgement: Option<Judgement>,
}

impl FeedEntry {
    /// A change whose numbers are not known.
    ///
    /// ```
    /// use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, EntityId, FeedEntry, PayloadKind};
    /// let record = ChangeRecord {
    ///     entity: EntityId::from_bytes([1; 16]),
    ///     collection: CollectionName::new("coffee_bags")?,
    ///     kind: PayloadKind::Change,
    ///     hash: ChangeHash::from_bytes([2; 32]),
    ///     payload: Bytes::from_static(b"change"),
    /// };
    /// assert!(FeedEntry::new(record, vec![]).numbers.is_none());
    /// # Ok::<(), headwater_storage::NameError>(())
    /// ```
    pub fn new(record: ChangeRecord, deps: Vec<ChangeHash>) -> Self {
        Self { record, deps, numbers: None, judgement: None }
    }
}

/// A change's place among its author's changes of the entity, and the numbers of its operations.
///
/// ```
/// use headwater_storage::{Bytes, Numbers};
/// let author = Bytes::from_static(b"somebody");
/// let first = Numbers { author, number: 1, first_op: 1, last_op: 4, ahead_max: 1 << 20 };
/// # let _ = first;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// Who made it. Not empty.
    pub author: Bytes,
    /// Its number among the author's changes of the entity, from 1 up without gaps.
    pub number: u64,
    /// The number of its first operation.
    pub first_op: u64,
    /// The number of its last operation.
    pub last_op: u64,
    /// How far `first_op` may lie beyond the highest operation number that the entity has.
    pub ahead_max: u64,
}

/// A verdict: changes of one entity that everybody leaves out, or takes in again.
///
/// It rests on what the entity was when it was made. If the entity has got changes since, it is not taken.
///
/// ```
/// use headwater_storage::{ChangeHash, Judgement, Refusal, Seq};
/// let reason = Refusal { code: 31, message: "the entity does not load with it".to_owned() };
/// let judgement = Judgement {
///     last: Seq::new(7),
///     quarantined: vec![(ChangeHash::from_bytes([1; 32]), reason)],
///     released: vec![],
///     heads: vec![ChangeHash::from_bytes([2; 32])],
///     damaged: vec![],
/// };
/// # let _ = judgement;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The last change or verdict of the entity that it rests on.
    pub last: Seq,
    /// The changes to leave out, and why. Their bytes stay in the feed.
    pub quarantined: Vec<(ChangeHash, Refusal)>,
    /// The changes to take in again.
    pub released: Vec<ChangeHash>,
    /// The heads of the entity after it.
    pub heads: Vec<ChangeHash>,
    /// Rows of the entity whose payloads are damaged. Readers leave them out, and their changes are taken again from whoever has them.
    pub damaged: Vec<DamagedRow>,
}

impl Judgement {
    /// One that finds nothing wrong, on an entity whose last change or verdict is at `last` and that has these heads.
    ///
    /// ```
    /// use headwater_storage::{ChangeHash, Judgement, Seq};
    /// let released = vec![ChangeHash::from_bytes([1; 32])];
    /// let judgement = Judgement { released, ..Judgement::of(Seq::new(7), vec![]) };
    /// assert!(judgement.quarantined.is_empty() && judgement.damaged.is_empty());
    /// ```
    pub fn of(last: Seq, heads: Vec<ChangeHash>) -> Self {
        Self { last, quarantined: Vec::new(), released: Vec::new(), heads, damaged: Vec::new() }
    }
}

/// The receipt of an append: what it says is durable. Only a feed store can make one, so that only what is stored can be
/// acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    space: SpaceId,
    placements: Vec<Placement>,
    before: Watermark,
    head: Watermark,
    rows: Vec<FeedRow>,
}

impl Appended {
    /// The space.
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// What became of each entry, in their order.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The head of the feed before this append.
    pub fn before(&self) -> Watermark {
        self.before
    }

    /// The head of the feed after this append.
    pub fn head(&self) -> Watermark {
        self.head
    }

    /// The accepted changes in the order of their seqs: what subscribers have to get.
    pub fn rows(&self) -> &[FeedRow] {
        &self.rows
    }

    /// The accepted changes, without copying them.
    pub fn into_rows(self) -> Vec<FeedRow> {
        self.rows
    }
}

/// What became of one entry of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It is new, and has this position.
    Accepted(Seq),
    /// It was already there, at this position.
    Duplicate(Seq),
    /// It was not stored, because these changes, that it depends on, are not there. Offer it again after them.
    MissingDeps(Vec<ChangeHash>),
    /// It was not stored, because it, or a change that it depends on, is in quarantine.
    Quarantined {
        /// The change in quarantine.
        hash: ChangeHash,
        /// Why it is there.
        reason: Refusal,
    },
    /// It was not stored, because the author's next change has this number: another change has its place already.
    Misnumbered {
        /// The number of the author's next change.
        expected: u64,
    },
    /// It was not stored, because its first operation may have at most this number.
    TooFarAhead {
        /// The limit.
        first_op_max: u64,
    },
    /// It was not stored, because its entity is in this collection, and an entity never moves.
    OtherCollection(CollectionName),
    /// A verdict was not stored, because the entity has changed since. Make another one.
    Stale,
}

/// An append failed, and nothing of it is stored, unless the error says that the disk failed: then reopening tells.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The store failed; see there for what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A cursor cannot be continued from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The bytes are not a cursor of this version. Begin the catch-up again, without a cursor.
    #[error("the cursor is not readable; begin the catch-up again without it")]
    Malformed,
    /// The feed has not reached, or has other contents at, a position that the cursor was made beyond: it is another feed, or an
    /// older copy. Compare heads instead.
    #[error("the cursor belongs to another feed; compare heads instead")]
    OtherFeed,
    /// The cursor belongs to a catch-up that began elsewhere. Begin again, without a cursor.
    #[error("the cursor belongs to a catch-up from seq {found}, not {expected}; begin again without it")]
    OtherBase {
        /// Where the cursor's catch-up began.
        found: Seq,
        /// Where this one began.
        expected: Seq,
    },
}

/// A feed could not be read. Nothing has changed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The space has no feed. Append to it first; an append without entries will do.
    #[error("space {space} has no feed yet")]
    NoSuchSpace {
        /// The space.
        space: SpaceId,
    },
    /// The cursor is of no use here. Begin the catch-up again, without a cursor.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The store failed; see there for what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much one page may hold.
///
/// ```
/// use headwater_storage::PageLimit;
/// let limit = PageLimit { entries_max: 500, bytes_max: 256 * 1024 };
/// # let _ = limit;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// The most changes. 0 counts as 1.
    pub entries_max: usize,
    /// The most payload bytes. A page that has anything to hold has at least one change, even a larger one.
    pub bytes_max: usize,
}

/// One change of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    /// Its position.
    pub seq: Seq,
    /// The device that pushed it.
    pub origin: DeviceId,
    /// The change.
    pub record: ChangeRecord,
}

/// A page of a feed in the order of the seqs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The changes.
    pub rows: Vec<FeedRow>,
    /// Everything that was asked for is in `rows` or earlier, up to here.
    pub end: Watermark,
    /// The head of the feed when the page was read. The last page is the one whose `end` is the head.
    pub head: Watermark,
    /// Whether no row was left out because it is damaged.
    pub is_dense: bool,
}

/// A page of a catch-up by entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityPage {
    /// The changes: those of one entity together, in the order of their seqs. In place of its first ones an entity may have a
    /// snapshot, at the seq up to which it covers them.
    pub rows: Vec<FeedRow>,
    /// How many rows of the feed `rows` stand for: a snapshot for as many as it has changes, any other for one.
    pub stands_for: u64,
    /// Where the next page goes on. `None`: the catch-up is finished.
    pub cursor: Option<Bytes>,
    /// When finished: everything up to here has been given.
    pub end: Option<Watermark>,
    /// The head of the feed when the page was read.
    pub head: Watermark,
    /// How many entities were finished in this page.
    pub entities_done: u64,
}

/// Whether a watermark can be continued from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The feed has exactly this history up to there.
    Known,
    /// The feed has another epoch, is shorter, or has other contents. Compare heads instead.
    Diverged,
    /// The space has no feed.
    NoSuchSpace,
}

/// The heads of an entity: its changes that no other change builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityHeads {
    /// The entity.
    pub entity: EntityId,
    /// The collection of its newest change.
    pub collection: CollectionName,
    /// The heads, in ascending order.
    pub heads: Vec<ChangeHash>,
}
