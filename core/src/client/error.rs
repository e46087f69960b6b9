use super::SyncReport;
use crate::wire::ErrorCode;

/// A connection cannot even be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is not one of a relay; give it as `ws://host:port`.
    #[error("`{url}` is not a relay's URL: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option has a value that cannot work; give it another one.
    #[error("the option `{option}` {reason}")]
    BadOption {
        /// The name of the option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// There is no tokio runtime here; call this from async code.
    #[error("there is no tokio runtime to connect in")]
    NoRuntime,
}

/// A round that was not completed. What was synced before it failed stays synced; everything else waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The connection cannot even be tried.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The relay cannot be reached. Try again when the network is back.
    #[error("the relay cannot be reached: {0}")]
    Unreachable(String),
    /// The connection was lost. Try again.
    #[error("the connection was lost: {0}")]
    ConnectionLost(String),
    /// The relay refused.
    #[error("the relay refused: {message} ({code})")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// The round ended, but something in it failed. What was synced stays synced.
    #[error("not everything was synced: {message} ({code})")]
    Incomplete {
        /// What failed first.
        code: ErrorCode,
        /// What failed first, for people.
        message: String,
        /// What was done nevertheless.
        report: SyncReport,
    },
    /// The round took longer than it may.
    #[error("the round took too long")]
    TimedOut,
    /// This replica's store failed; see the message. Open the replica again.
    #[error("the replica's store failed: {0}")]
    Store(String),
    /// Something that was stored here is damaged, and was set aside. Try again: the next round fetches it from the relay.
    #[error("{0}")]
    Damaged(String),
    /// The connection was ended by this side.
    #[error("the connection was ended")]
    Disconnected,
}

impl SyncError {
    /// Whether the same call can work later without anything being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            SyncError::Unreachable(_)
            | SyncError::ConnectionLost(_)
            | SyncError::Damaged(_)
            | SyncError::TimedOut => true,
            SyncError::Refused { code, .. } | SyncError::Incomplete { code, .. } => {
                code.retry() == crate::wire::Retry::Later
            }
            SyncError::Connect(_) | SyncError::Store(_) | SyncError::Disconnected => false,
        }
    }
}
