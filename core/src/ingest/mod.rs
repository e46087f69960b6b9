//! The one door through which changes from outside enter, on the relay and in every replica.
//!
//! In the order in which a change meets them:
//!
//! 1. `chunk`: sizes, the layout of the chunk, inflation through a capped reader.
//! 2. `prevalidate`: the change's header, its checksum and hash, and what its columns would unfold to. Nothing is unfolded.
//! 3. `check`: the merge engine parses it, and writes it again: only what comes out the same is taken.
//!    `certificate`: a change that nobody made has the content that its actor certifies.
//! 4. The feed's index, on the relay: the author's numbers, known dependencies.
//! 5. `guard`: the document work, on a stack of its own, where a panic costs one document's copy in memory.
//!
//! The first three need no document. The reasons for each step were measured; see `docs/security.md`.

mod certificate;
mod check;
mod chunk;
mod columns;
mod error;
mod guard;
mod limits;
mod prevalidate;
mod reader;
mod verdict;

pub(crate) use self::certificate::{UNCERTIFIED, certify, is_certified_actor};
pub use self::check::{CheckedChange, check_change, check_record, is_whole};
pub(crate) use self::check::{check_stored, check_stored_as, milliseconds, stamp};
pub use self::chunk::{Chunk, ChunkKind, Chunks, split_chunks};
pub use self::error::IngestError;
pub(crate) use self::guard::caught;
pub use self::guard::{Panicked, guarded};
pub use self::limits::ChangeLimits;
pub use self::prevalidate::{ChangeHeader, DocumentHeader, prevalidate_change, prevalidate_document};
pub use self::verdict::Verdict;
