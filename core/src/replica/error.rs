use headwater_storage::{CollectionName, CommitError, EntityId, NameError, StoreError};

use super::Replica;
use crate::document::{ViewError, WriteError};
use crate::ingest::IngestError;
use crate::model::{DecodeError, EncodeError};

/// A read that failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store failed; see [`StoreError`] for whether to open the replica again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entity does not fit the Rust type: another version of the app wrote it, say. Read it with a type that fits, or as fields.
    #[error("entity {entity}: {error}")]
    Decode {
        /// Which entity.
        entity: EntityId,
        /// What did not fit, and where.
        error: DecodeError,
    },
    /// The stored row is damaged; its changes are not.
    #[error("entity {entity}: {error}")]
    Damaged {
        /// Which entity.
        entity: EntityId,
        /// What is wrong with it.
        error: ViewError,
    },
}

/// An edit that was not made. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such entity in this collection, or it is deleted; `restore` brings a deleted one back.
    #[error("there is no entity {0} in this collection")]
    NotFound(EntityId),
    /// An entity with this id exists already, perhaps deleted.
    #[error("entity {0} exists already")]
    Exists(EntityId),
    /// The space has an entity with this id in another collection, perhaps deleted. An entity never moves:
    /// edit it there, or give this one another id.
    #[error("entity {entity} exists already, in the collection {collection}")]
    OtherCollection {
        /// Which entity.
        entity: EntityId,
        /// Where it is.
        collection: CollectionName,
    },
    /// One call names an entity twice; give each entity once.
    #[error("entity {0} is named twice in one write")]
    Twice(EntityId),
    /// Other writes to this entity came between each time. Try again when they are fewer; do not wait inside an `update` for another
    /// thread's edit of the same entity.
    #[error("entity {0} was changed by others again and again while it was edited")]
    Contended(EntityId),
    /// The closure of an `update` edited its own entity by another call. Change the value that the closure is given instead.
    #[error("entity {0} cannot be edited inside its own update: change the value that the update gives")]
    Nested(EntityId),
    /// The collection's name is not one.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// Reading the entity failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new value has no place in the value model.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The edit cannot become a change.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// One of the entity's stored changes does not load any more.
    #[error("entity {entity} does not load: {error}")]
    Unloadable {
        /// Which entity.
        entity: EntityId,
        /// Why.
        error: IngestError,
    },
    /// The result cannot be shown.
    #[error("entity {entity}: {error}")]
    View {
        /// Which entity.
        entity: EntityId,
        /// Why.
        error: ViewError,
    },
    /// The store failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<StoreError> for EditError {
    fn from(error: StoreError) -> EditError {
        EditError::Read(ReadError::Store(error))
    }
}

/// A replica was not closed, because other handles hold it. Drop them, end its connections with `disconnect`, and close it again.
#[derive(Debug, thiserror::Error)]
#[error("the replica is still open: {others} other handles hold it")]
#[non_exhaustive]
pub struct StillOpen {
    /// The handle that was to be closed.
    pub replica: Replica,
    /// How many others there were.
    pub others: usize,
}

/// A merge that was not stored; it can be tried again. A change that is itself the problem is set aside instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The changes are merged, but something that was stored earlier is damaged, so the position was not moved. Begin another session,
    /// which fetches it.
    #[error("something is damaged here; another session fetches it from the relay")]
    Damaged,
}

/// What a commit without a cursor can fail with.
pub(super) fn store_error(error: CommitError) -> StoreError {
    match error {
        CommitError::Store(error) => error,
        other => StoreError::Corrupt(other.to_string()),
    }
}
