//! What the work behind a feed reads and leaves there: quarantine, damaged rows, snapshots.

use bytes::Bytes;

use crate::change::Refusal;
use crate::id::{ChangeHash, EntityId};
use crate::position::Seq;

/// A change in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The entity that it changes.
    pub entity: EntityId,
    /// The change.
    pub hash: ChangeHash,
    /// Its place in the feed.
    pub seq: Option<Seq>,
    /// The place of the verdict in the feed.
    pub verdict: Seq,
    /// When the verdict was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why.
    pub reason: Refusal,
}

/// What a walk over a stretch of a feed found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows whose payloads are not what their hashes say, found now or before, and not yet replaced.
    pub damaged: Vec<DamagedRow>,
    /// Where to go on. `None`: this was the end.
    pub next: Option<Seq>,
}

/// A row whose payload is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRow {
    /// Its place.
    pub seq: Seq,
    /// The entity.
    pub entity: EntityId,
    /// The change that it held.
    pub hash: ChangeHash,
    /// Whether a verdict has said so before.
    pub is_marked: bool,
}

/// All changes of an entity up to one seq, as one payload.
///
/// ```
/// use headwater_storage::{Bytes, ChangeHash, FeedSnapshot, Seq};
/// let snapshot = FeedSnapshot {
///     covers: Seq::new(7),
///     changes: 5,
///     changes_bytes: 900,
///     hash: ChangeHash::from_bytes([1; 32]),
///     payload: Bytes::from_static(b"document"),
/// };
/// assert!((snapshot.payload.len() as u64) < snapshot.changes_bytes, "else nobody is given it");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSnapshot {
    /// It stands for everything that the entity has up to here, changes and verdicts.
    pub covers: Seq,
    /// How many changes it stands for.
    pub changes: u64,
    /// The bytes of their payloads.
    pub changes_bytes: u64,
    /// What readers know it by. It means nothing to the store.
    pub hash: ChangeHash,
    /// The bytes.
    pub payload: Bytes,
}
