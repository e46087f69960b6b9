//! Why a change does not get in.

use headwater_storage::ChangeHash;

/// A change that does not get in. Nothing was applied; the change is set aside with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Larger than the limit; the sender must split the edit.
    #[error("the change has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The change's size, inflated where that is what is too large.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// More of something than the limit, or numbers beyond the plausible range.
    #[error("the change has {count} {what}, the limit is {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are no Automerge change.
    #[error("not an Automerge change: {0}")]
    Malformed(String),
    /// It parses, but is not written as Automerge writes it. Such changes can make a document that does not load again.
    #[error("the change is not in the form in which Automerge writes it")]
    NotCanonical,
    /// The change is another one than its header says.
    #[error("the change hashes to {actual}, its header says {claimed}")]
    WrongHash {
        /// What the header says.
        claimed: ChangeHash,
        /// What the bytes hash to.
        actual: ChangeHash,
    },
    /// A payload of a kind that this version does not take from a peer.
    #[error("a payload of this kind is not accepted here")]
    UnsupportedKind,
    /// Parsed, but contradicts the entity's other changes.
    #[error("the change does not apply: {0}")]
    DoesNotApply(String),
    /// It applies, but the entity would not load again from what would be stored.
    #[error("with the change, the entity does not load again: {0}")]
    Poisons(String),
    /// The merge engine panicked over it. The in-memory document is gone, the stored changes are untouched.
    #[error("the merge engine panicked over the change")]
    EnginePanicked,
}
