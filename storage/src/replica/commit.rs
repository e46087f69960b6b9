//! What one durable step of a replica is: everything that belongs together, as a list of steps in their
//! order.

use std::collections::HashSet;

use bytes::Bytes;
use thiserror::Error;

use super::{Judged, NewSnapshot, OutboxSeq, SetAside, Unfolded};
use crate::change::{PayloadKind, Refusal};
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId, SpaceId};
use crate::octets;
use crate::position::Position;

/// Everything that changes in a space at once. It is stored whole or not at all.
///
/// ```
/// use headwater_storage::{Commit, OutboxSeq, SpaceId, Step};
/// let mut commit = Commit::new(SpaceId::from_name("home"), 1_700_000_000_000);
/// commit.steps.push(Step::Acknowledge(OutboxSeq::new(1)));
/// assert_eq!(Commit::decode(&commit.encode())?, commit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Commit {
    /// The space that all of it is in. A space that is not known yet is added.
    #[n(0)]
    pub space: SpaceId,
    /// What changes, one after the other: each step finds what those before it left.
    #[n(1)]
    pub steps: Vec<Step>,
    /// The time now, in milliseconds since 1970.
    #[n(2)]
    pub now_ms: u64,
    /// When this has to be on the disk.
    #[n(3)]
    pub durability: CommitDurability,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[non_exhaustive]
pub enum Step {
    /// An entity's snapshot goes, and its changes are rows again. Nothing of the entity comes before it: the
    /// changes that it gives take the place of all that is stored.
    #[n(0)]
    Unfold(#[n(0)] Unfolded),
    /// Changes leave an entity, or come back. A [`Step::Write`] behind it has the entity's row without them.
    #[n(1)]
    Judge(#[n(0)] Judged),
    /// An entity gets changes, a row, or both.
    #[n(2)]
    Write(#[n(0)] EntityWrite),
    /// The relay has acknowledged a change: it leaves the outbox. One that already left is passed over.
    #[n(3)]
    Acknowledge(#[n(0)] OutboxSeq),
    /// The relay will never take a change: it leaves the outbox, stays in the entity, and is listed as set
    /// aside. One that already left is passed over.
    #[n(4)]
    Refuse(#[n(0)] OutboxSeq, #[n(1)] Refusal),
    /// A snapshot takes the place of what it was made from. One whose entity has changed in a way that makes
    /// it wrong is passed over.
    #[n(5)]
    Fold(#[n(0)] NewSnapshot),
    /// A change is kept apart, because it could not be used.
    #[n(6)]
    SetAside(#[n(0)] SetAside),
    /// A change is not set aside any more: it is here again, behind a [`Step::Write`] that gave it back, say.
    #[n(7)]
    Recover(#[n(0)] EntityId, #[n(1)] ChangeHash),
    /// What the replica knows of the feed once the steps before are in.
    #[n(8)]
    Position(#[n(0)] Position),
}

impl Commit {
    /// A commit that changes nothing yet, and is durable at once.
    ///
    /// Committed as it is, it makes every earlier [`CommitDurability::Deferred`] commit durable.
    pub fn new(space: SpaceId, now_ms: u64) -> Self {
        Self { space, steps: Vec::new(), now_ms, durability: CommitDurability::Immediate }
    }

    /// Whether its steps can be taken in their order.
    pub(super) fn check(&self) -> Result<(), CommitError> {
        let mut written = HashSet::new();
        for step in &self.steps {
            match step {
                Step::Unfold(Unfolded { entity, .. }) if written.contains(entity) => {
                    return Err(CommitError::UnfoldsTooLate(*entity));
                }
                Step::Position(Position { cursor: Some(cursor), .. })
                    if cursor.len() > Position::CURSOR_LEN_MAX =>
                {
                    return Err(CommitError::CursorTooLong { len: cursor.len() });
                }
                Step::Unfold(Unfolded { entity, .. })
                | Step::Judge(Judged { entity, .. })
                | Step::Write(EntityWrite { entity, .. })
                | Step::Fold(NewSnapshot { entity, .. }) => {
                    written.insert(*entity);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it has to be on the disk at once, whatever it asks for: nobody would tell it again.
    pub(super) fn must_last(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Write(write) => write.changes.iter().any(|change| change.outbox == Outbox::Queue),
            Step::Unfold(_) | Step::Judge(_) | Step::Refuse(..) | Step::SetAside(_) => true,
            Step::Acknowledge(_) | Step::Fold(_) | Step::Recover(..) | Step::Position(_) => false,
        })
    }
}

/// New changes of one entity, and its view row after them.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct EntityWrite {
    /// The entity.
    #[n(0)]
    pub entity: EntityId,
    /// Its collection. When a row is given and the entity was in another collection, it moves.
    #[n(1)]
    pub collection: CollectionName,
    /// The changes to add after those that are stored. The store does not look for duplicates.
    #[n(2)]
    pub changes: Vec<NewChange>,
    /// The view row that replaces the old one. `None` keeps the old one.
    #[n(3)]
    #[cbor(with = "octets::optional")]
    pub row: Option<Bytes>,
}

/// A change that is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct NewChange {
    /// What `payload` is.
    #[n(0)]
    pub kind: PayloadKind,
    /// The hash of the change.
    #[n(1)]
    pub hash: ChangeHash,
    /// The bytes.
    #[n(2)]
    #[cbor(with = "octets")]
    pub payload: Bytes,
    /// Whether the relay still has to get it.
    #[n(3)]
    pub outbox: Outbox,
}

/// Whether a new change goes into the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Outbox {
    /// Made here: the relay has to get it.
    #[n(0)]
    Queue,
    /// Came from the relay.
    #[n(1)]
    Skip,
}

/// When a commit has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum CommitDurability {
    /// When [`ReplicaStore::commit`](super::ReplicaStore::commit) returns.
    #[n(0)]
    Immediate,
    /// With the next immediate commit. A crash before that undoes it as a whole, so it suits what the relay would tell again:
    /// acknowledgements. A commit that queues, refuses or sets aside anything is made immediate all the same.
    #[n(1)]
    Deferred,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The outbox places of the queued changes, in the order in which the commit had them.
    pub outbox: Vec<OutboxSeq>,
    /// The entities whose snapshots were stored.
    pub folded: Vec<EntityId>,
    /// The entities that got changes and are due for a snapshot, each with its bytes of changes behind the one it has.
    pub due: Vec<(EntityId, u64)>,
}

/// A commit failed, and nothing of it is visible.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The cursor is longer than [`Position::CURSOR_LEN_MAX`]. Drop the cursor: the catch-up then begins again.
    #[error("a cursor of {len} bytes is longer than the {} allowed", Position::CURSOR_LEN_MAX)]
    CursorTooLong {
        /// The length of the cursor, in bytes.
        len: usize,
    },
    /// An entity's snapshot was to go after something else of the entity was written, which would be lost
    /// with it. Put [`Step::Unfold`] first.
    #[error("the snapshot of entity {0} is to go after other steps of the entity")]
    UnfoldsTooLate(EntityId),
    /// The store failed; see there for what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
}
