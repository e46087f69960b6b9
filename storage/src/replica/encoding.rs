//! A commit as bytes, for whoever keeps or carries it: a journal, or a test that repeats what happened.
//!
//! Layout, CBOR: array of the version, 1, and the commit. Each type says by `n` where a field stands in its
//! array, and each step by which number it is known; a number is never used again.

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use super::Commit;

const VERSION: u32 = 1;

/// Bytes that are no commit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitDecodeError {
    /// A newer program made them; read them with that one.
    #[error("a commit of version {0}, where {VERSION} is known")]
    UnknownVersion(u32),
    /// They are damaged, or something else.
    #[error("no commit: {0}")]
    Malformed(String),
}

impl Commit {
    /// The commit as bytes.
    ///
    /// ```
    /// use headwater_storage::{Commit, SpaceId};
    /// let commit = Commit::new(SpaceId::from_name("home"), 1_700_000_000_000);
    /// assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        // Writing to memory cannot fail.
        let _infallible = Encoder::new(&mut bytes)
            .array(2)
            .and_then(|out| out.u32(VERSION))
            .and_then(|out| out.encode(self));
        bytes
    }

    /// The commit in `bytes`. Whether its steps can be taken in their order is seen when it is committed.
    ///
    /// # Errors
    /// See [`CommitDecodeError`].
    ///
    /// ```
    /// use headwater_storage::{Commit, CommitDecodeError};
    /// assert!(matches!(Commit::decode(b"something else"), Err(CommitDecodeError::Malformed(_))));
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Commit, CommitDecodeError> {
        let malformed = |error: minicbor::decode::Error| CommitDecodeError::Malformed(error.to_string());
        let mut input = Decoder::new(bytes);
        if input.array().map_err(malformed)? != Some(2) {
            return Err(CommitDecodeError::Malformed("no array of two".to_owned()));
        }
        match input.u32().map_err(malformed)? {
            VERSION => {}
            other => return Err(CommitDecodeError::UnknownVersion(other)),
        }
        let commit = input.decode().map_err(malformed)?;
        match bytes.len() - input.position() {
            0 => Ok(commit),
            left => Err(CommitDecodeError::Malformed(format!("{left} bytes behind it"))),
        }
    }
}
