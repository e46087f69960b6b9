//! The errors that every operation on a store shares.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// A store could not do what it was asked.
///
/// ```
/// use headwater_storage::StoreError;
/// assert!(StoreError::Poisoned.needs_reopen());
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk failed: full, gone, or refusing. What was being committed is not known to be stored. Free space or repair
    /// the disk, drop the store and open it again: it then shows what was really kept.
    #[error("the disk failed; drop the store and open it again: {0}")]
    Io(#[source] Arc<io::Error>),
    /// An earlier call met an I/O error, so memory and disk may differ. Drop the store and open it again.
    #[error("the store met an I/O error earlier; drop it and open it again")]
    Poisoned,
    /// The name of the store's file does not lead to the file any more that was opened: a folder was removed, or a volume replaced.
    /// What was being committed is lost with the program. Bring the file back, then open it again; a relay does so by itself.
    #[error("{} has gone: {what}; bring it back", path.display())]
    Gone {
        /// The name.
        path: PathBuf,
        /// Where it leads now.
        what: &'static str,
    },
    /// Bytes in the store are not what was written there. Other rows are still readable; restore this one from the relay or a backup.
    #[error("the store holds damaged data: {0}")]
    Corrupt(String),
    /// A single value is larger than the file format can hold (3 GiB). Store less in one value.
    #[error("a value of {len} bytes is too large to store")]
    TooLarge {
        /// The size of the value, in bytes.
        len: usize,
    },
    /// A counter of the file has reached its end, which takes billions of changes to one entity. Make a new store and copy over
    /// what is needed.
    #[error("the store has no numbers left; make a new one")]
    Exhausted,
    /// The file does not allow a commit as durable as this one has to be. Nothing was written; copy the data to a new store.
    #[error("the store cannot make this write durable: {0}")]
    NotDurable(String),
    /// The database could not be reached, or refused. What was being written may or may not be stored; writing it again does no harm,
    /// and there is nothing to open again.
    #[error("the database failed: {0}")]
    Unavailable(String),
    /// The store, or the runtime that it reads on, is shutting down. Nothing was done; there is nothing to retry.
    #[error("the store is shutting down")]
    Stopped,
}

impl StoreError {
    /// Whether the store has to be dropped and opened again before anything else can work.
    pub fn needs_reopen(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Poisoned | Self::Gone { .. })
    }

    pub(crate) fn corrupt(what: &str) -> Self {
        Self::Corrupt(what.to_owned())
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => error.into(),
            redb::StorageError::PreviousIo
            | redb::StorageError::DatabaseClosed
            | redb::StorageError::LockPoisoned(_) => Self::Poisoned,
            redb::StorageError::ValueTooLarge(len) => Self::TooLarge { len },
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for StoreError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for StoreError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => error.into(),
            _ => Self::Poisoned,
        }
    }
}
