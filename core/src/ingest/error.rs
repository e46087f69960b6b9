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
    /// A change that nobody made, as the first content of an entity is, with other content than its actor certifies. Somebody made
    /// it by hand, to be in the way of the right one.
    #[error("its content is not what its actor certifies")]
    Uncertified,
    /// Parsed, but contradicts the entity's other changes.
    #[error("the change does not apply: {0}")]
    DoesNotApply(String),
    /// Its operations are numbered as if it built on less than it does. The merge engine would not load the entity again.
    #[error("its operations are numbered from {first} on, and those that it builds on up to {before}")]
    OutOfOrder {
        /// The number of its first operation.
        first: u64,
        /// The highest number among those that it builds on.
        before: u64,
    },
    /// Its operations are numbered far beyond those of its entity, which would leave no numbers for others.
    #[error("its operations are numbered from {first} on, the limit for this entity is {limit}")]
    FarAhead {
        /// The number of its first operation.
        first: u64,
        /// The highest number that it may begin with.
        limit: u64,
    },
    /// The merge engine panicked over it. The in-memory document is gone, the stored changes are untouched.
    #[error("the merge engine panicked over the change")]
    EnginePanicked,
}
